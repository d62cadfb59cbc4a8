"""What people edit is followed: from the moment of the edit on, never for the past."""

import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule

from events.models import AuditRecord
from jobs import firing, schedules
from jobs.errors import InvalidSchedule, UnknownKind
from jobs.models import Schedule
from jobs.schedule import ensure_rows, shipped
from jobs.states import PLATFORM
from tests.integration.jobs.booking import booking
from tests.integration.jobs.conftest import events
from tests.integration.jobs.timetables import HOUR, Clock, clock, fired, fresh, next_of, schedule, tick

__all__ = ["booking", "clock"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("booking")]


def test_a_row_that_somebody_added_is_found_and_begins_now(clock: Clock) -> None:
    rounds = firing.Rounds()
    rounds.step()
    every = IntervalSchedule.objects.create(every=1, period="hours")
    PeriodicTask.objects.create(name="hourly", task="account.note", interval=every)

    rounds.step()

    row = Schedule.objects.get(task__name="hourly")
    assert (row.project_id, row.missed, row.overlap, row.while_paused) == (PLATFORM, "one", "allow", "one")
    assert schedules.now() < next_of(row) <= schedules.now() + HOUR
    assert fired(row) == []


def _crontab(row: Schedule) -> None:
    crontab = row.task.crontab
    crontab.minute = "*/20"
    crontab.save()


def _other_crontab(row: Schedule) -> None:
    row.task.crontab = CrontabSchedule.objects.create(minute="*/20")
    row.task.save()


def _past_the_models(row: Schedule) -> None:
    CrontabSchedule.objects.update(minute="*/20")


def _enable(row: Schedule) -> None:
    row.task.enabled = True
    row.task.save()


def _resume(row: Schedule) -> None:
    schedules.resume(schedule_id=row.id, project_id=None, actor="tests")


@pytest.mark.parametrize("edit", [_crontab, _other_crontab, _past_the_models])
def test_an_edit_moves_the_cursor_to_now(clock: Clock, edit: Callable[[Schedule], None]) -> None:
    row = schedule(cron="0 * * * *", missed="all")
    clock.move(5 * HOUR)
    edit(fresh(row))

    assert tick() == 0
    assert fired(row) == []
    assert schedules.now() < next_of(row) <= schedules.now() + dt.timedelta(minutes=20)
    clock.move_to(next_of(row))
    assert tick() == 1


@pytest.mark.parametrize("edit", [_enable, _resume])
def test_what_was_due_while_it_was_off_is_past(clock: Clock, edit: Callable[[Schedule], None]) -> None:
    row = schedule(missed="all")
    schedules.pause(schedule_id=row.id, project_id=None, actor="tests", reason="away")
    clock.move(5 * HOUR)
    assert tick() == 0

    edit(fresh(row))
    firing.Rounds().step()

    assert fired(row) == []
    assert (fresh(row).paused_reason, fresh(row).task.enabled) == ("", True)
    clock.move_to(next_of(row))
    assert tick() == 1


@pytest.mark.parametrize("change", [{"name": "renamed"}, {"kwargs": '{"deed": "x"}'}, {"description": "more"}])
def test_what_says_nothing_of_the_time_leaves_the_cursor(clock: Clock, change: dict[str, Any]) -> None:
    row = schedule(missed="all")
    clock.move(2 * HOUR)
    PeriodicTask.objects.filter(pk=row.task_id).update(**change)
    fresh(row).task.save()

    assert firing.Rounds().step() > 0

    assert len(fired(row)) == 2


def test_a_moment_that_passes_before_the_row_is_noticed_is_not_lost() -> None:
    now = schedules.now()
    row = schedule(at=now + dt.timedelta(hours=1))
    task = row.task
    Schedule.objects.all().delete()
    task.clocked.clocked_time = now - dt.timedelta(seconds=1)
    task.clocked.save()
    PeriodicTask.objects.filter(pk=task.pk).update(date_changed=now - dt.timedelta(seconds=3))

    firing.Rounds().step()

    assert fired(Schedule.objects.get(task=task)) == [task.clocked.clocked_time]


def test_a_schedule_by_the_sun_is_paused_and_says_why() -> None:
    sun = SolarSchedule.objects.create(event="sunrise", latitude=52, longitude=13)
    task = PeriodicTask.objects.create(name="dawn", task="account.note", solar=sun)

    firing.Rounds().step()

    row = Schedule.objects.get(task=task)
    assert (fresh(row).task.enabled, row.paused_reason) == (False, "Schedules by the sun are not supported.")
    with pytest.raises(InvalidSchedule):
        schedules.resume(schedule_id=row.id, project_id=None, actor="tests")


