"""Numbers about the whole engine for the monitoring, of all projects together. None costs more when there is more data.

Counts of what may be many stop at a bound. What happened is counted in `jobs/tallies.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from events import log
from jobs.states import LIVE_SECONDS

MOST_COUNTED = 20_000
"""Due jobs are counted up to so many, shared between the shelves."""
MOST_SHELVES = 2_000
"""Shelves that are looked at: those whose mark is lowest, which are those with the oldest jobs."""
MOST_OPEN = 2_000
"""Open interventions are counted up to so many."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs of a kind are due, and for how long the oldest one is (seconds)."""

    kind: str
    due: int
    age: float


# Shelves that are paused wait for a person, who knows it.
_DEPTHS = f"""
with clock as materialized (
    select platform_now() as now
),
shelf as materialized (
    select s.id, s.kind, s.low_due_at
    from jobs_shelf s
    where s.low_due_at <= (select now from clock) and not s.paused
    order by s.low_due_at
    limit {MOST_SHELVES}
),
share as materialized (
    select {MOST_COUNTED} / greatest(1, count(*)) as most from shelf
),
found as (
    select s.kind, sum(due.number)::bigint as number, min(due.first) as first
    from shelf s
    cross join lateral (
        select count(*) as number, min(one.due_at) as first
        from (
            select j.due_at
            from jobs_job j
            where j.shelf_id = s.id and j.status = 'queued' and j.gate = 0
              and j.due_at >= least(s.low_due_at, (select now from clock) - interval '1 second')
              and j.due_at <= (select now from clock)
            order by j.shelf_id, j.due_at, j.id
            limit (select most from share)
        ) one
    ) due
    group by s.kind
)
select kind.kind, coalesce(found.number, 0),
       coalesce(extract(epoch from (select now from clock) - found.first), 0)::float8
from (select distinct kind from jobs_shelf) kind
left join found on found.kind = kind.kind
order by kind.kind
"""  # noqa: S608 - constants of this module


def depths() -> list[Depth]:
    """Due jobs by kind, from the shelves. A kind that ever had a job is listed, also with 0."""
    return [Depth(*row) for row in _rows(_DEPTHS)]


def refusals() -> Mapping[str, int]:
    """Refused creations by code."""
    return dict(_rows("select code, sum(total)::bigint from jobs_refusal group by code order by code"))


@dataclass(frozen=True, slots=True)
class Undecided:
    """What waits for a person, counted up to a bound: interventions, and lanes whose first job stands blocked."""

    interventions: int
    lanes: int


# LIMIT makes each job be fetched by its key.
_UNDECIDED = f"""
with open as materialized (
    select project_id, case when subject_type = 'job' then subject_id::uuid end as job_id
    from jobs_intervention
    where resolved_at is null
    limit {MOST_OPEN}
)
select (select count(*) from open),
       (select count(distinct (j.project_id, j.lane))
        from open o
        cross join lateral (
            select project_id, lane
            from jobs_job
            where project_id = o.project_id and id = o.job_id and status = 'blocked' and lane is not null
            limit 1
        ) j)
"""  # noqa: S608 - constants of this module


def undecided() -> Undecided:
    """What waits for a person."""
    return Undecided(*_rows(_UNDECIDED)[0])


# ---------------------------------------------------------------------------------------------- processes


@dataclass(frozen=True, slots=True)
class Pulse:
    """What runs in rounds: seconds since the last one and of the slowest one lately, how far its clock is ahead."""

    role: str
    host: str
    pid: int
    age: float
    slowest: float
    skew: float


@dataclass(frozen=True, slots=True)
class Slots:
    """A queue: live worker processes, and doorbells in flight.

    `busy`: how many of them a worker has answered; `unanswered`: for how many seconds the oldest of the others waits.
    """

    queue: str
    live: int
    ringing: int
    busy: int
    unanswered: float


@dataclass(frozen=True, slots=True)
class LiveWorker:
    """A worker process that is alive: for how many seconds it has made no progress, how far its clock is ahead."""

    id: int
    host: str
    pid: int
    quiet: float
    skew: float


@dataclass(frozen=True, slots=True)
class Canary:
    """The canary of a queue that live workers serve: how long the last one took, and since when none came through."""

    queue: str
    seconds: float | None
    age: float


