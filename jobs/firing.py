"""Firing: the instants of schedules that are due become jobs. Beat asks at each tick, the relay once a minute.

Each schedule fires in a transaction of its own, which locks it, makes its jobs and moves its cursor. So any number of
processes may fire, each may die at any moment, and none must run: only time is lost. That a job was made for an
instant is a row of its own (`Firing`), so whatever else goes wrong, the second job of an instant is refused.
"""

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice, takewhile
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F, Q
from django_celery_beat.models import PeriodicTask

from jobs import registry, schedules, services, tuning
from jobs.errors import DuplicateJob, InvalidOption, JobsError, SubmitRefused
from jobs.models import Firing, Job, Pause, Schedule
from jobs.registry import Kind
from jobs.services import JobRequest, Submitted
from jobs.states import DEAD_LETTERS, ENDED, CatchUp, Overlap

MOST_AT_ONCE = 1000
"""Jobs of one schedule that are made at once, by the policy `all` or by a backfill."""
COUNTED = 10_000
"""So many instants are counted when they are skipped; this number stands for more."""
BACKFILL = dt.timedelta(days=366)
"""How far back a backfill reaches. Firings are kept longer (`engine.tidy`), so that none is made twice."""

LONGEST_WAIT, SHORTEST_WAIT = 5.0, 0.1
ALL_ROWS_EVERY = 300.0  # edits that went past Django's models
SLICE = 200
LARGEST_INSERT = 8 * 1024 * 1024  # characters of payloads that are stored by one statement

_LOOK = """
select (select last_update from django_celery_beat_periodictasks where ident = 1),
       (select extract(epoch from next_at - (select platform_now()))::float8
        from jobs_schedule where next_at is not null and held = '' order by next_at limit 1),
       exists (select 1 from jobs_schedule where held <> '' or waiting_at is not null)
"""
# What a pause holds comes back when none names it any more; what waits for a job, when that has ended.
_DUE = """
select s.id
from jobs_schedule s
where s.id <> all(%(but)s::uuid[])
  and case
      when s.held <> '' then (s.next_at <= (select platform_now()) or s.waiting_at is not null) and not exists (
          select 1
          from django_celery_beat_periodictask t
          join jobs_pause p on p.kind is null or p.kind = t.task
          left join unnest(%(kind)s::text[], %(queue)s::text[]) as known (kind, queue) on known.kind = t.task
          where t.id = s.task_id
            and (p.project_id is null or p.project_id = s.project_id)
            and (p.queue is null or p.queue = known.queue)
            and (p.until is null or p.until > (select platform_now())))
      else s.next_at <= (select platform_now())
        or s.waiting_at is not null and not exists (
          select 1
          from (select job_id from jobs_firing where schedule_id = s.id order by instant desc limit 1) f
          join jobs_job j on j.project_id = s.project_id and j.id = f.job_id
          where j.status <> all(%(ended)s))
      end
order by s.next_at, s.id
limit %(slice)s
"""


@dataclass(slots=True)
class Rounds:
    """The rounds of one process: it remembers what it has seen, so that a round in which nothing is due is cheap."""

    _edited: dt.datetime | None = None
    _all_rows_at: float = 0.0

    def step(self, *, budget: float = 60.0) -> float:
        """Follow edits, then fire what is due, for `budget` seconds at most.

        Returns the seconds until something is due, as far as is known and between 0.1 and 5; 0 if the time was up.
        """
        edited, soon, watched = _look()
        if edited != self._edited or time.monotonic() >= self._all_rows_at:
            if not schedules.guarded(lambda: schedules.reconcile(budget=budget), otherwise=True):
                return 0.0
            self._edited, self._all_rows_at = edited, time.monotonic() + ALL_ROWS_EVERY
            _, soon, watched = _look()
        if watched or (soon is not None and soon <= 0):
            if not fire_due(budget=budget).complete:
                return 0.0
            _, soon, _ = _look()
        return LONGEST_WAIT if soon is None else min(LONGEST_WAIT, max(SHORTEST_WAIT, soon))


@dataclass(slots=True)
class Fired:
    """What a round did: how many jobs it made, and whether it came to its end."""

    jobs: int = 0
    complete: bool = True


def fire_due(*, budget: float = 60.0) -> Fired:
    """Make the jobs of all instants that are due. What another process fires just now is left to it."""
    fired, end = Fired(), time.monotonic() + budget
    seen: list[UUID] = []
    while ids := _due(seen):
        tuning.refresh()
        for schedule_id in ids:
            if time.monotonic() >= end:
                fired.complete = False
                return fired
            fired.jobs += schedules.guarded(partial(fire, schedule_id), otherwise=0)
        seen += ids
    return fired


