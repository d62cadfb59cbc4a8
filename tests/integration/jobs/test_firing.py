"""Firing: each instant that is due makes one job, by the policies of its schedule, however many processes are at it."""

import datetime as dt
import itertools
from typing import Any

import pytest
from django.db import connection
from django_celery_beat.models import PeriodicTask

from jobs import extensions, firing, handlers, pauses, schedules
from jobs.extensions import Refusal
from jobs.instants import Every, Timetable, instants
from jobs.models import Firing, Job, Schedule
from jobs.states import Status
from jobs.testing import run_once
from tests.contracts.deliveries import PROJECT
from tests.integration.jobs.booking import booking, run
from tests.integration.jobs.conftest import events, gates
from tests.integration.jobs.timetables import HOUR, Clock, clock, fired, fresh, jobs_of, next_of, schedule, tick

__all__ = ["booking", "clock", "gates"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("booking")]

DAY = dt.timedelta(days=1)


def skipped() -> list[tuple[int, str]]:
    return [(event["number"], event["reason"]) for event in events("schedule.skipped")]


def next_hours(row: Schedule, number: int) -> list[dt.datetime]:
    begin = schedules.now().replace(minute=0, second=0, microsecond=0)
    return [begin + n * HOUR for n in range(1, number + 1)]


# ------------------------------------------------------------------------------------------------ one instant
def test_an_instant_makes_one_job_which_says_where_it_comes_from(clock: Clock) -> None:
    row = schedule(payload='{"deed": "x"}', name="hourly")
    (instant,) = next_hours(row, 1)
    assert row.next_at == instant
    assert tick() == 0

    clock.move_to(instant)
    assert (tick(), tick()) == (1, 0)

    (job,) = jobs_of(row)
    assert (job.kind, job.project_id, job.payload) == ("account.note", PROJECT, {"deed": "x"})
    assert job.metadata == {"schedule": "hourly", "instant": instant.isoformat()}
    after = fresh(row)
    assert after.fired_until >= instant
    assert after.next_at == instant + HOUR
    assert after.task.total_run_count == 1
    assert skipped() == []


def test_a_moment_fires_once_and_is_off_afterwards(clock: Clock) -> None:
    at = schedules.now().replace(microsecond=0) + HOUR
    row = schedule(at=at)

    clock.move_to(at)
    assert (tick(), tick()) == (1, 0)

    assert fired(row) == [at]
    assert not fresh(row).task.enabled
    assert fresh(row).next_at is None


def test_a_schedule_fires_from_its_beginning_to_its_end(clock: Clock) -> None:
    begin = schedules.now().replace(minute=0, second=0, microsecond=0) + 2 * HOUR
    row = schedule(start_time=begin, expires=begin + HOUR, missed="all")
    assert row.next_at == begin

    clock.move(DAY)
    tick()

    assert fired(row) == [begin, begin + HOUR]
    assert fresh(row).next_at is None


# ------------------------------------------------------------------------------------------------ missed instants
@pytest.mark.parametrize(
    ("missed", "late", "jobs", "left_out"),
    [
        ("all", dt.timedelta(minutes=30), [1, 2, 3], []),
        ("one", dt.timedelta(minutes=30), [3], [(2, "missed")]),
        ("skip", dt.timedelta(minutes=30), [], [(3, "missed")]),
        ("skip", dt.timedelta(minutes=1), [3], [(2, "missed")]),
    ],
)
def test_what_nobody_fired_in_time_goes_by_the_policy(
    clock: Clock, missed: str, late: dt.timedelta, jobs: list[int], left_out: list[tuple[int, str]]
) -> None:
    row = schedule(missed=missed)
    hours = next_hours(row, 3)

    clock.move_to(hours[-1] + late)
    assert tick() == len(jobs)

    assert fired(row) == [hours[n - 1] for n in jobs]
    assert skipped() == left_out
    assert tick() == 0


def test_of_very_many_missed_instants_a_thousand_make_jobs(clock: Clock) -> None:
    row = schedule(every=dt.timedelta(seconds=1), missed="all")

    clock.move(HOUR)
    assert tick() == 1000

    assert skipped() == [(len(next_seconds(row)) - 1000, "too_many")]
    assert fired(row)[-1] == fresh(row).fired_until.replace(microsecond=0)


def test_instants_that_are_a_little_late_each_make_a_job(clock: Clock) -> None:
    row = schedule(every=dt.timedelta(minutes=1), missed="skip")
    clock.move(dt.timedelta(minutes=1, seconds=55))

    assert tick() in {1, 2}
    assert skipped() == []
    clock.move(dt.timedelta(minutes=1, seconds=59))
    tick()

    found = fired(row)
    assert all(later - earlier == dt.timedelta(minutes=1) for earlier, later in itertools.pairwise(found))
    assert len(found) == 3


