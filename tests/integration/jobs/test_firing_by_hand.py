"""Firing by hand, and what is refused, waits or is paused in the middle of it: nothing is half done."""

import datetime as dt
from typing import Any

import pytest

from events.models import AuditRecord
from jobs import Done, Unique, firing, handler, pauses, schedules, services
from jobs.errors import InvalidOption, ScheduleNotFound
from jobs.extensions import Refusal
from jobs.models import Job, Schedule
from jobs.states import PLATFORM
from tests.contracts.deliveries import PROJECT
from tests.integration.jobs.booking import Step, booking
from tests.integration.jobs.conftest import events, gates
from tests.integration.jobs.timetables import HOUR, Clock, clock, fired, fresh, jobs_of, next_of, schedule, tick

__all__ = ["booking", "clock", "gates"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("booking")]

DAY = dt.timedelta(days=1)


# ------------------------------------------------------------------------------------------------ by hand
def test_run_now_makes_a_job_and_leaves_the_instants_alone(clock: Clock) -> None:
    row = schedule(name="hourly", enabled=False)
    jobs = {firing.run(schedule_id=row.id, project_id=None, actor="ada", reason="to see").id for _ in range(2)}

    assert len(jobs) == 2
    assert fresh(row).fired_until == row.fired_until
    assert fired(row) == []
    record = AuditRecord.objects.filter(action="schedule.run").latest("id")
    assert (record.actor, record.reason, record.data["name"]) == ("ada", "to see", "hourly")
    assert Job.objects.filter(id__in=jobs, metadata__schedule="hourly").count() == 2


def fill(row: Schedule, begin: dt.datetime, end: dt.datetime, **more: Any) -> firing.Backfilled:
    return firing.backfill(schedule_id=row.id, project_id=None, begin=begin, end=end, actor="ada", **more)


def test_a_backfill_makes_what_is_not_there_and_twice_is_once(clock: Clock) -> None:
    row = schedule()
    clock.move(HOUR)
    tick()
    (instant,) = fired(row)
    begin = instant - 4 * HOUR

    foreseen = fill(row, begin, instant, dry_run=True)
    assert (foreseen.instants, foreseen.existing, foreseen.made) == (5, 1, 0)
    assert (foreseen.first, foreseen.last) == (begin, instant)
    assert len(fired(row)) == 1

    assert fill(row, begin, instant).made == 4
    again = fill(row, begin, instant)
    assert (again.existing, again.made) == (5, 0)
    assert fired(row) == [begin + n * HOUR for n in range(5)]
    assert AuditRecord.objects.filter(action="schedule.backfill").count() == 1
    assert tick() == 0


def test_a_backfill_of_large_payloads_is_stored_in_parts(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    row = schedule()
    clock.move(HOUR)
    tick()
    (instant,) = fired(row)
    monkeypatch.setattr(firing, "LARGEST_INSERT", 2 * (1 + len(row.task.kwargs)))
    stored = []
    submit_many = services.submit_many

    def watched(**asked: Any) -> Any:
        stored.append(len(asked["requests"]))
        return submit_many(**asked)

    monkeypatch.setattr(services, "submit_many", watched)

    assert fill(row, instant - 5 * HOUR, instant).made == 5
    assert stored == [2, 2, 1]
    assert len(fired(row)) == 6


@pytest.mark.parametrize(
    ("begin", "end", "code"),
    [
        (-HOUR, HOUR, "invalid_option"),
        (-HOUR, -2 * HOUR, "invalid_option"),
        (-400 * DAY, -399 * DAY, "invalid_option"),
        (-366 * DAY + HOUR, -HOUR, "too_many_instants"),
    ],
)
def test_a_backfill_is_bounded(clock: Clock, begin: dt.timedelta, end: dt.timedelta, code: str) -> None:
    row = schedule()
    now = schedules.now()

    with pytest.raises(InvalidOption) as refused:
        fill(row, now + begin, now + end)

    assert refused.value.code == code
    assert fired(row) == []


def test_the_schedule_of_another_project_is_not_there(clock: Clock) -> None:
    row = schedule()
    other: dict[str, Any] = {"schedule_id": row.id, "project_id": PLATFORM, "actor": "ada"}
    for act in (firing.run, schedules.pause, schedules.resume):
        with pytest.raises(ScheduleNotFound):
            act(**other, reason="x")


# ---------------------------------------------------------------------------------------------- half of it
def test_a_refusal_in_the_middle_of_a_catch_up_leaves_nothing_half_done(
    clock: Clock, gates: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(firing, "LARGEST_INSERT", 10)
    row = schedule(missed="all")
    left = [4]

    def quota(ask: Any) -> Refusal | None:
        if ask.count > left[0]:
            return Refusal("quota_exceeded", "No more today.")
        left[0] -= ask.count
        return None

    gates.register("quota", quota)
    clock.move(5 * HOUR)
    assert tick() == 0
    assert jobs_of(row) == []

    left[0] = 100
    assert fill(row, schedules.now() - 6 * HOUR, schedules.now()).made == len(jobs_of(row)) == len(fired(row)) > 0


@pytest.mark.usefixtures("rejecting")
def test_a_unique_kind_that_refuses_skips_instants_and_does_not_stop_its_schedule(clock: Clock) -> None:
    row = schedule(kind="account.alone", missed="all")
    clock.move_to(next_of(row))
    assert tick() == 1
    clock.move(3 * HOUR)

    assert tick() == 0

    assert fresh(row).task.enabled
    assert [event["reason"] for event in events("schedule.skipped")] == ["duplicate_job"]
    Job.objects.update(status="processed")
    clock.move_to(next_of(row))
    assert tick() == 1


@pytest.fixture
def rejecting(booking: None) -> None:
    handler("account.alone", payload=Step, unique=Unique(otherwise="reject"))(lambda _job: Done())


@pytest.mark.parametrize("ends", [False, True])
def test_an_instant_that_waits_for_a_job_outlives_a_pause(clock: Clock, *, ends: bool) -> None:
    begin = schedules.now().replace(minute=0, second=0, microsecond=0) + HOUR
    row = schedule(overlap="queue_one", start_time=begin, every=HOUR, expires=begin + HOUR if ends else None)
    clock.move_to(begin)
    assert tick() == 1
    clock.move_to(begin + HOUR)
    assert tick() == 0
    assert fresh(row).waiting_at == begin + HOUR
    pause = pauses.pause(actor="user:olga", reason="stop", project_id=PROJECT)
    Job.objects.update(status="processed")
    clock.move(dt.timedelta(minutes=1))
    assert tick() == 0
    pauses.resume(pause_id=pause.id, project_id=None, actor="user:olga")
    clock.move(dt.timedelta(minutes=1))

    assert tick() == 1
    assert fresh(row).waiting_at is None
