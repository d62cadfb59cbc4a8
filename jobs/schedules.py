"""Schedules: the rows that people edit (django-celery-beat), what they say, and what the platform knows beside them.

Whoever writes here holds the row of django-celery-beat first and ours then, so that nobody waits in a circle.
What makes jobs is in `jobs/firing.py`.
"""

import datetime as dt
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import structlog
from django.db import connection, transaction
from django.db.models import Q, QuerySet
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from events import audit, log
from events.log import NewEvent
from jobplatform.api.database import Trouble, trouble
from jobs import registry, services, store
from jobs.errors import InvalidOption, InvalidPayload, InvalidSchedule, ScheduleExists, ScheduleNotFound, UnknownKind
from jobs.instants import Cron, Every, Once, Timetable, Timing
from jobs.models import Schedule
from jobs.states import CatchUp, Overlap

logger = structlog.get_logger(__name__)

MISSED = dt.timedelta(minutes=2)
"""An instant that nobody fired for so long was missed. Beat looks every few seconds, the relay once a minute."""

MOST_OF_A_PROJECT = 200
"""Schedules that a project may create by itself."""
LARGEST_PAYLOAD = 64 * 1024
"""Bytes of a schedule's payload as JSON; lists show it."""
LONGEST_FIELD = 64
"""Characters of one field of a crontab."""

OFF = "off"
"""The fingerprint of a schedule that is not enabled."""
NONE_OF_OURS = Q(task="celery.backend_cleanup")
"""Celery's own row clears a result backend; beat removes it."""

_PARTS = ("interval", "crontab", "clocked", "solar")
_SECONDS = {
    IntervalSchedule.DAYS: 86_400,
    IntervalSchedule.HOURS: 3600,
    IntervalSchedule.MINUTES: 60,
    IntervalSchedule.SECONDS: 1,
}


# ---------------------------------------------------------------------------------------------- what a row says
def timetable_of(task: PeriodicTask) -> Timetable:
    """When the schedule is due. Raises `InvalidSchedule`."""
    return Timetable(_timing_of(task), task.start_time, task.expires)


def _timing_of(task: PeriodicTask) -> Timing:
    if task.interval is not None:
        seconds = seconds_of(task.interval)
        if seconds is None:
            message = "An interval is a whole number of seconds."
            raise InvalidSchedule(message)
        return Every(seconds)
    if task.crontab is not None:
        cron = task.crontab
        fields = (cron.minute, cron.hour, cron.day_of_month, cron.month_of_year, cron.day_of_week)
        return Cron.parse(*fields, zone=cron.timezone)
    if task.clocked is not None:
        return Once(task.clocked.clocked_time)
    message = "Schedules by the sun are not supported." if task.solar is not None else "It names no time."
    raise InvalidSchedule(message)


def seconds_of(interval: IntervalSchedule) -> int | None:
    """The length of an interval, where it is one in seconds."""
    size = _SECONDS.get(interval.period)
    return None if size is None else interval.every * size


def check_size(payload: str) -> None:
    """Refuse a payload (JSON text) that is too large for a schedule: lists show them. Raises `InvalidPayload`."""
    if (size := len(payload.encode())) > LARGEST_PAYLOAD:
        message = f"The payload has {size} bytes as JSON; a schedule's has {LARGEST_PAYLOAD} at most."
        raise InvalidPayload(message, errors=[{"loc": (), "type": "payload_too_large", "msg": message}])


def payload_of(task: PeriodicTask) -> dict[str, Any]:
    """The payload of its jobs. Raises `InvalidSchedule` where it is no JSON object."""
    try:
        payload = json.loads(task.kwargs or "{}")
    except ValueError:
        payload = None
    if not isinstance(payload, dict):
        message = "Its payload is no JSON object."
        raise InvalidSchedule(message)
    return payload


def fingerprint(task: PeriodicTask) -> str:
    """All that its instants depend on, as one text."""
    if not task.enabled:
        return OFF
    if task.interval is not None:
        when = f"every {task.interval.every} {task.interval.period}"
    elif task.crontab is not None:
        cron = task.crontab
        fields = (cron.minute, cron.hour, cron.day_of_month, cron.month_of_year, cron.day_of_week, cron.timezone)
        when = f"cron {' '.join(map(str, fields))}"
    else:
        when = f"at {task.clocked.clocked_time.isoformat()}" if task.clocked is not None else "never"
    return f"{when}; from {task.start_time}; to {task.expires}; once {task.one_off}"


