"""The counter of the log: every number against a count of the log itself, each event once, whatever is in it."""

import datetime as dt
from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from events import consumers, log
from events.log import NewEvent
from events.models import Consumer
from jobs import handlers, rollups
from jobs.models import Job, Rollup, Shelf, Worker
from jobs.rollups import DAY, EVENTS, EVERYONE, HOUR, MINUTE, Measure
from tests.integration.jobs.admin.conftest import OURS, THEIRS, Make, kinds, make

__all__ = ["kinds", "make"]

pytestmark = pytest.mark.usefixtures("counting")

LENGTHS = (MINUTE, HOUR, DAY)
ONE_HOUR_AGO = dt.timedelta(hours=1)


@pytest.fixture
def counting(db: None) -> None:
    """A counter at the beginning of an empty log."""
    execute("delete from events_event")
    consumers.ensure_rows()
    Consumer.objects.filter(name="rollups").update(position=0, last_id=0, retry_at=None)


def execute(statement: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def count(number: int) -> None:
    """Let the counter read on. Inside of one transaction nothing is settled, so the log is put where it would be."""
    execute("update events_event set position = 1")
    Consumer.objects.filter(name="rollups").update(retry_at=None)
    assert consumers.run("rollups") == number


def happen(type_: str, subject: UUID = OURS, *, kind: str = "shop.pay", project: UUID = OURS, **data: Any) -> None:
    log.append([NewEvent(project, type_, subject, 1, {"kind": kind} | data)])


def numbers(seconds: int, project: UUID, *, by_kind: bool = False) -> dict[tuple[str, Measure], int]:
    found: Counter[tuple[str, Measure]] = Counter()
    for row in Rollup.objects.filter(seconds=seconds, project_id=project, by_kind=by_kind, measure__lt=20):
        found[row.kind, Measure(row.measure)] += row.number
    return dict(found)


# ------------------------------------------------------------------------------------------------ events
@pytest.mark.parametrize("seconds", LENGTHS)
def test_each_number_is_that_of_the_log(seconds: int) -> None:
    for n, type_ in enumerate(EVENTS.values(), 1):
        for _ in range(n):
            happen(type_)
        happen(type_, project=THEIRS, kind="other.kind")
    happen("job.processing")
    happen("job.refused", kind="<evil>", code="x", count=9)

    count(28 + 7 + 2)

    ours = {measure: n for n, measure in enumerate(EVENTS, 1)}
    assert numbers(seconds, OURS) == {("", measure): n for measure, n in ours.items()}
    assert numbers(seconds, OURS, by_kind=True) == {("shop.pay", measure): n for measure, n in ours.items()}
    assert numbers(seconds, EVERYONE) == {("", measure): n + 1 for measure, n in ours.items()}
    assert numbers(seconds, EVERYONE, by_kind=True) == {
        **{("shop.pay", measure): n for measure, n in ours.items()},
        **{("other.kind", measure): 1 for measure in EVENTS},
    }


def test_an_event_belongs_to_its_minute_hour_and_day() -> None:
    moment = dt.datetime.now(dt.UTC).replace(minute=7, second=59, microsecond=999_000) - ONE_HOUR_AGO
    happen("job.failed")
    execute("update events_event set occurred_at = %s", moment)

    count(1)

    found = {row.seconds: row.at for row in Rollup.objects.filter(project_id=EVERYONE, by_kind=False, measure=4)}
    assert found == {
        MINUTE: moment.replace(second=0, microsecond=0),
        HOUR: moment.replace(minute=0, second=0, microsecond=0),
        DAY: moment.replace(hour=0, minute=0, second=0, microsecond=0),
    }


def test_each_event_is_counted_once_whatever_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    subscription = consumers.SUBSCRIPTIONS["rollups"]
    small = consumers.Subscription("rollups", None, 4, subscription.count, 0.0)
    monkeypatch.setitem(consumers.SUBSCRIPTIONS, "rollups", small)
    for n in range(10):
        happen("job.processed", UUID(int=n), duration_ms=n)
    for expected in (4, 4, 2):
        count(expected)

    assert consumers.run("rollups") == 0
    assert numbers(HOUR, OURS) == {("", Measure.PROCESSED): 10, ("", Measure.DURATION): 10}


def test_when_it_has_seen_all_it_rests() -> None:
    happen("job.failed")
    count(1)
    happen("job.failed")
    execute("update events_event set position = 1")

    assert consumers.run("rollups") == 0
    assert "rollups" not in consumers.waiting()


def test_a_counter_is_not_made_to_read_again() -> None:
    with pytest.raises(ValueError, match="must not read again"):
        consumers.replay("rollups", since=dt.datetime.now(dt.UTC))


@pytest.mark.parametrize(
    "data", [{"duration_ms": "long"}, {"duration_ms": None}, {"duration_ms": {"a": 1}}, {}, {"kind": ""}]
)
def test_one_odd_event_does_not_stop_it(data: dict[str, Any]) -> None:
    happen("job.processed", **data)

    count(1)

    assert numbers(DAY, OURS) == {("", Measure.PROCESSED): 1}


def test_durations_and_waits_are_those_of_the_jobs(make: Make) -> None:
    now = dt.datetime.now(dt.UTC)
    for n in range(1, 101):
        job = make(status="processed", due_at=now, started_at=now + dt.timedelta(milliseconds=10 * n), finished_at=now)
        happen("job.processed", job.id, duration_ms=float(n))
    execute("delete from events_event where type = 'job.queued'")
    happen("job.processed", UUID(int=9), duration_ms=5.0)  # its row is gone

    count(101)

    (sums,) = rollups.series(OURS, seconds=DAY, since=now - dt.timedelta(days=1), bin_seconds=30 * DAY).values()
    assert sums.histograms[Measure.WAIT].number == 100
    assert sums.histograms[Measure.DURATION].number == 101
    assert sums.cells[Measure.DURATION].most == 100.0
    assert sums.cells[Measure.WAIT].total == pytest.approx(10 * 5050)
    for measure, percent, true in (
        (Measure.DURATION, 50, 50), (Measure.DURATION, 99, 99), (Measure.WAIT, 50, 500), (Measure.WAIT, 99, 990),
    ):  # fmt: skip
        assert sums.percentile(measure, percent) == pytest.approx(true, rel=0.1)


# ------------------------------------------------------------------------------------------------ samples
def test_samples_are_taken_once_a_minute_and_say_what_is(make: Make) -> None:
    now = dt.datetime.now(dt.UTC)
    make(due_at=now - dt.timedelta(seconds=30))
    make(project=THEIRS, due_at=now - dt.timedelta(seconds=90))
    make(due_at=now + dt.timedelta(hours=1))
    for number in (1, 2):
        Worker.objects.create(id=number, name="w", host="h", pid=number, parent_pid=1, queues=["default"], kinds=[])
    make(status="processing", claimed_by=2)
    Shelf.objects.update(low_due_at=now - dt.timedelta(days=1))

    assert rollups.sample()
    assert not rollups.sample()

    def value(measure: Measure, project: UUID = EVERYONE) -> float:
        return float(Rollup.objects.get(seconds=HOUR, project_id=project, by_kind=False, measure=measure).most)

    assert [value(m) for m in (Measure.DUE, Measure.RUNNING, Measure.SLOTS, Measure.BUSY)] == [2, 1, 2, 1]
    assert value(Measure.AGE) == pytest.approx(90_000, abs=5_000)
    assert value(Measure.DUE, OURS) == 1
    assert value(Measure.AGE, OURS) == pytest.approx(30_000, abs=5_000)


def test_samples_of_an_idle_platform_are_zero(db: None) -> None:
    assert rollups.sample()

    found = {Measure(row.measure): row.most for row in Rollup.objects.filter(seconds=MINUTE, project_id=EVERYONE)}
    assert found == {Measure.AGE: 0, Measure.SLOTS: 0, Measure.BUSY: 0}
    assert not Job.objects.exists()


# ------------------------------------------------------------------------------------------------ keeping
def test_old_rows_are_tidied_away() -> None:
    now = dt.datetime.now(dt.UTC)
    for seconds, kept in rollups.KEPT.items():
        for age in (kept - ONE_HOUR_AGO, kept + ONE_HOUR_AGO):
            Rollup.objects.create(
                project_id=OURS, seconds=seconds, by_kind=False, measure=1, at=now - age, kind="", bucket=0, number=1,
                total=0, most=0,
            )  # fmt: skip

    done = handlers.tidy(None)  # type: ignore[arg-type]

    assert done.output["rollups"] == 3
    assert Rollup.objects.count() == 3
