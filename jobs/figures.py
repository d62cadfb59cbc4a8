"""Numbers about the whole engine for the monitoring, of all projects together. None costs more when there is more data.

Counters come from the log, counted up to where it is settled each time that somebody asks: set-based, in slices, so
that it costs nothing while nobody does.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from events import log
from jobs.states import LIVE_SECONDS

MOST_COUNTED = 200_000
"""Due jobs are counted up to so many, shared between the shelves."""
SLICE = 20_000
"""Events counted by one statement."""
COUNTING_SECONDS = 0.4
"""What is left after this is counted the next time."""


@dataclass(frozen=True, slots=True)
class Depth:
    """How many jobs of a kind are due, and for how long the oldest one is (seconds)."""

    kind: str
    due: int
    age: float


_DEPTHS = f"""
with clock as materialized (
    select platform_now() as now
),
share as materialized (
    select greatest(100, {MOST_COUNTED} / greatest(1, count(*))) as most
    from jobs_shelf where low_due_at <= (select now from clock)
)
select s.kind, sum(found.number)::bigint,
       coalesce(max(extract(epoch from (select now from clock) - found.first)), 0)::float8
from jobs_shelf s
cross join lateral (
    select count(*) as number, min(due.due_at) as first
    from (
        select j.due_at
        from jobs_job j
        where j.shelf_id = s.id and j.status = 'queued' and j.gate = 0
          and j.due_at >= least(s.low_due_at, (select now from clock) - interval '1 second')
          and j.due_at <= (select now from clock)
        order by j.shelf_id, j.due_at, j.id
        limit (select most from share)
    ) due
) found
group by s.kind
order by s.kind
"""  # noqa: S608 - constants of this module


def depths() -> list[Depth]:
    """Due jobs by kind, from the shelves. A kind that ever had a job is listed, also with 0."""
    return [Depth(*row) for row in _rows(_DEPTHS)]


# ---------------------------------------------------------------------------------------------- counters

# The kind of a refused job is a client's text: it must not become a label. The row of type "" is the place in the log.
_COUNT = f"""
with mark as materialized (
    select total as position, last_id from jobs_tally where type = '' and kind = '' for update skip locked
),
slice as materialized (
    select e.position, e.id, e.type,
           case when e.type = 'job.refused' then '' else coalesce(e.data ->> 'kind', '') end as kind
    from mark
    cross join lateral (
        select * from events_event e
        where (e.position, e.id) > (mark.position, mark.last_id) and e.position < (select event_horizon())
        order by e.position, e.id
        limit {SLICE}
    ) e
),
counted as (
    insert into jobs_tally as t (type, kind, total, last_id)
    select type, kind, count(*), 0 from slice group by type, kind
    on conflict (type, kind) do update set total = t.total + excluded.total
),
moved as (
    update jobs_tally t
    set total = edge.position, last_id = edge.id
    from (select position, id from slice order by position desc, id desc limit 1) edge
    where t.type = '' and t.kind = ''
)
select count(*) from slice
"""  # noqa: S608 - constants of this module
_START = "insert into jobs_tally (type, kind, total, last_id) values ('', '', 0, 0) on conflict do nothing"


def count_events() -> bool:
    """Count the log on from where it was counted to. False when time ran out before the end.

    Where another process is at it, this one leaves it to that.
    """
    began = time.monotonic()
    while time.monotonic() - began < COUNTING_SECONDS:
        with transaction.atomic(), log.cursor() as cur:
            cur.execute(_START)
            row = cur.execute(_COUNT).fetchone()
        if row is None or row[0] < SLICE:
            return True
    return False


def event_totals() -> Mapping[tuple[str, str], int]:
    """Events by type and kind, as far as the log has been counted."""
    return {(row[0], row[1]): row[2] for row in _rows("select type, kind, total from jobs_tally where type <> ''")}


def refusals() -> Mapping[str, int]:
    """Refused creations by code."""
    return dict(_rows("select code, sum(total)::bigint from jobs_refusal group by code order by code"))


# ---------------------------------------------------------------------------------------------- processes


@dataclass(frozen=True, slots=True)
class Heard:
    """Who was heard of, and how long ago (seconds; None: never, or not any more)."""

    relay: float | None
    workers: int
    worker: float | None


# The relay has no row: it asks the database something at least four times a second, which its backend remembers.
_HEARD = f"""
select (select extract(epoch from clock_timestamp() - max(greatest(query_start, state_change)))::float8
        from pg_stat_activity where datname = current_database() and application_name = 'relay'),
       (select count(*) from jobs_worker
        where stopped_at is null and heartbeat_at > clock_timestamp() - interval '{LIVE_SECONDS} seconds'),
       (select extract(epoch from clock_timestamp() - max(heartbeat_at))::float8
        from jobs_worker where stopped_at is null)
"""  # noqa: S608 - constants of this module

_SLOTS = f"""
select coalesce(w.queue, d.queue), coalesce(w.number, 0), coalesce(d.number, 0)
from (
    select q.queue, count(*) as number
    from jobs_worker w cross join lateral unnest(w.queues) as q (queue)
    where w.stopped_at is null and w.heartbeat_at > clock_timestamp() - interval '{LIVE_SECONDS} seconds'
    group by q.queue
) w
full join (
    select queue, count(*) as number from jobs_doorbell where expires_at > clock_timestamp() group by queue
) d on d.queue = w.queue
order by 1
"""  # noqa: S608 - constants of this module


def heard() -> Heard:
    """When relay and workers were last heard of."""
    return Heard(*_rows(_HEARD)[0])


def slots() -> list[tuple[str, int, int]]:
    """Queue, live worker processes, doorbells in flight."""
    return [(row[0], row[1], row[2]) for row in _rows(_SLOTS)]


# ---------------------------------------------------------------------------------------------- the database

_OLDEST = """
select coalesce(max(extract(epoch from clock_timestamp() - xact_start)), 0)::float8
from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid()
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


def oldest_transaction() -> float:
    """Age of the oldest open transaction in seconds: it holds back the log, and vacuum."""
    return float(_rows(_OLDEST)[0][0])


def table_sizes() -> list[tuple[str, int, int]]:
    """Table, live rows and dead rows, as the statistics know them."""
    return [(row[0], row[1], row[2]) for row in _rows(_SIZES)]


def _rows(sql: str) -> list[Any]:
    with log.cursor() as cur:
        return cur.execute(sql, prepare=False).fetchall()