def _look() -> tuple[dt.datetime | None, float | None, bool]:
    with connection.cursor() as cursor:
        cursor.execute(_LOOK)
        edited, soon, watched = cursor.fetchone()
    return edited, soon, watched


def _due(but: Sequence[UUID]) -> list[UUID]:
    kinds = registry.kinds()
    known: dict[str, Any] = {
        "kind": [kind.name for kind in kinds],
        "queue": [kind.queue for kind in kinds],
        "ended": sorted(ENDED),
    }
    with connection.cursor() as cursor:
        cursor.execute(_DUE, known | {"but": list(but), "slice": SLICE})
        return [row[0] for row in cursor.fetchall()]


# ---------------------------------------------------------------------------------------------- one schedule
def fire(schedule_id: UUID) -> int:
    """Make the jobs of one schedule's due instants. Returns how many; 0 where another process is about it."""
    with transaction.atomic():
        row = schedules.locked(schedule_id, patient=False)
        moment = schedules.now()
        if row is None or schedules.follow(row, moment) or not _is_due(row, moment):
            return 0
        kind = registry.find(row.task.task)
        if kind is None:
            schedules.stop(row, f"No handler is registered for the kind {row.task.task!r}.")
            return 0
        if row.pause_on_failures and _fails(row):
            schedules.stop(row, f"Its last {row.pause_on_failures} jobs have failed or were rejected.")
            return 0
        try:
            with transaction.atomic():
                return _fire(row, kind, moment)
        except JobsError as error:
            row.refresh_from_db()
            schedules.stop(row, str(error))
            return 0


def _is_due(row: Schedule, moment: dt.datetime) -> bool:
    """Whether an instant has come, or one waits."""
    return row.waiting_at is not None or (row.next_at is not None and row.next_at <= moment)


def _fire(row: Schedule, kind: Kind[Any], moment: dt.datetime) -> int:
    timetable = schedules.timetable_of(row.task)
    paused = _while_paused(row, kind, moment)
    if paused is not None and paused != CatchUp.SKIP:
        row.held = paused
        row.save(update_fields=["held"])
        return 0
    found = list(islice(timetable.until(moment, after=row.fired_until), COUNTED))
    plan = Plan()
    if paused is not None:
        plan.skip(len(found), "paused")
    else:
        if row.held:
            plan.take([], found, CatchUp(row.held), "paused")
        else:
            in_time = list(takewhile(lambda at: moment - at <= schedules.MISSED, found))
            plan.take(in_time, found[len(in_time) :], CatchUp(row.missed), "missed")
        if row.task.one_off:
            plan.instants = plan.instants[-1:]
        plan.heed(row.waiting_at, Overlap(row.overlap), busy=_is_busy(row))
        row.waiting_at, row.held = plan.waiting, ""
    made = _make(row, plan, moment)
    row.fired_until = max(row.fired_until, moment)
    row.next_at = next(timetable.after(row.fired_until), None)
    row.save()
    for reason, number in plan.skipped.items():
        data = {"schedule": schedules.name_of(row), "number": number, "reason": reason}
        schedules.note(row, "schedule.skipped", data)
    if made:
        _count(row, made, moment)
    return made


@dataclass(slots=True)
class Plan:
    """Which instants make jobs now (the oldest first), which one waits, and how many are left out and why."""

    instants: list[dt.datetime] = field(default_factory=list)
    waiting: dt.datetime | None = None
    skipped: dict[str, int] = field(default_factory=dict)

    def skip(self, number: int, reason: str) -> None:
        """Leave some out."""
        if number:
            self.skipped[reason] = self.skipped.get(reason, 0) + number

    def take(self, in_time: Sequence[dt.datetime], late: Sequence[dt.datetime], policy: CatchUp, reason: str) -> None:
        """Choose among the instants that are due, the latest first: those in time, and of the others by the policy."""
        found = [*in_time, *late]
        if policy is CatchUp.ALL:
            chosen = found
        elif policy is CatchUp.ONE:
            chosen = list(in_time or late[:1])
        else:
            chosen = list(in_time)
        self.instants = chosen[:MOST_AT_ONCE][::-1]
        self.skip(len(found) - len(chosen), reason)
        self.skip(len(chosen) - len(self.instants), "too_many")

    def heed(self, waiting: dt.datetime | None, overlap: Overlap, *, busy: bool) -> None:
        """Mind the job before, which has not ended if `busy`; `waiting` is the instant that waits for it already."""
        asked = self.instants if waiting is None else [waiting, *self.instants]
        if overlap is Overlap.ALLOW:
            self.instants = asked
            return
        self.instants, behind = ([], asked) if busy else (asked[:1], asked[1:])
        if overlap is Overlap.QUEUE_ONE and behind:
            self.waiting, *behind = behind
        self.skip(len(behind), "overlap")