# One that stopped in order is missed no more, but the relay, without which nothing runs.
_PULSES = """
select role, host, pid, extract(epoch from clock_timestamp() - rounded_at)::float8, slowest, skew
from jobs_pulse
where stopped_at is null or role = 'relay'
order by role
"""
_LIVE = f"w.stopped_at is null and w.heartbeat_at > clock_timestamp() - interval '{LIVE_SECONDS} seconds'"
_WORKERS = f"""
select w.id, w.host, w.pid, coalesce(extract(epoch from w.heartbeat_at - w.progress_at), 0)::float8, coalesce(w.skew, 0)
from jobs_worker w
where {_LIVE}
order by w.id
"""  # noqa: S608 - constants of this module
_SLOTS = f"""
select coalesce(w.queue, d.queue), coalesce(w.number, 0), coalesce(d.number, 0), coalesce(d.busy, 0),
       coalesce(d.unanswered, 0)
from (
    select q.queue, count(*) as number
    from jobs_worker w cross join lateral unnest(w.queues) as q (queue)
    where {_LIVE}
    group by q.queue
) w
full join (
    select queue, count(*) as number, count(answered_by) as busy,
           max(extract(epoch from clock_timestamp() - rung_at)) filter (where answered_by is null)::float8 as unanswered
    from jobs_doorbell
    where expires_at > clock_timestamp()
    group by queue
) d on d.queue = w.queue
order by 1
"""  # noqa: S608 - constants of this module
_CANARIES = f"""
select c.queue, c.seconds, extract(epoch from clock_timestamp() - c.passed_at)::float8
from jobs_canary c
where exists (select 1 from jobs_worker w where c.queue = any (w.queues) and {_LIVE})
  and not exists (
      select 1 from jobs_job j join jobs_shelf s on s.id = j.shelf_id
      where j.project_id = '00000000-0000-0000-0000-000000000000' and j.id = c.job_id and s.paused)
order by c.queue
"""  # noqa: S608 - constants of this module


def pulses() -> dict[str, Pulse]:
    """When relay and beat made their last round, by role. Who was never seen is not there."""
    return {row[0]: Pulse(*row) for row in _rows(_PULSES)}


def workers() -> list[LiveWorker]:
    """The worker processes that are alive."""
    return [LiveWorker(*row) for row in _rows(_WORKERS)]


def slots() -> list[Slots]:
    """The queues that live workers serve or doorbells were rung for."""
    return [Slots(*row) for row in _rows(_SLOTS)]


def canaries() -> list[Canary]:
    """The canaries of queues that live workers serve and nobody has paused."""
    return [Canary(*row) for row in _rows(_CANARIES)]


# ---------------------------------------------------------------------------------------------- the database


@dataclass(frozen=True, slots=True)
class Transactions:
    """Ages in seconds of open transactions: the oldest, and the oldest that has written (it holds back the log).

    `snapshot`: the oldest that holds back vacuum; `holder`: the application that has it.
    """

    oldest: float
    writer: float
    snapshot: float
    holder: str


_TRANSACTIONS = """
with open as materialized (
    select extract(epoch from clock_timestamp() - xact_start)::float8 as age, backend_xid is not null as writes,
           backend_xid is not null or backend_xmin is not null as holds, application_name as name
    from pg_stat_activity
    where backend_type = 'client backend' and pid <> pg_backend_pid() and xact_start is not null
    union all
    select extract(epoch from clock_timestamp() - prepared)::float8, true, true, 'prepared transaction'
    from pg_prepared_xacts
)
select coalesce(max(age), 0), coalesce(max(age) filter (where writes), 0), coalesce(max(age) filter (where holds), 0),
       coalesce((select name from open where holds order by age desc limit 1), '')
from open
"""
_SIZES = """
select case when relname like 'events\\_event\\_%' then 'events_event' else relname end, sum(n_live_tup)::bigint,
       sum(n_dead_tup)::bigint
from pg_stat_user_tables
where schemaname = current_schema()
  and (relname like 'jobs\\_%' or relname like 'events\\_%' or relname = 'api_idempotency')
group by 1
order by 1
"""


def transactions() -> Transactions:
    """Who holds what back."""
    return Transactions(*_rows(_TRANSACTIONS)[0])


def table_sizes() -> list[tuple[str, int, int]]:
    """Table, live rows and dead rows, as the statistics know them."""
    return [(row[0], row[1], row[2]) for row in _rows(_SIZES)]


def clock() -> float:
    """The database's clock, in seconds since 1970."""
    return float(_rows("select extract(epoch from clock_timestamp())::float8")[0][0])


def _rows(sql: str) -> list[Any]:
    with log.cursor() as cur:
        return cur.execute(sql.encode(), prepare=False).fetchall()