def upcoming(task: PeriodicTask, after: dt.datetime, number: int = 5) -> list[dt.datetime]:
    """The next instants of an enabled schedule; none where what it says makes no sense."""
    if not task.enabled:
        return []
    try:
        return list(islice(timetable_of(task).after(after), 1 if task.one_off else number))
    except InvalidSchedule:
        return []


# ---------------------------------------------------------------------------------------------- rows
def now() -> dt.datetime:
    """The platform's clock."""
    with connection.cursor() as cursor:
        cursor.execute("select platform_now()")
        (found,) = cursor.fetchone()
    assert isinstance(found, dt.datetime)  # noqa: S101 - SELECT of one function
    return found


def of_project(project_id: UUID) -> QuerySet[Schedule]:
    """The schedules of a project."""
    parts = [f"task__{part}" for part in _PARTS]
    return Schedule.objects.filter(project_id=project_id).select_related("task", *parts)


def get(project_id: UUID, schedule_id: UUID) -> Schedule:
    """One schedule of a project. Raises `ScheduleNotFound`."""
    found = of_project(project_id).filter(id=schedule_id).first()
    if found is None:
        raise ScheduleNotFound(schedule_id=schedule_id)
    return found


def name_of(row: Schedule) -> str:
    """Its name within its project."""
    return str(row.task.name.removeprefix(prefix(row.project_id)))


def prefix(project_id: UUID) -> str:
    """What stands before the names of a project's schedules in the table that all projects share."""
    return f"{project_id}/"


def locked(schedule_id: UUID, *, patient: bool = True) -> Schedule | None:
    """A schedule, both its rows locked for the transaction; None where there is none.

    `patient`: wait for who holds it; else that is None as well.
    """
    options: dict[str, Any] = {"no_key": True, "skip_locked": not patient}
    tasks = PeriodicTask.objects.select_for_update(of=("self",), **options)
    task = tasks.select_related(*_PARTS).filter(jobs_schedule=schedule_id).first()
    if task is None:
        return None
    row = Schedule.objects.select_for_update(**options).filter(id=schedule_id).first()
    if row is not None:
        row.task = task
    return row


def of_task(task: PeriodicTask) -> Schedule:
    """The row of ours that belongs to one of django-celery-beat, made where there is none. It begins now."""
    with transaction.atomic():
        Schedule.objects.bulk_create([Schedule(task=task)], ignore_conflicts=True)
        found = locked(Schedule.objects.get(task=task).id)
        if found is None:
            raise ScheduleNotFound
        follow(found, now())
    return found


def reconcile(*, budget: float = 60.0) -> bool:
    """Follow what people have edited since, in all rows, for about `budget` seconds. Whether that was enough."""
    missing = PeriodicTask.objects.filter(jobs_schedule=None).exclude(NONE_OF_OURS)
    Schedule.objects.bulk_create([Schedule(task=task) for task in missing], ignore_conflicts=True)
    parts = [f"task__{part}" for part in _PARTS]
    rows, moment = list(Schedule.objects.select_related("task", *parts).order_by("id")), now()
    end = time.monotonic() + budget
    for seen in rows:
        if not _is_stale(seen, moment):
            continue
        if time.monotonic() >= end:
            return False
        guarded(partial(_bring_up, seen.id), otherwise=None)
    return True


T = TypeVar("T")


def guarded(work: Callable[[], T], *, otherwise: T) -> T:
    """Do something for one schedule. Whatever is wrong with it must stop neither the others nor the relay."""
    try:
        return work()
    except Exception as error:
        if isinstance(error, store.DATABASE_ERRORS) and trouble(error) is Trouble.UNREACHABLE:
            raise
        logger.exception("schedule failed", handler="schedules", action="fire", details=str(error)[:200])
        return otherwise


def _is_stale(row: Schedule, moment: dt.datetime) -> bool:
    if fingerprint(row.task) != row.fingerprint or row.fired_until > moment + MISSED:
        return True
    return row.task.enabled and registry.find(row.task.task) is None