def _while_paused(row: Schedule, kind: Kind[Any], moment: dt.datetime) -> CatchUp | None:
    """What becomes of the instants while a pause holds the schedule's jobs; None: none does."""
    holding = Pause.objects.filter(
        Q(project_id=None) | Q(project_id=row.project_id),
        Q(kind=None) | Q(kind=kind.name),
        Q(queue=None) | Q(queue=kind.queue),
        Q(until=None) | Q(until__gt=moment),
    ).order_by(F("until").desc(nulls_first=True), "id")
    said = list(holding.values_list("schedules", flat=True)[:100])
    return CatchUp(next(filter(None, said), row.while_paused)) if said else None


def _is_busy(row: Schedule) -> bool:
    """Whether the schedule's last job has not ended; asked only where that matters."""
    if row.overlap == Overlap.ALLOW:
        return False
    last = Firing.objects.filter(schedule_id=row.id).order_by("-instant").values_list("job_id", flat=True).first()
    if last is None:
        return False
    return Job.objects.filter(project_id=row.project_id, id=last).exclude(status__in=ENDED).exists()


def _fails(row: Schedule) -> bool:
    """Whether its last jobs failed, as many as it bears. Those that have not ended do not count."""
    wanted = row.pause_on_failures
    firings = Firing.objects.filter(schedule_id=row.id, fired_at__gte=row.resumed_at).order_by("-instant")
    ids = list(firings.values_list("job_id", flat=True)[: wanted + SLICE])
    found = dict(Job.objects.filter(project_id=row.project_id, id__in=ids).values_list("id", "status"))
    ended = [found[job_id] for job_id in ids if found.get(job_id) in ENDED][:wanted]
    return len(ended) == wanted and all(status in DEAD_LETTERS for status in ended)


def _make(row: Schedule, plan: Plan, moment: dt.datetime) -> int:
    try:
        with transaction.atomic():
            made = make(row, plan.instants, moment)
    except SubmitRefused as refused:  # a gate has its reason, and its time may be over at the next instant
        plan.skip(len(plan.instants), refused.code)
        return 0
    plan.skip(made.duplicates, DuplicateJob.code)
    return made.jobs


@dataclass(slots=True)
class Made:
    """How many jobs were made, and of how many instants another job has the unique key, so that none was."""

    jobs: int = 0
    duplicates: int = 0