def next_seconds(row: Schedule) -> list[dt.datetime]:
    """The instants between where the test began and the cursor."""
    return list(instants(Timetable(Every(1)), row.fired_until, fresh(row).fired_until))


def test_more_than_is_counted_is_said_to_be_so(clock: Clock) -> None:
    schedule(every=dt.timedelta(seconds=7), missed="one")

    clock.move(30 * HOUR)
    made = tick()

    assert made in {17, 18}  # of two minutes
    assert skipped() == [(firing.COUNTED - made, "missed")]


# ------------------------------------------------------------------------------------------------ overlap
def end_of(row: Schedule) -> None:
    Job.objects.filter(id__in=[job.id for job in jobs_of(row)]).update(status=Status.PROCESSED)


@pytest.mark.parametrize(
    ("overlap", "second", "third", "left_out"),
    [
        ("allow", [1, 2, 3], [1, 2, 3, 4], []),
        ("skip", [1], [1, 4], [(1, "overlap"), (1, "overlap")]),
        ("queue_one", [1], [1, 2], [(1, "overlap")]),
    ],
)
def test_while_the_job_before_has_not_ended(
    clock: Clock, overlap: str, second: list[int], third: list[int], left_out: list[tuple[int, str]]
) -> None:
    row = schedule(overlap=overlap)
    hours = next_hours(row, 4)
    for hour in hours[:3]:
        clock.move_to(hour)
        tick()
    assert fired(row) == [hours[n - 1] for n in second]

    end_of(row)
    clock.move_to(hours[3])
    tick()

    assert fired(row) == [hours[n - 1] for n in third]
    assert skipped() == left_out


def test_what_waits_for_the_job_before_does_not_wait_for_the_next_instant(clock: Clock) -> None:
    row = schedule(overlap="queue_one")
    hours = next_hours(row, 2)
    for hour in hours:
        clock.move_to(hour)
        tick()
    assert fresh(row).waiting_at == hours[1]

    assert firing.Rounds().step() > 0
    assert fresh(row).next_at == hours[1] + HOUR

    end_of(row)

    assert (tick(), tick()) == (1, 0)
    assert fired(row) == hours
    assert fresh(row).waiting_at is None


# ------------------------------------------------------------------------------------------------ failures
@pytest.fixture
def failing(clock: Clock) -> Schedule:
    return schedule(payload='{"deed": "fail"}', pause_on_failures=2)


def fail(clock: Clock, row: Schedule) -> int:
    clock.move_to(next_hours(row, 1)[0])
    made = tick()
    if made:
        run("account.note")
    return made


def test_after_so_many_failures_in_a_row_it_is_paused(clock: Clock, failing: Schedule) -> None:
    assert [fail(clock, failing) for _ in range(3)] == [1, 1, 0]

    row = fresh(failing)
    assert not row.task.enabled
    assert row.paused_reason == "Its last 2 jobs have failed or were rejected."
    (event,) = events("schedule.paused")
    assert (event["subject_id"], event["seq"], event["reason"]) == (row.id, 1, row.paused_reason)


def test_failures_before_it_was_resumed_do_not_count(clock: Clock, failing: Schedule) -> None:
    for _ in range(3):
        fail(clock, failing)

    schedules.resume(schedule_id=failing.id, project_id=None, actor="tests", reason="repaired")

    assert [fail(clock, failing) for _ in range(3)] == [1, 1, 0]
    assert [event["seq"] for event in events("schedule.paused")] == [1, 3]
    assert [event["seq"] for event in events("schedule.resumed")] == [2]


def test_one_that_works_in_between_starts_the_count_anew(clock: Clock, failing: Schedule) -> None:
    fail(clock, failing)
    PeriodicTask.objects.filter(pk=failing.task_id).update(kwargs="{}")
    fail(clock, failing)
    PeriodicTask.objects.filter(pk=failing.task_id).update(kwargs='{"deed": "fail"}')

    assert [fail(clock, failing) for _ in range(3)] == [1, 1, 0]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"task": "no.such"}, "No handler is registered for the kind 'no.such'."),
        ({"kwargs": "{"}, "Its payload is no JSON object."),
        ({"kwargs": "[]"}, "Its payload is no JSON object."),
        ({"kwargs": '{"deed": 7}'}, "The payload does not fit account.note."),
    ],
)
def test_what_cannot_fire_is_paused_with_the_reason(clock: Clock, change: dict[str, str], reason: str) -> None:
    row, other = schedule(), schedule()
    PeriodicTask.objects.filter(pk=row.task_id).update(**change)

    clock.move(HOUR)
    assert tick() == 1

    assert (fresh(row).task.enabled, fresh(row).paused_reason) == (False, reason)
    assert [event["reason"] for event in events("schedule.paused")] == [reason]
    assert len(fired(other)) == 1


