"""Schedules under fire: two beats (T36), a beat that dies at any step (T37), none for hours, a clock put back (T39)."""

import datetime as dt
import itertools
import signal
from collections.abc import Iterator

import psycopg
import pytest
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from events.log import move_clock
from jobs import schedules
from jobs.models import Schedule
from tests.often import often
from tests.processes import PROJECT, Platform, send

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

STEPS = [
    "jobs.schedules:locked:after:1",  # before anything is done
    "jobs.services:submit_many:after:1",  # the job is there, and nobody knows
    "jobs.firing:make:after:1",  # the instant is taken, the cursor has not moved
    "jobs.firing:_count:after:1",  # all is done, and not committed
    "jobs.firing:fire:after:1",  # committed, and the next one was about to be asked for
    "jobs.firing:fire_due:after:1",
]


@pytest.fixture(autouse=True)
def clean(platform: Platform) -> Iterator[None]:
    """No schedule of another test, and the real time."""
    yield
    for program in platform.programs:
        if program.name.startswith(("beat", "relay")) and program.alive:
            program.kill()
    PeriodicTask.objects.all().delete()
    move_clock(dt.timedelta(0))


def schedule(name: str, *, seconds: int = 1, missed: str = "all") -> Schedule:
    every = IntervalSchedule.objects.create(every=seconds, period="seconds")
    row = schedules.of_task(PeriodicTask.objects.create(name=name, task="test.silent", interval=every))
    Schedule.objects.filter(id=row.id).update(project_id=PROJECT, missed=missed)
    return row


def fired(platform: Platform, row: Schedule) -> list[dt.datetime]:
    """The instants for which there are jobs, as the jobs say, in their order."""
    found = (
        "select (metadata ->> 'instant')::timestamptz as at from jobs_job where metadata ->> 'schedule' = %s order by 1"
    )
    return [job["at"] for job in platform.rows(found, row.task.name)]


def wait_for(platform: Platform, row: Schedule, number: int) -> None:
    platform.wait_until(lambda: len(fired(platform, row)) >= number, f"{number} instants of {row.task.name}")


def each_once(platform: Platform, row: Schedule, *, seconds: int = 1) -> None:
    """No instant has two jobs, and none between the first and the last has none."""
    found = fired(platform, row)
    assert found
    steps = {later - earlier for earlier, later in itertools.pairwise(found)}
    assert steps <= {dt.timedelta(seconds=seconds)}, found


def test_two_beats_and_a_relay_make_one_job_an_instant(platform: Platform) -> None:
    rows = [schedule(f"together {number}") for number in range(5)]
    beats = [platform.beat(), platform.beat()]
    platform.relay()
    wait_for(platform, rows[0], 4)
    send(beats[0].pid, signal.SIGSTOP)  # frozen, perhaps in the middle of a round
    wait_for(platform, rows[0], len(fired(platform, rows[0])) + 3)
    send(beats[0].pid, signal.SIGCONT)
    wait_for(platform, rows[0], len(fired(platform, rows[0])) + 3)
    beats[1].kill()
    wait_for(platform, rows[-1], len(fired(platform, rows[-1])) + 2)

    assert beats[0].stop() == 0
    for row in rows:
        each_once(platform, row)


def test_a_beat_that_is_stopped_in_the_middle_of_a_statement_ends_in_order(platform: Platform) -> None:
    row = schedule("stopped")
    beat = platform.beat()
    wait_for(platform, row, 1)
    stuck = "select 1 from pg_locks where not granted and relation = 'jobs_schedule'::regclass"
    with psycopg.connect(platform.database_url) as holder:
        holder.execute("lock table jobs_schedule in access exclusive mode")
        platform.wait_until(lambda: platform.rows(stuck), "the statement to wait")

        assert beat.stop() == 0

    stopped = "select stopped_at is not null as ok from jobs_pulse where role = 'beat' and pid = %s"
    assert platform.value(stopped, beat.pid)


