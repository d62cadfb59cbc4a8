"""How the platform stands now, for the front page: jobs by status, kind and project; workers and their slots.

Nothing here scans a table. Each number is counted along an index up to a bound (`MOST`, shared between the shelves, or
the projects, that have something); beyond it there is "at least so many". Counted, not added up from events: such a sum
would be wrong for ever after one mistake, and this one is right whoever writes. What runs is few; the rest stands in
the partial indexes of the ready, the rare and the lanes.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import Q

from jobs import registry, tuning
from jobs.models import RARE, Pause
from jobs.states import LIVE, LIVE_SECONDS, Status

MOST = 10_000
"""Jobs of one status are counted up to so many."""
MOST_OTHERS = 1_000
"""Jobs of the statuses that are only mentioned, and interventions of subjects before or after jobs."""
MOST_KEYS = 500
"""Keys of limits behind which jobs wait."""
LEAST_SHARE = 100
"""What each shelf, or project, is counted up to at least, however many there are."""
LATE_SECONDS = 60.0
"""A job of a kind without `expect` is late when it is due for longer than this."""
UNKNOWN_QUEUE = "(unknown)"
"""Stands for the queue of kinds that this process does not know."""


@dataclass(frozen=True, slots=True)
class Tally:
    """A number of jobs; `more`: there may be more, which were not counted."""

    number: int = 0
    more: bool = False

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.number + other.number, self.more or other.more)

    def __bool__(self) -> bool:
        return bool(self.number)

    def __str__(self) -> str:
        return f"{self.number:,}{'+' if self.more else ''}"


NONE = Tally()


@dataclass(slots=True)
class Standing:
    """How many jobs of something stand where. `queued` are all that wait: due, later, and behind a lane or a limit."""

    running: Tally = NONE
    queued: Tally = NONE
    due: Tally = NONE
    behind: Tally = NONE
    late: Tally = NONE
    failed: Tally = NONE
    blocked: Tally = NONE
    oldest: dt.timedelta = dt.timedelta()

    def add(self, other: "Standing") -> None:
        """Take another one in."""
        for name in ("running", "queued", "due", "behind", "late", "failed", "blocked"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.oldest = max(self.oldest, other.oldest)

    def raise_to(self, name: str, tally: Tally) -> None:
        """Count some more jobs in one of the places."""
        setattr(self, name, getattr(self, name) + tally)

    @property
    def trouble(self) -> int:
        """Jobs that somebody should look at."""
        return self.late.number + self.failed.number + self.blocked.number


@dataclass(slots=True)
class Overview:
    """Standing by kind and project; everything else is its sum."""

    parts: dict[tuple[str, UUID], Standing] = field(default_factory=dict)
    others: dict[str, Tally] = field(default_factory=dict)

    def at(self, kind: str, project: UUID) -> Standing:
        """The part of a kind and a project."""
        return self.parts.setdefault((kind, project), Standing())

    @property
    def total(self) -> Standing:
        """All together."""
        return self._by(lambda _kind, _project: "").get("", Standing())

    def by_kind(self) -> dict[str, Standing]:
        """By kind."""
        return self._by(lambda kind, _project: kind)

    def by_queue(self) -> dict[str, Standing]:
        """By the queue of the kind."""
        return self._by(lambda kind, _project: queue_of(kind))

    def by_project(self) -> dict[UUID, Standing]:
        """By project."""
        return self._by(lambda _kind, project: project)

    def _by(self, key: Any) -> dict[Any, Standing]:
        found: dict[Any, Standing] = {}
        for (kind, project), part in self.parts.items():
            found.setdefault(key(kind, project), Standing()).add(part)
        return found


def queue_of(kind: str) -> str:
    """The queue of a kind, as far as this process knows it."""
    known = registry.find(kind)
    return known.queue if known else UNKNOWN_QUEUE


def kinds_of(queue: str) -> list[str]:
    """The kinds of a queue, as far as this process knows them."""
    return [kind.name for kind in registry.kinds() if kind.queue == queue]


def lateness() -> tuple[list[str], list[float]]:
    """After how many seconds a due job is late: kinds, and their seconds. Others have `LATE_SECONDS`."""
    tuning.refresh()
    expected = [(kind.name, float(kind.expect)) for kind in registry.kinds() if kind.expect]
    return [name for name, _ in expected], [seconds for _, seconds in expected]


# ------------------------------------------------------------------------------------------------ statements
_PROJECTS = "select distinct project_id from jobs_shelf where %(project)s::uuid is null or project_id = %(project)s"

# Read from the beginning of each shelf, not from its mark: marks are hints that a relay keeps right, and without a
# relay this page must be right all the more.
_WAITING = """
with clock as materialized (select platform_now() as now),
shelf as materialized (
    select s.id, s.kind, s.project_id, coalesce(l.seconds, %(late)s) as late
    from jobs_shelf s
    left join unnest(%(kinds)s::text[], %(seconds)s::float8[]) as l (kind, seconds) on l.kind = s.kind
    where %(project)s::uuid is null or s.project_id = %(project)s
),
share as materialized (
    select greatest(%(least)s, %(most)s / greatest(1, count(*))) as most
    from jobs_shelf where low_due_at < '9999-01-01' and (%(project)s::uuid is null or project_id = %(project)s)
)
select s.kind, s.project_id, found.number, found.due, found.late,
       extract(epoch from clock.now - found.first)::float8, (select most from share)