def _bring_up(schedule_id: UUID) -> None:
    with transaction.atomic():
        row, moment = locked(schedule_id, patient=False), now()
        if row is None:
            return
        if row.task.enabled and registry.find(row.task.task) is None:
            stop(row, f"No handler is registered for the kind {row.task.task!r}.")
            return
        if row.fired_until > moment + MISSED:  # the clock ran ahead, and was put back
            row.fingerprint = ""
        follow(row, moment)


def follow(row: Schedule, moment: dt.datetime) -> bool:
    """Bring a locked row after its definition. True if that had changed: then it begins anew, and the past is past."""
    task, before = row.task, row.fingerprint
    row.fingerprint = fingerprint(task)
    if row.fingerprint == before:
        return False
    # An edit is noticed some seconds late; what was due in between is due. Not so for what was off before.
    edited = task.date_changed if before != OFF else moment
    row.fired_until = edited if moment - MISSED <= edited <= moment else moment
    row.waiting_at, row.held, row.next_at = None, "", None
    if task.enabled:
        row.resumed_at, row.paused_reason = moment, ""
        try:
            row.next_at = next(timetable_of(task).after(row.fired_until), None)
        except InvalidSchedule as error:
            stop(row, str(error))
            return True
    row.save()
    return True


def stop(row: Schedule, reason: str) -> None:
    """Pause a locked schedule that cannot go on, with an event and a warning."""
    _switch_off(row, reason)
    note(row, "schedule.paused", {"schedule": name_of(row), "reason": reason})
    logger.warning("schedule paused", handler="schedules", action="pause", details=f"{row.task.name}: {reason}")


def _switch_off(row: Schedule, reason: str) -> None:
    PeriodicTask.objects.filter(pk=row.task_id).update(enabled=False)
    row.task.enabled = False
    row.fingerprint, row.next_at, row.waiting_at, row.held = OFF, None, None, ""
    row.paused_reason = reason
    row.save()


def note(row: Schedule, event: str, data: Mapping[str, Any]) -> None:
    """Append an event whose subject is a locked schedule."""
    row.seq += 1
    row.save(update_fields=["seq"])
    log.append([NewEvent(row.project_id, event, row.id, row.seq, data)])


# ---------------------------------------------------------------------------------------------- by hand
def pause(*, schedule_id: UUID, project_id: UUID | None, actor: str, reason: str) -> Schedule:
    """Let a schedule rest. One that rests stays as it is. `project_id`: only one of this project; None: any.

    Raises:
        ScheduleNotFound: there is no such schedule.
    """
    with transaction.atomic():
        row = held_by_hand(schedule_id, project_id)
        if row.task.enabled:
            _switch_off(row, reason or "Paused by hand.")
            note(row, "schedule.paused", {"schedule": name_of(row), "reason": row.paused_reason})
            record(row, "schedule.pause", actor, reason)
    return row


def resume(*, schedule_id: UUID, project_id: UUID | None, actor: str, reason: str = "") -> Schedule:
    """Let a schedule fire again, from now on: what was due while it rested makes no job.

    Raises:
        ScheduleNotFound: there is no such schedule.
        UnknownKind, InvalidSchedule: it could not fire.
    """
    with transaction.atomic():
        row = held_by_hand(schedule_id, project_id)
        if not row.task.enabled:
            if registry.find(row.task.task) is None:
                raise UnknownKind
            timetable_of(row.task)
            PeriodicTask.objects.filter(pk=row.task_id).update(enabled=True)
            row.task.enabled, row.fingerprint = True, OFF
            follow(row, now())
            note(row, "schedule.resumed", {"schedule": name_of(row), "reason": reason})
            record(row, "schedule.resume", actor, reason)
    return row


def held_by_hand(schedule_id: UUID, project_id: UUID | None) -> Schedule:
    """A schedule, locked. `project_id`: only one of this project; None: any. Raises `ScheduleNotFound`."""
    row = locked(schedule_id)
    if row is None or (project_id is not None and row.project_id != project_id):
        raise ScheduleNotFound(schedule_id=schedule_id)
    return row


def record(row: Schedule, act: str, actor: str, reason: str = "", **data: Any) -> None:
    """Record what a person did to a schedule."""
    audit.record(
        action=act,
        actor=actor,
        subject_type="schedule",
        subject_id=str(row.task_id),
        project_id=row.project_id,
        reason=reason,
        data={"name": name_of(row), "kind": row.task.task, **data},
    )


