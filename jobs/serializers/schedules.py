"""Schedules as JSON."""

import datetime as dt
from typing import Annotated, Any, Self
from uuid import UUID

from django.urls import reverse
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints, model_validator

from jobplatform.api.query import Moment
from jobs import schedules
from jobs.errors import InvalidSchedule
from jobs.firing import Backfilled, Last
from jobs.models import Schedule
from jobs.schedules import NewSchedule
from jobs.serializers.asks import Ask, KindName, Reason
from jobs.states import CatchUp, Overlap, Status

SHORTEST_INTERVAL = 10  # seconds


class CreateSchedule(Ask):
    """What is to be made, and when: one of `cron`, `every` and `at`."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "name": "nightly report", "kind": "report.send", "payload": {"name": "Ada"},
                "cron": "30 2 * * *", "timezone": "Europe/Berlin", "missed": "one", "overlap": "skip",
            }
        }
    )  # fmt: skip

    name: Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")]
    kind: KindName
    payload: dict[str, Any] = Field(default_factory=dict)
    cron: Annotated[str, StringConstraints(min_length=9, max_length=400)] | None = Field(
        None, description="Minute, hour, day of month, month, day of week. A day has to fit all three of its fields."
    )
    every: Annotated[StrictInt, Field(ge=SHORTEST_INTERVAL, le=366 * 86_400)] | None = Field(
        None, description="Seconds, counted from 1970-01-01T00:00Z."
    )
    at: Moment | None = Field(None, description="Once, then.")
    timezone: Annotated[str, StringConstraints(max_length=60)] | None = Field(None, description="Of `cron`. Else UTC.")
    missed: CatchUp = Field(CatchUp.ONE, description="What becomes of instants that nobody fired in time.")
    overlap: Overlap = Field(Overlap.ALLOW, description="When it is due and its last job has not ended.")
    while_paused: CatchUp = Field(CatchUp.ONE, description="What becomes of instants while a pause holds its jobs.")
    pause_on_failures: Annotated[StrictInt, Field(ge=0, le=100)] = Field(
        0, description="It is paused after so many failed or rejected jobs in a row. 0: never."
    )

    @model_validator(mode="after")
    def _says_when(self) -> Self:
        if sum(value is not None for value in (self.cron, self.every, self.at)) != 1:
            message = "One of cron, every and at says when"
            raise ValueError(message)
        if self.timezone is not None and self.cron is None:
            message = "A timezone belongs to cron only"
            raise ValueError(message)
        return self

    def new(self) -> NewSchedule:
        """The same, as the engine takes it."""
        return NewSchedule(**self.model_dump(exclude={"timezone"}), timezone=self.timezone or "UTC")


class ActOnSchedule(Ask):
    """Why somebody acts."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "The provider is down."}})

    reason: Reason = ""


class BackfillSchedule(Ask):
    """From when to when, both included; `dry_run` only says how many jobs that would make."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"from": "2026-11-01T00:00:00Z", "to": "2026-11-02T00:00:00Z", "dry_run": True, "reason": ""}
        }
    )

    begin: Moment = Field(alias="from")
    end: Moment = Field(alias="to")
    dry_run: bool = False
    reason: Reason = ""


class LastShown(BaseModel):
    """The latest instant that has made a job."""

    instant: dt.datetime
    fired_at: dt.datetime
    job_id: UUID
    status: Status | None = Field(description="Of the job; null where it is gone.")


class ScheduleLinks(BaseModel):
    """Addresses of a schedule."""

    self: str
    run: str
    pause: str
    resume: str
    backfill: str


class ScheduleShown(BaseModel):
    """A schedule. `next_at` is null where it is paused or has no instant ahead."""

    id: UUID
    name: str
    kind: str
    payload: dict[str, Any] | None
    cron: str | None
    every: int | None
    at: dt.datetime | None
    timezone: str | None
    missed: CatchUp
    overlap: Overlap
    while_paused: CatchUp
    pause_on_failures: int
    enabled: bool
    paused_reason: str | None
    next_at: dt.datetime | None
    last: LastShown | None
    created_at: dt.datetime
    links: ScheduleLinks


class ScheduleDetail(ScheduleShown):
    """A schedule with its next instants."""

    upcoming: list[dt.datetime]


class RunShown(BaseModel):
    """The job that was made."""

    job_id: UUID
    links: dict[str, str]


class BackfillShown(BaseModel):
    """The instants of that time, how many have a job already, and how many got one now."""

    dry_run: bool
    instants: int
    existing: int
    made: int
    first: dt.datetime | None
    last: dt.datetime | None


def show_schedule(row: Schedule, last: Last | None) -> dict[str, Any]:
    """A `ScheduleShown`."""
    task = row.task
    own = f"{reverse('jobs:schedules')}/{row.id}"
    cron = task.crontab
    return {
        "id": row.id,
        "name": schedules.name_of(row),
        "kind": task.task,
        "payload": _payload(row),
        "cron": None if cron is None
        else f"{cron.minute} {cron.hour} {cron.day_of_month} {cron.month_of_year} {cron.day_of_week}",
        "every": None if task.interval is None else schedules.seconds_of(task.interval),
        "at": None if task.clocked is None else task.clocked.clocked_time,
        "timezone": None if cron is None else str(cron.timezone),
        "missed": row.missed,
        "overlap": row.overlap,
        "while_paused": row.while_paused,
        "pause_on_failures": row.pause_on_failures,
        "enabled": task.enabled,
        "paused_reason": row.paused_reason if row.paused_reason and not task.enabled else None,
        "next_at": row.next_at,
        "last": None if last is None else {
            "instant": last.instant, "fired_at": last.fired_at, "job_id": last.job_id, "status": last.status,
        },
        "created_at": row.created_at,
        "links": {"self": own} | {name: f"{own}/{name}" for name in ("run", "pause", "resume", "backfill")},
    }  # fmt: skip


def show_detail(row: Schedule, last: Last | None) -> dict[str, Any]:
    """A `ScheduleDetail`."""
    return {**show_schedule(row, last), "upcoming": schedules.upcoming(row.task, schedules.now())}


def show_backfill(done: Backfilled, *, dry_run: bool) -> dict[str, Any]:
    """A `BackfillShown`."""
    return {
        "dry_run": dry_run,
        "instants": done.instants,
        "existing": done.existing,
        "made": done.made,
        "first": done.first,
        "last": done.last,
    }


def _payload(row: Schedule) -> dict[str, Any] | None:
    try:
        return schedules.payload_of(row.task)
    except InvalidSchedule:
        return None