from shelf s
cross join clock
cross join lateral (
    select count(*) as number, count(*) filter (where due_at <= clock.now) as due,
           count(*) filter (where due_at < clock.now - s.late * interval '1 second') as late, min(due_at) as first
    from (
        select j.due_at from jobs_job j
        where j.shelf_id = s.id and j.status = 'queued' and j.gate = 0
        order by j.shelf_id, j.due_at, j.id
        limit (select most + 1 from share)
    ) j
) found
where found.number > 0
"""

_BEHIND = f"""
with project as materialized ({_PROJECTS}),
share as materialized (select greatest(%(least)s, %(most)s / greatest(1, count(*))) as most from project)
select found.kind, p.project_id, count(*) filter (where found.status = 'queued' and found.gate <> 0),
       (sum(count(*)) over (partition by p.project_id))::bigint >= (select most from share)
from project p
cross join lateral (
    select j.kind, j.status, j.gate from jobs_job j
    where j.project_id = p.project_id and j.lane is not null
      and j.status in ({", ".join(f"'{status}'" for status in sorted(s.value for s in LIVE))})
    order by j.project_id, j.lane, j.lane_no
    limit (select most from share)
) found
group by found.kind, p.project_id
"""  # noqa: S608 - our own enumeration

# Behind a limit; who stands in a lane as well is counted there.
_HELD = """
with held as materialized (
    select id, project_id from jobs_limitkey
    where waiting and (%(project)s::uuid is null or project_id = %(project)s) order by id limit %(keys)s
),
share as materialized (
    select greatest(%(least)s, %(most)s / greatest(1, count(*))) as most, count(*) >= %(keys)s as more from held
)
select found.kind, h.project_id, count(*) filter (where found.lane is null),
       bool_or((select more from share)) or bool_or(found.place >= (select most from share))
from held h
cross join lateral (
    select j.kind, j.lane, row_number() over () as place from (
        select kind, lane from jobs_job
        where limit_id = h.id and limit_id is not null and status = 'queued' and gate > 0
        order by limit_id, gate
        limit (select most from share)
    ) j
) found
group by found.kind, h.project_id
"""

# Ordered by the column of the partial index, so that no plan walks the table for the few rows that workers own.
_RUNNING = """
select kind, project_id, count(*), (sum(count(*)) over ())::bigint >= %(most)s
from (
    select kind, project_id from jobs_job
    where status = 'processing' and claimed_by is not null and (%(project)s::uuid is null or project_id = %(project)s)
    order by claimed_by
    limit %(most)s
) found
group by kind, project_id
"""

_STANDING = f"""
with project as materialized ({_PROJECTS}),
share as materialized (select greatest(%(least)s, %(most)s / greatest(1, count(*))) as most from project)
select found.kind, p.project_id, count(*),
       (sum(count(*)) over (partition by p.project_id))::bigint >= (select most from share)
