"""Schedules for tests, and the clock that they go by."""

import datetime as dt
import itertools
from typing import Any
from uuid import UUID

import pytest
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from events.log import move_clock
from jobs import firing, schedules
from jobs.models import Firing, Job, Schedule
from tests.contracts.deliveries import PROJECT

HOUR = dt.timedelta(hours=1)
_numbers = itertools.count(1)


def schedule(
    *, every: dt.timedelta = HOUR, cron: str = "", zone: str = "UTC", at: dt.datetime | None = None,
    kind: str = "account.note", payload: str = "{}", project_id: UUID = PROJECT, **columns: Any,
) -> Schedule:  # fmt: skip
    """A schedule, followed from now on. `columns` are ours, or those of django-celery-beat."""
    when: dict[str, Any] = {}
    if at is not None:
        when = {"clocked": ClockedSchedule.objects.create(clocked_time=at), "one_off": True}
    elif cron:
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        when["crontab"] = CrontabSchedule.objects.create(**dict(zip(names, cron.split(), strict=True)), timezone=zone)
    else:
        when["interval"] = IntervalSchedule.objects.create(every=every.total_seconds(), period="seconds")
    theirs = {name: columns.pop(name) for name in ("enabled", "one_off", "start_time", "expires") if name in columns}
    name = columns.pop("name", f"schedule {next(_numbers)}")
    task = PeriodicTask.objects.create(name=name, task=kind, kwargs=payload, **(when | theirs))
    row = schedules.of_task(task)
    Schedule.objects.filter(id=row.id).update(project_id=project_id, fired_until=schedules.now(), **columns)
    return fresh(row)


def fresh(row: Schedule) -> Schedule:
    return Schedule.objects.select_related("task").get(id=row.id)


def next_of(row: Schedule) -> dt.datetime:
    """The instant that is next; there is one."""
    found = fresh(row).next_at
    assert found is not None
    return found


class Clock:
    """The platform's clock, which a test moves on."""

    def __init__(self) -> None:
        self._ahead = dt.timedelta(0)

    def move(self, by: dt.timedelta) -> None:
        self._ahead += by
        move_clock(self._ahead)

    def move_to(self, moment: dt.datetime) -> None:
        self.move(moment - schedules.now())


@pytest.fixture
def clock() -> Clock:
    """At ten past an hour."""
    clock = Clock()
    now = schedules.now()
    clock.move(now.replace(minute=10, second=0, microsecond=0) + HOUR - now)
    return clock


def fired(row: Schedule) -> list[dt.datetime]:
    """The instants that have made jobs."""
    return list(Firing.objects.filter(schedule_id=row.id).order_by("instant").values_list("instant", flat=True))


def jobs_of(row: Schedule) -> list[Job]:
    """The jobs of its instants, the oldest first."""
    ids = list(Firing.objects.filter(schedule_id=row.id).order_by("instant").values_list("job_id", flat=True))
    found = {job.id: job for job in Job.objects.filter(id__in=ids)}
    return [found[job_id] for job_id in ids]


def tick() -> int:
    """Fire what is due. Returns how many jobs that made."""
    return firing.fire_due().jobs