@pytest.mark.parametrize(
    ("timing", "reason"),
    [
        ({"period": "microseconds", "every": 5}, "An interval is a whole number of seconds."),
        ({"period": "days", "every": 2**31 - 1}, "An interval is a hundred years at most."),
        ({"period": "seconds", "every": 0}, "An interval is one second at least."),
    ],
)
def test_an_interval_that_is_none_is_paused_and_says_why(timing: dict[str, Any], reason: str) -> None:
    row = schedule()
    IntervalSchedule.objects.update(**timing)

    firing.Rounds().step()

    assert (fresh(row).task.enabled, fresh(row).paused_reason) == (False, reason)


def test_a_crontab_that_celery_would_not_read_harms_no_other(clock: Clock) -> None:
    bad, good = schedule(cron="0 * * * *"), schedule()
    CrontabSchedule.objects.update(hour="25")
    clock.move(HOUR)

    firing.Rounds().step()

    assert fresh(bad).paused_reason == "The field hour of a crontab does not take '25'."
    assert len(fired(good)) == 1


def test_pausing_and_resuming_are_recorded_once_each(clock: Clock) -> None:
    row = schedule(name="hourly")
    for _ in range(2):
        schedules.pause(schedule_id=row.id, project_id=None, actor="ada", reason="away")
    assert fresh(row).paused_reason == "away"
    assert fresh(row).next_at is None
    for _ in range(2):
        schedules.resume(schedule_id=row.id, project_id=None, actor="bob", reason="back")

    records = AuditRecord.objects.filter(subject_type="schedule", subject_id=str(row.task_id)).order_by("id")
    assert [(record.action, record.actor, record.reason) for record in records] == [
        ("schedule.pause", "ada", "away"),
        ("schedule.resume", "bob", "back"),
    ]
    found = [*events("schedule.paused"), *events("schedule.resumed")]
    assert [(event["seq"], event["subject_id"]) for event in found] == [(1, row.id), (2, row.id)]


def test_one_whose_kind_nobody_handles_is_not_resumed(clock: Clock) -> None:
    row = schedule(enabled=False)
    PeriodicTask.objects.update(task="no.such")

    with pytest.raises(UnknownKind):
        schedules.resume(schedule_id=row.id, project_id=None, actor="tests")

    assert not fresh(row).task.enabled


@pytest.mark.parametrize(
    ("zone", "before", "instants"),
    [
        ("Europe/Berlin", "2027-03-27 12:00", ["2027-03-28 01:00", "2027-03-29 00:30"]),
        ("Europe/Berlin", "2027-10-30 12:00", ["2027-10-31 00:30", "2027-11-01 01:30"]),
        ("Asia/Kolkata", "2027-03-27 12:00", ["2027-03-27 21:00", "2027-03-28 21:00"]),
        ("Australia/Lord_Howe", "2027-10-02 12:00", ["2027-10-02 15:30", "2027-10-03 15:30"]),
    ],
)
def test_a_nightly_schedule_fires_once_a_night_where_clocks_change(
    clock: Clock, zone: str, before: str, instants: list[str]
) -> None:
    clock.move_to(dt.datetime.fromisoformat(before).replace(tzinfo=dt.UTC))
    row = schedule(cron="30 2 * * *", zone=zone, missed="all")

    for _ in range(48):
        clock.move(HOUR)
        tick()

    assert [f"{instant:%Y-%m-%d %H:%M}" for instant in fired(row)] == instants


def test_deleting_the_row_of_django_celery_beat_deletes_ours() -> None:
    row = schedule()

    row.task.delete()

    assert not Schedule.objects.exists()
    firing.Rounds().step()


def test_shipped_schedules_are_made_once_whatever_intervals_there_are() -> None:
    for _ in range(2):
        for seconds in {item.seconds for item in shipped()}:
            IntervalSchedule.objects.create(every=seconds, period="seconds")

    assert ensure_rows() == len(list(shipped())) > 0
    PeriodicTask.objects.update(description="edited")
    assert ensure_rows() == 0

    firing.Rounds().step()
    assert Schedule.objects.filter(project_id=PLATFORM, next_at__isnull=False).count() == len(list(shipped()))
    assert set(PeriodicTask.objects.values_list("description", flat=True)) == {"edited"}


def test_following_very_many_edits_stops_in_time_and_goes_on(clock: Clock) -> None:
    rows = [schedule(cron="0 * * * *") for _ in range(3)]
    CrontabSchedule.objects.update(minute="30")

    assert not schedules.reconcile(budget=0.0)
    assert schedules.reconcile()

    assert {next_of(row).minute for row in rows} == {30}


def test_one_row_that_cannot_be_followed_does_not_stop_the_others(clock: Clock) -> None:
    broken, good = schedule(cron="0 * * * *"), schedule(cron="0 * * * *")
    CrontabSchedule.objects.update(minute="30")
    with connection.cursor() as cursor:
        cursor.execute(
            "create function refuse() returns trigger language plpgsql as $$ begin raise exception 'no'; end $$;"
            "create trigger refuse before update on jobs_schedule for each row"
            f" when (old.id = '{broken.id}') execute function refuse()"
        )

    assert schedules.reconcile()

    assert (next_of(broken).minute, next_of(good).minute) == (0, 30)
