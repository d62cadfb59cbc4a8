"""What follows from events: an alarm when dead letters pile up."""

import datetime as dt
from collections.abc import Sequence

import structlog
from django.conf import settings

from events.consumers import consumer
from events.log import LoggedEvent
from ingestion import services
from ingestion.services import DeadLetter

logger = structlog.get_logger(__name__)

DEAD = frozenset({"job.failed", "job.rejected"})


@consumer("dead_letter_alarm")
def watch_dead_letters(batch: Sequence[LoggedEvent]) -> None:
    """Count dead letters of every kind by project; where there are many, log it and publish an event.

    Many: more than `DEADLETTER_THRESHOLD` within `DEADLETTER_WINDOW` seconds. The alarm of one kind is raised at most
    once in that time.
    """
    dead = [
        DeadLetter(event.project_id, str(event.payload().get("kind", "")), event.occurred_at)
        for event in batch
        if event.type in DEAD
    ]
    if not dead:
        return
    window = dt.timedelta(seconds=settings.DEADLETTER_WINDOW)
    threshold = settings.DEADLETTER_THRESHOLD
    for alarm in services.count_dead_letters(dead, threshold=threshold, window=window, again=window):
        details = f"{alarm.count} dead letters of {alarm.kind} in project {alarm.project_id}"
        logger.error("too many dead letters", handler="dead_letter_alarm", action="alarm", details=details)