@pytest.mark.parametrize("step", often({STEPS[3]}, STEPS))
def test_a_beat_killed_at_any_step_is_replaced_by_the_next(platform: Platform, step: str) -> None:
    row = schedule(f"killed {step}")
    mark = platform.directory / step
    handlers = "tests.handlers.good,tests.handlers.failpoints"
    doomed = platform.beat(env={"FAILPOINT": step, "FAILPOINT_ONCE": str(mark), "JOBPLATFORM_HANDLERS": handlers})
    platform.wait_until(lambda: mark.exists() and not doomed.alive, "the beat to die")
    platform.beat()
    wait_for(platform, row, 4)

    each_once(platform, row)
    begun = platform.value("select created_at from jobs_schedule where id = %s", row.id)
    assert fired(platform, row)[0] - begun <= dt.timedelta(seconds=1)


def test_what_was_due_while_beat_was_away_is_fired_by_the_relay_as_each_schedule_says(platform: Platform) -> None:
    hour = 3600
    rows = {missed: schedule(f"away {missed}", seconds=hour, missed=missed) for missed in ("skip", "one", "all")}
    Schedule.objects.update(fired_until=schedules.now().replace(minute=0, second=0, microsecond=0))
    away = schedules.now().replace(minute=30) + dt.timedelta(hours=3) - schedules.now()
    move_clock(away)

    platform.relay()

    wait_for(platform, rows["all"], 3)
    wait_for(platform, rows["one"], 1)
    skipped = "select data from events_event where type = 'schedule.skipped' and subject_id = %s"
    platform.wait_until(lambda: platform.rows(skipped, rows["skip"].id), "the one that skips")
    assert {name: len(fired(platform, row)) for name, row in rows.items()} == {"skip": 0, "one": 1, "all": 3}
    assert fired(platform, rows["one"]) == fired(platform, rows["all"])[-1:]
    each_once(platform, rows["all"], seconds=hour)


def test_a_clock_that_is_put_back_an_hour_doubles_nothing(platform: Platform) -> None:
    row = schedule("put back")
    move_clock(dt.timedelta(hours=1))
    beat = platform.beat()
    wait_for(platform, row, 1000)  # an hour of seconds, the latest thousand of which count
    beat.kill()
    before = fired(platform, row)

    move_clock(dt.timedelta(0))
    beat = platform.beat()
    at = "select fired_until < (select platform_now()) + interval '1 second' as ok from jobs_schedule where id = %s"
    platform.wait_until(lambda: platform.value(at, row.id), "the cursor to follow the clock")
    move_clock(dt.timedelta(hours=1))
    wait_for(platform, row, len(before) + 3)

    found = fired(platform, row)
    assert len(found) == len(set(found))
    assert beat.alive


def test_a_beat_whose_end_hangs_ends_all_the_same_and_shows_where_it_stood(platform: Platform) -> None:
    handlers = "tests.handlers.good,tests.handlers.failpoints"
    hang = {"FAILPOINT": "jobs.pulse:Pulse.stop:hang:1", "FAILPOINT_ONCE": str(platform.directory / "hung")}
    beat = platform.beat(env={**hang, "JOBPLATFORM_HANDLERS": handlers})
    begun = "select exists (select from jobs_pulse where role = 'beat' and pid = %s)"
    platform.wait_until(lambda: platform.value(begun, beat.pid), "its first round")

    assert beat.stop() == 1
    assert "Timeout (0:00:10)!" in beat.log
    assert "in close" in beat.log


def test_a_beat_that_is_stopped_while_it_checks_its_start_ends_in_order(platform: Platform) -> None:
    stuck = "select 1 from pg_locks where not granted and relation = 'django_migrations'::regclass"
    with psycopg.connect(platform.database_url) as holder:
        holder.execute("lock table django_migrations in access exclusive mode")
        beat = platform.beat()
        platform.wait_until(lambda: platform.rows(stuck), "the check to wait")

        assert beat.stop() == 0
