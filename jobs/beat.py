"""Beat's scheduler: rows of django-celery-beat become jobs. No message is sent, so none can be lost or doubled."""

import datetime as dt
from typing import Any

import structlog
from django.db import close_old_connections, transaction
from django_celery_beat.models import PeriodicTask
from django_celery_beat.schedulers import DatabaseScheduler
from uuid_utils.compat import uuid7

from events import log
from events.log import NewEvent
from jobs import registry, services
from jobs.errors import JobsError, UnknownKind
from jobs.schedule import PLATFORM
from jobs.services import JobRequest

logger = structlog.get_logger(__name__)

UNIQUE_SECONDS = 7 * 86_400


class JobScheduler(DatabaseScheduler):  # type: ignore[misc] # django-celery-beat has no types
    """Submits a job where Celery's own scheduler would send a message.

    The job of a (schedule, instant) is unique: two beats, or one that was restarted, create it once. A row that
    names an unknown kind is paused, with the reason on the row and an event.
    """

    def install_default_entries(self, data: Any) -> None:
        """Celery's own entry clears a result backend. There is none: the entry is no kind, and must not be a row."""
        del data
        PeriodicTask.objects.filter(task="celery.backend_cleanup").delete()

    def setup_schedule(self) -> None:
        """Begin. What names an unknown kind is paused now, and not only when it would fire."""
        super().setup_schedule()
        for row in PeriodicTask.objects.filter(enabled=True).order_by("name"):
            if registry.find(row.task) is None:
                _pause(row, f"No handler is registered for the kind {row.task!r}.")

    def apply_async(self, entry: Any, producer: Any = None, advance: bool = True, **_: Any) -> None:  # noqa: FBT001, FBT002 - Celery's signature
        """Fire one entry."""
        entry = self.reserve(entry) if advance else entry
        if advance:
            self._do_sync()
        try:
            services.submit_unique(
                project_id=PLATFORM,
                request=JobRequest(kind=entry.task, payload=entry.kwargs or {}, metadata={"schedule": entry.name}),
                key=f"schedule:{entry.name}:{_instant(entry)}",
                seconds=UNIQUE_SECONDS,
            )
        except UnknownKind as error:
            _pause(entry, str(error))
        except JobsError as error:
            logger.error("schedule not fired", handler="beat", action="fire", details=f"{entry.name}: {error}")
        finally:
            close_old_connections()


def _instant(entry: Any) -> str:
    """The instant that an entry fires for: the start of its interval, or its minute for clock schedules."""
    now = dt.datetime.now(dt.UTC)
    every = getattr(entry.schedule, "run_every", None)
    seconds = max(1, int(every.total_seconds())) if isinstance(every, dt.timedelta) else 60
    start = int(now.timestamp()) // seconds * seconds
    return dt.datetime.fromtimestamp(start, dt.UTC).isoformat()


def _pause(entry: Any, reason: str) -> None:
    with transaction.atomic():
        row = PeriodicTask.objects.select_for_update().get(name=entry.name)
        if not row.enabled:
            return
        row.enabled = False
        row.description = f"Paused: {reason}\n{row.description}"[:10_000]
        row.save()
        # Each pause is a subject of its own, so its one event is the first; a schedule has no row of ours to count in.
        log.append([NewEvent(PLATFORM, "schedule.paused", uuid7(), 1, {"schedule": entry.name, "reason": reason})])
    logger.warning("schedule paused", handler="beat", action="pause", details=f"{entry.name}: {reason}")
