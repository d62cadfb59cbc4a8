import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import pytest
from structlog.testing import capture_logs

from events import consumers
from events.log import LoggedEvent
from events.models import Event
from ingestion.selectors import KnownMessage
from ingestion.subscribers import watch_dead_letters
from tests.integration.projects.conftest import Tenant

pytestmark = pytest.mark.django_db

NOON = dt.datetime(2026, 11, 22, 12, tzinfo=dt.UTC)
ALARM = "deadletters.threshold_exceeded"


def events(*types: str, project: UUID = UUID(int=1), kind: str = "message.process") -> list[LoggedEvent]:  # noqa: B008 - a constant
    data = orjson.dumps({"kind": kind}).decode()
    return [LoggedEvent(1, n, NOON, project, type_, UUID(int=n), 2, data) for n, type_ in enumerate(types)]


@pytest.fixture(autouse=True)
def threshold(settings: Any) -> None:
    settings.DEADLETTER_THRESHOLD = 2
    settings.DEADLETTER_WINDOW = 60


def test_it_is_registered() -> None:
    assert consumers.SUBSCRIPTIONS["dead_letter_alarm"].consume is watch_dead_letters


def test_failed_and_rejected_jobs_count_and_nothing_else() -> None:
    watch_dead_letters(events("job.queued", "job.processed", "job.retrying", "job.cancelled", "job.failed"))
    watch_dead_letters(events("job.rejected"))
    assert not Event.objects.filter(type=ALARM).exists()

    with capture_logs() as lines:
        watch_dead_letters(events("job.failed"))

    (alarm,) = Event.objects.filter(type=ALARM)
    assert (alarm.project_id, alarm.data) == (UUID(int=1), {"kind": "message.process", "count": 3, "threshold": 2})
    assert [(line["log_level"], line["event"]) for line in lines] == [("error", "too many dead letters")]


def test_an_alarm_does_not_raise_another() -> None:
    watch_dead_letters(events(*["job.failed"] * 3))
    watch_dead_letters(events(ALARM, *["job.failed"] * 30))

    assert Event.objects.filter(type=ALARM).count() == 1


def test_dead_messages_raise_the_alarm_by_the_log_itself(
    ours: Tenant,
    receive: Callable[..., KnownMessage],
    work: Callable[[], dict[str, int]],
    storage: Path,
) -> None:
    for message in [receive() for _ in range(3)]:
        (storage / message.object_key).parent.mkdir(parents=True)
        (storage / message.object_key).write_bytes(b"{}")
    work()
    rows = Event.objects.order_by("position", "id")
    watch_dead_letters(
        [
            LoggedEvent(
                row.position, row.id, row.occurred_at, row.project_id, row.type, row.subject_id, row.seq,
                orjson.dumps(row.data).decode(),
            )
            for row in rows
        ]
    )  # fmt: skip

    assert Event.objects.get(type=ALARM).project_id == ours.project.id
