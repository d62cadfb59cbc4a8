"""The engine's counter of the log, with commits of its own: what breaks is undone whole, and counted the next time."""

from uuid import UUID

import pytest

from events import consumers, log
from events.consumers import Counted
from events.log import NewEvent
from events.models import Consumer
from jobs import subscribers
from jobs.models import Rollup
from jobs.rollups import DAY, EVERYONE, Measure

PROJECT = UUID(int=11)


def failed() -> int:
    rows = Rollup.objects.filter(seconds=DAY, project_id=EVERYONE, by_kind=False, measure=Measure.FAILED)
    return sum(row.number for row in rows)


def test_a_batch_that_breaks_is_counted_once_all_the_same(
    committed_alone: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    consumers.ensure_rows()
    log.append([NewEvent(PROJECT, "job.failed", PROJECT, n, {"kind": "a.b"}) for n in range(1, 4)])
    usual = consumers.SUBSCRIPTIONS["rollups"]

    def breaks(position: int, last_id: int, batch: int) -> Counted | None:
        subscribers.roll_up(position, last_id, batch)
        message = "just before the commit"
        raise RuntimeError(message)

    broken = consumers.Subscription("rollups", None, usual.batch, breaks, usual.pause)
    monkeypatch.setitem(consumers.SUBSCRIPTIONS, "rollups", broken)
    assert consumers.run("rollups") == 0
    assert (failed(), Consumer.objects.get(name="rollups").failures) == (0, 1)

    monkeypatch.setitem(consumers.SUBSCRIPTIONS, "rollups", usual)
    Consumer.objects.update(retry_at=None)
    assert consumers.run("rollups") == 3
    assert consumers.run("rollups") == 0
    assert (failed(), Consumer.objects.get(name="rollups").failures) == (3, 0)


def test_a_new_platform_is_counted_from_its_first_event(committed_alone: None) -> None:
    consumers.ensure_rows()
    for n in range(1, 3):
        log.append([NewEvent(PROJECT, "job.failed", PROJECT, n, {"kind": "a.b"})])
        Consumer.objects.update(retry_at=None)
        assert consumers.run("rollups") == 1

    assert failed() == 2