from project p
cross join lateral (
    select j.kind from jobs_job j
    where j.project_id = p.project_id and j.status = '{{status}}'
    order by j.id desc
    limit (select most from share)
) found
group by found.kind, p.project_id
"""  # noqa: S608 - our own text

_OTHERS = (Status.PARKED, Status.PENDING_APPROVAL, Status.CONFIRMING, Status.REJECTED, Status.CANCELLED)
_MENTIONED = f"""
with project as materialized ({_PROJECTS})
{
    " union all ".join(
        f'''
select '{status}', count(*) from (
    select 1 from project p cross join lateral (
        select 1 from jobs_job j where j.project_id = p.project_id and j.status = '{status}'
        order by j.id desc limit %(most)s + 1
    ) one
    limit %(most)s + 1
) found'''
        for status in _OTHERS
    )
}
"""  # noqa: S608 - our own enumeration


def now(project: UUID | None = None) -> Overview:
    """How things stand at this moment, of one project or of all. Six statements."""
    found = Overview()
    kinds, seconds = lateness()
    common = {"project": project, "least": LEAST_SHARE}
    params = {**common, "kinds": kinds, "seconds": seconds, "late": LATE_SECONDS, "most": MOST}
    for kind, owner, number, due, late, age, most in _rows(_WAITING, params):
        part, more = found.at(kind, owner), number > most
        part.raise_to("queued", Tally(min(number, most), more))
        part.raise_to("due", Tally(min(due, most), more and due > most))
        part.raise_to("late", Tally(min(late, most), more and late > most))
        part.oldest = max(part.oldest, dt.timedelta(seconds=max(0.0, age)))
    counted = (
        ("behind", _BEHIND),
        ("behind", _HELD),
        ("running", _RUNNING),
        ("failed", _STANDING.format(status=Status.FAILED.value)),
        ("blocked", _STANDING.format(status=Status.BLOCKED.value)),
    )
    for name, statement in counted:
        for kind, owner, number, more in _rows(statement, {**common, "most": MOST, "keys": MOST_KEYS}):
            if number:
                found.at(kind, owner).raise_to(name, Tally(number, more))
                if name == "behind":
                    found.at(kind, owner).raise_to("queued", Tally(number, more))
    return found


def mentioned(project: UUID | None = None) -> dict[str, Tally]:
    """Jobs of the other statuses that are no end in good order, `MOST_OTHERS` each at most."""
    rows = _rows(_MENTIONED, {"project": project, "most": MOST_OTHERS})
    return {status: Tally(min(number, MOST_OTHERS), number > MOST_OTHERS) for status, number in rows}


# ------------------------------------------------------------------------------------------------ who needs a person


@dataclass(frozen=True, slots=True)
class Trouble:
    """A job that needs a person."""

    id: UUID
    kind: str
    project_id: UUID
    status: str
    error: Any
    since: dt.datetime | None


_TROUBLES = f"""
with project as materialized ({_PROJECTS})
select id, kind, project_id, status, error, since
from (
    select found.* from project p
    cross join unnest(array['{Status.FAILED}', '{Status.BLOCKED}']) as wanted (status)
    cross join lateral (
        select j.id, j.kind, j.project_id, j.status, j.error, coalesce(j.finished_at, j.started_at) as since
        from jobs_job j
        where j.project_id = p.project_id and j.status = wanted.status
          and j.status in ({", ".join(f"'{status}'" for status in RARE)})
        order by j.id desc
        limit %(limit)s
    ) found
) newest
order by id desc
limit %(limit)s
"""  # noqa: S608 - our own enumeration


def paused(project: UUID | None, limit: int) -> list[Pause]:
    """The pauses that hold jobs now, of everybody or of one project; those of all projects hold its jobs too."""
    found = Pause.objects.extra(where=["until is null or until > (select platform_now())"])
    if project is not None:
        found = found.filter(Q(project_id=None) | Q(project_id=project))
    return list(found.order_by("id")[:limit])


def troubles(project: UUID | None, limit: int) -> list[Trouble]:
    """The newest jobs that failed for good or stand blocked."""
    rows = _rows(_TROUBLES, {"project": project, "limit": limit})
    return [
        Trouble(job, kind, owner, status, json.loads(error) if isinstance(error, str) else error, since)
        for job, kind, owner, status, error, since in rows
    ]


@dataclass(frozen=True, slots=True)
class Question:
    """An open intervention about something that is no job: of that its own page asks."""

    id: UUID
    subject_type: str
    subject_id: str
    project_id: UUID | None
    reason: str
    since: dt.datetime


# The unique index of what is open is in the order of subjects, so jobs are stepped over: there may be many of them.
_QUESTIONS = """
select id, subject_type, subject_id, project_id, reason, opened_at
from (
    (select * from jobs_intervention
     where resolved_at is null and subject_type < 'job' and (%(project)s::uuid is null or project_id = %(project)s)
     order by subject_type, subject_id limit %(most)s)
    union all
    (select * from jobs_intervention
     where resolved_at is null and subject_type > 'job' and (%(project)s::uuid is null or project_id = %(project)s)
     order by subject_type, subject_id limit %(most)s)
) open
order by opened_at desc, id desc
limit %(limit)s
"""


def questions(project: UUID | None, limit: int) -> list[Question]:
    """The newest open interventions that are about no job, among twice `MOST_OTHERS`."""
    return [Question(*row) for row in _rows(_QUESTIONS, {"project": project, "most": MOST_OTHERS, "limit": limit})]


# ------------------------------------------------------------------------------------------------ workers


@dataclass(frozen=True, slots=True)
class Slots:
    """Worker processes of a queue that are alive, how many of them are at work, and how many fell silent."""

    queue: str
    live: int
    busy: int
    stale: int


# A process that listens to two queues is a slot of both. The row of queue "" counts each process once.
_SLOTS = f"""
select coalesce(q.queue, ''), count(distinct w.id) filter (where w.live), count(distinct w.id) filter (where w.busy),
       count(distinct w.id) filter (where not w.live)
from (
    select id, queues, heartbeat_at > clock_timestamp() - interval '{LIVE_SECONDS} seconds' as live,
           exists (select 1 from jobs_job j where j.status = 'processing' and j.claimed_by = jobs_worker.id) as busy
    from jobs_worker where stopped_at is null
) w
cross join lateral unnest(w.queues) as q (queue)
group by grouping sets ((q.queue), ())
order by 1
"""  # noqa: S608 - a constant


def slots() -> tuple[Slots, list[Slots]]:
    """All worker processes together, and by queue."""
    rows = [Slots(*row) for row in _rows(_SLOTS, {})]
    total = next((row for row in rows if not row.queue), Slots("", 0, 0, 0))
    return total, [row for row in rows if row.queue]


def _rows(statement: str, params: Mapping[str, Any]) -> Sequence[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return list(cursor.fetchall())