# ---------------------------------------------------------------------------------------------- of a project's own
@dataclass(frozen=True, slots=True)
class NewSchedule:
    """A schedule to be created: one of `cron` (five fields), `every` (seconds) and `at` says when."""

    name: str
    kind: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    cron: str | None = None
    every: int | None = None
    at: dt.datetime | None = None
    timezone: str = "UTC"
    missed: CatchUp = CatchUp.ONE
    overlap: Overlap = Overlap.ALLOW
    while_paused: CatchUp = CatchUp.ONE
    pause_on_failures: int = 0


def create(*, project_id: UUID, new: NewSchedule, actor: str) -> Schedule:
    """Create a schedule of a project. Its kind is one that may be created over HTTP.

    Raises:
        UnknownKind, InvalidPayload, InvalidSchedule: what it says does not fit.
        InvalidOption: the project has too many.
        ScheduleExists: the project has one of this name.
    """
    kind = registry.get(new.kind)
    if not kind.public:
        raise UnknownKind(kind=new.kind)
    payload = services.payload_text(kind, new.payload)
    check_size(payload)
    name = prefix(project_id) + new.name
    with transaction.atomic():
        with connection.cursor() as cursor:  # one after another: the number and the name are looked at first
            cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 2))", [str(project_id)])
        if Schedule.objects.filter(project_id=project_id).count() >= MOST_OF_A_PROJECT:
            message = f"A project has {MOST_OF_A_PROJECT} schedules at most."
            raise InvalidOption(message, code="too_many_schedules")
        if PeriodicTask.objects.filter(name=name).exists():
            raise ScheduleExists(name=new.name)
        task = PeriodicTask.objects.create(name=name, task=kind.name, kwargs=payload, **_when(new, now()))
        policies = {"missed": new.missed, "overlap": new.overlap, "while_paused": new.while_paused}
        Schedule.objects.create(task=task, project_id=project_id, pause_on_failures=new.pause_on_failures, **policies)
        row = of_task(task)
        record(row, "schedule.create", actor)
    return get(project_id, row.id)


def _when(new: NewSchedule, moment: dt.datetime) -> dict[str, Any]:
    """The row that says when: of its own, so that nobody else's edit changes it. Raises `InvalidSchedule`."""
    if new.cron is not None:
        named, found = "crontab", _crontab(new.cron, new.timezone)
    elif new.every is not None:
        named, found = "interval", IntervalSchedule(every=new.every, period=IntervalSchedule.SECONDS)
    else:
        named, found = "clocked", ClockedSchedule(clocked_time=new.at)
    field_name = {"crontab": "/cron", "interval": "/every", "clocked": "/at"}[named]
    try:
        timetable = timetable_of(PeriodicTask(**{named: found}))
    except InvalidSchedule as error:
        raise InvalidSchedule(str(error), field=field_name) from None
    if next(timetable.after(moment), None) is None:
        message = "It would never be due."
        raise InvalidSchedule(message, field=field_name)
    found.save()
    return {named: found, "one_off": named == "clocked"}


def _crontab(text: str, zone: str) -> CrontabSchedule:
    if zone not in _zones():
        message = "There is no such time zone; a name is Europe/Berlin, for instance."
        raise InvalidSchedule(message, field="/timezone")
    fields = text.split()
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    if len(fields) != len(names) or any(len(part) > LONGEST_FIELD for part in fields):
        message = f"A crontab has five fields of {LONGEST_FIELD} characters at most: minute, hour, day, month, weekday."
        raise InvalidSchedule(message, field="/cron")
    return CrontabSchedule(**dict(zip(names, fields, strict=True)), timezone=ZoneInfo(zone))


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones() - {"Factory", "localtime"})


def delete(*, schedule_id: UUID, project_id: UUID, actor: str) -> None:
    """Delete a schedule of a project, and what says when. Jobs that it has made stay.

    Raises:
        ScheduleNotFound: there is no such schedule.
    """
    with transaction.atomic():
        row = held_by_hand(schedule_id, project_id)
        record(row, "schedule.delete", actor)
        task = row.task
        task.delete()
        for part in _PARTS:
            when = getattr(task, part)
            if when is not None and not PeriodicTask.objects.filter(**{part: when}).exists():
                when.delete()