def test_a_refusal_skips_the_instant_and_not_the_schedule(
    clock: Clock, gates: extensions.Registry[extensions.Gate]
) -> None:
    row = schedule()
    gates.register("full", lambda _: Refusal("quota_exceeded", "Too many jobs."))
    clock.move(HOUR)
    assert tick() == 0
    assert skipped() == [(1, "quota_exceeded")]

    gates._things.clear()
    clock.move(HOUR)

    assert tick() == 1
    assert fresh(row).task.enabled


# ------------------------------------------------------------------------------------------------ pauses
@pytest.mark.parametrize(
    ("policy", "jobs", "left_out"),
    [
        ("skip", [], [(1, "paused")] * 3),
        ("one", [3], [(2, "paused")]),
        ("all", [1, 2, 3], []),
    ],
)
@pytest.mark.parametrize("whose", ["the schedule's", "the pause's"])
def test_instants_during_a_pause(
    clock: Clock, policy: str, jobs: list[int], left_out: list[tuple[int, str]], whose: str
) -> None:
    own, said = (policy, None) if whose == "the schedule's" else ("one" if policy == "all" else "all", policy)
    row, other = schedule(while_paused=own), schedule(kind="account.book")
    hours = next_hours(row, 3)
    pause = pauses.pause(actor="tests", reason="away", kind="account.note", schedules=said)

    for hour in hours:
        clock.move_to(hour + dt.timedelta(minutes=1))
        tick()
    assert fired(row) == []
    assert fired(other) == hours

    pauses.resume(pause_id=pause.id, project_id=None, actor="tests")
    tick()
    assert fired(row) == [hours[n - 1] for n in jobs]
    assert skipped() == left_out
    assert fresh(row).held == ""


@pytest.mark.parametrize(
    ("named", "held"),
    [
        ({"project_id": PROJECT}, True),
        ({"queue": "default"}, True),
        ({"queue": "elsewhere"}, False),
        ({"kind": "account.book"}, False),
        ({"kind": "account.note", "queue": "elsewhere"}, False),
    ],
)
def test_a_pause_holds_the_schedules_of_what_it_names(clock: Clock, named: dict[str, Any], held: bool) -> None:
    row = schedule()
    until = schedules.now() + 2 * HOUR
    pauses.pause(actor="tests", reason="away", until=until, **named)

    clock.move(HOUR)
    assert tick() == (0 if held else 1)
    assert firing.Rounds().step() > 0  # what is held keeps nobody busy

    clock.move_to(until)
    assert tick() == 1
    assert len(fired(row)) == (1 if held else 2)


# ------------------------------------------------------------------------------------------------ many at it
def test_a_cursor_that_was_put_back_makes_no_job_twice(clock: Clock) -> None:
    row = schedule(missed="all")
    clock.move(3 * HOUR)
    assert tick() == 3

    Schedule.objects.update(fired_until=fresh(row).fired_until - 3 * HOUR, next_at=next_of(row) - 3 * HOUR)

    assert tick() == 0
    assert next_of(row) > schedules.now()


def test_a_clock_that_ran_ahead_and_was_put_back_does_not_stop_a_schedule(clock: Clock) -> None:
    row = schedule()
    clock.move(30 * DAY)
    assert tick() == 1
    clock.move(-30 * DAY)
    clock.move(HOUR)
    assert tick() == 0

    firing.Rounds().step()
    clock.move(HOUR)

    assert tick() == 1
    assert len(fired(row)) == 2


def test_a_round_in_which_nothing_is_due_is_one_statement(clock: Clock, django_assert_num_queries: Any) -> None:
    schedule()
    rounds = firing.Rounds()
    rounds.step()

    with django_assert_num_queries(1):
        assert rounds.step() == 5.0


def test_one_schedule_that_is_beyond_all_help_does_not_stop_the_others(clock: Clock) -> None:
    broken, row = schedule(every=dt.timedelta(minutes=30)), schedule()
    with connection.cursor() as cursor:
        cursor.execute(
            "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;"
            "create trigger refuse before update on jobs_schedule for each row"
            f" when (old.id = '{broken.id}') execute function refuse()"
        )
    clock.move(HOUR)

    assert tick() == 1
    assert len(fired(row)) == 1


def test_a_round_whose_time_is_up_says_so_and_the_next_goes_on(clock: Clock) -> None:
    rows = [schedule() for _ in range(3)]
    clock.move(HOUR)

    assert firing.Rounds().step(budget=0.0) == 0.0
    assert firing.Rounds().step() > 0

    assert [len(fired(row)) for row in rows] == [1, 1, 1]


def test_firings_are_kept_for_longer_than_a_backfill_reaches(clock: Clock) -> None:
    schedule()
    clock.move(HOUR)
    tick()
    clock.move(firing.BACKFILL + DAY)
    run_once(handlers.tidy, {}, project_id=PROJECT)
    assert Firing.objects.count() == 1

    clock.move(60 * DAY)
    run_once(handlers.tidy, {}, project_id=PROJECT)

    assert not Firing.objects.exists()