def make(row: Schedule, instants: Sequence[dt.datetime], moment: dt.datetime) -> Made:
    """Make the jobs of these instants of a locked schedule, except of those that have theirs.

    Raises:
        JobsError: its kind, its payload or a gate refuses.
    """
    known = set(Firing.objects.filter(schedule_id=row.id, instant__in=instants).values_list("instant", flat=True))
    new = [instant for instant in instants if instant not in known]
    made = Made()
    if not new:
        return made
    payload = schedules.payload_of(row.task)
    unique = registry.get(row.task.task).unique
    refuses = unique is not None and unique.otherwise == "reject"  # then each is asked by itself
    at_once = 1 if refuses else max(1, LARGEST_INSERT // (1 + len(row.task.kwargs or "")))
    for start in range(0, len(new), at_once):
        some = new[start : start + at_once]
        requests = [_request(row, payload, instant) for instant in some]
        try:
            jobs = services.submit_many(project_id=row.project_id, requests=requests)
        except DuplicateJob:
            made.duplicates += 1
            continue
        made.jobs += len(jobs)
        Firing.objects.bulk_create(
            Firing(schedule_id=row.id, instant=instant, project_id=row.project_id, job_id=job.id, fired_at=moment)
            for instant, job in zip(some, jobs, strict=True)
        )
    return made


def _request(row: Schedule, payload: Mapping[str, Any], instant: dt.datetime | None) -> JobRequest:
    metadata = {"schedule": schedules.name_of(row)}
    if instant is not None:
        metadata["instant"] = instant.isoformat()
    return JobRequest(kind=row.task.task, payload=payload, metadata=metadata)


def _count(row: Schedule, made: int, moment: dt.datetime) -> None:
    """What django-celery-beat keeps of its rows; one that is to fire once has done so."""
    changes = {"last_run_at": moment, "total_run_count": F("total_run_count") + made}
    PeriodicTask.objects.filter(pk=row.task_id).update(**changes)
    if row.task.one_off:
        PeriodicTask.objects.filter(pk=row.task_id).update(enabled=False)
        row.fingerprint, row.next_at, row.paused_reason = schedules.OFF, None, "It has fired once, as it was to."
        row.save()


# ---------------------------------------------------------------------------------------------- what was fired
@dataclass(frozen=True, slots=True)
class Last:
    """The latest instant of a schedule that has made a job, and how that job stands (None: it is gone)."""

    instant: dt.datetime
    fired_at: dt.datetime
    job_id: UUID
    status: str | None


_LAST = """
select s.id, f.instant, f.fired_at, f.job_id, j.status
from unnest(%s::uuid[]) as s (id)
cross join lateral (
    select * from jobs_firing where schedule_id = s.id order by instant desc limit 1
) f
left join jobs_job j on j.project_id = f.project_id and j.id = f.job_id
"""


def last_of(rows: Sequence[Schedule]) -> dict[UUID, Last]:
    """The latest firing of each of these schedules that has one."""
    with connection.cursor() as cursor:
        cursor.execute(_LAST, [[row.id for row in rows]])
        return {found[0]: Last(*found[1:]) for found in cursor.fetchall()}


# ---------------------------------------------------------------------------------------------- by hand
def run(*, schedule_id: UUID, project_id: UUID | None, actor: str, reason: str = "") -> Submitted:
    """Make one job of a schedule now, whether it is due or paused. Its instants are left as they are.

    Raises:
        ScheduleNotFound: there is no such schedule.
        JobsError: its kind, its payload or a gate refuses.
    """
    with transaction.atomic():
        row = schedules.held_by_hand(schedule_id, project_id)
        request = _request(row, schedules.payload_of(row.task), None)
        job = services.submit_many(project_id=row.project_id, requests=[request])[0]
        schedules.record(row, "schedule.run", actor, reason, job_id=str(job.id))
    return job


@dataclass(frozen=True, slots=True)
class Backfilled:
    """The instants between two moments, how many of them have a job already, and how many got one now."""

    instants: int
    existing: int
    made: int
    first: dt.datetime | None
    last: dt.datetime | None


def backfill(
    *,
    schedule_id: UUID,
    project_id: UUID | None,
    begin: dt.datetime,
    end: dt.datetime,
    actor: str,
    reason: str = "",
    dry_run: bool = False,
) -> Backfilled:
    """Make the jobs that the instants from `begin` to `end` do not have; with `dry_run` only say how many.

    Raises:
        ScheduleNotFound: there is no such schedule.
        InvalidOption: the time is ahead, too long ago, or has too many instants.
        JobsError: its times, its kind, its payload or a gate refuses.
    """
    with transaction.atomic():
        row = schedules.held_by_hand(schedule_id, project_id)
        moment = schedules.now()
        _check(begin, end, moment)
        timetable = schedules.timetable_of(row.task)
        found = list(islice(timetable.until(end, after=begin - dt.timedelta(microseconds=1)), MOST_AT_ONCE + 1))[::-1]
        if len(found) > MOST_AT_ONCE:
            message = f"That time has more than {MOST_AT_ONCE} instants: ask for a shorter one."
            raise InvalidOption(message, code="too_many_instants", field="/to")
        existing = Firing.objects.filter(schedule_id=row.id, instant__in=found).count()
        made = 0 if dry_run else make(row, found, moment).jobs
        if made:
            span = {"from": begin.isoformat(), "to": end.isoformat()}
            schedules.record(row, "schedule.backfill", actor, reason, made=made, **span)
    return Backfilled(len(found), existing, made, *((found[0], found[-1]) if found else (None, None)))


def _check(begin: dt.datetime, end: dt.datetime, moment: dt.datetime) -> None:
    if end > moment:
        message = "A backfill is about the past: its end is ahead."
        raise InvalidOption(message, field="/to")
    if begin > end:
        message = "A backfill begins before it ends."
        raise InvalidOption(message, field="/from")
    if begin < moment - BACKFILL:
        message = f"A backfill reaches back {BACKFILL.days} days at most."
        raise InvalidOption(message, field="/from")
