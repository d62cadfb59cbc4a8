"""Dead letters counted from the log: which job died of what, and how many stand so now, by cause and hour.

A counter of the log (events/consumers.py) takes each batch of events in by one statement, in the transaction that moves
its cursor. What it counts can be counted anew from the jobs themselves (`reconciliation/invariants.py`), which is also
how dead letters that were there before it come in.
"""

from typing import Any
from uuid import UUID

from events import log
from events.consumers import Counted

BATCH = 20_000
"""Events looked at by one statement."""
PAUSE = 2.0
"""Seconds that the counter rests when it has seen all."""
SLICE = 2000
"""Jobs that `take_in` looks at by one statement."""

UNKNOWN = "unknown"
"""The code of a dead letter that has no error: a person declined it."""

_HOUR = "date_trunc('hour', d.at, 'UTC')"

# What the newest event of each job in the batch says, and each death in it. `before`: what was known of these jobs.
_APPLY = f"""
before as materialized (
    select k.* from reconciliation_deadletter k join newest n on n.job_id = k.job_id
),
kept as (
    insert into reconciliation_deadletter as k (
        job_id, project_id, died_at, seq, deaths, dead, kind, stage, status, code, fingerprint
    )
    select n.job_id, n.project_id, n.at, n.seq, n.deaths, true, n.kind, coalesce(j.stage, 'process'), n.status, n.code,
           n.fingerprint
    from newest n
    left join lateral (
        select stage from jobs_job j where j.project_id = n.project_id and j.id = n.job_id limit 1
    ) j on true
    where n.dead
    on conflict (job_id) do update
    set died_at = excluded.died_at, seq = excluded.seq, deaths = k.deaths + excluded.deaths, dead = true,
        kind = excluded.kind, stage = excluded.stage, status = excluded.status, code = excluded.code,
        fingerprint = excluded.fingerprint
    where excluded.seq > k.seq
),
gone as (
    update reconciliation_deadletter k
    set dead = false, seq = n.seq, deaths = k.deaths + n.deaths
    from newest n
    where not n.dead and k.job_id = n.job_id and n.seq > k.seq
),
change as (
    select project_id, fingerprint, kind, sum(dead) as dead, sum(total) as total, min(at) as first_at,
           max(at) as last_at
    from (
        select b.project_id, b.fingerprint, b.kind, -1 as dead, 0 as total, b.died_at as at
        from before b join newest n on n.job_id = b.job_id
        where b.dead and n.seq > b.seq
        union all
        select n.project_id, n.fingerprint, n.kind, 1, 0, n.at
        from newest n left join before b on b.job_id = n.job_id
        where n.dead and n.seq > coalesce(b.seq, 0)
        union all
        select d.project_id, d.fingerprint, d.kind, 0, 1, d.at from death d
    ) c
    group by 1, 2, 3
),
sample as (
    select distinct on (project_id, fingerprint, kind) project_id, fingerprint, kind, code, message, job_id
    from death
    order by project_id, fingerprint, kind, at desc
),
caused as (
    insert into reconciliation_cause as c (
        project_id, fingerprint, kind, code, message, sample_id, first_at, last_at, total, dead
    )
    select x.project_id, x.fingerprint, x.kind, s.code, s.message, s.job_id, x.first_at, x.last_at, x.total, x.dead
    from change x join sample s using (project_id, fingerprint, kind)
    order by 1, 2, 3
    on conflict (project_id, fingerprint, kind) do update
    set code = excluded.code, message = excluded.message, sample_id = excluded.sample_id,
        first_at = least(c.first_at, excluded.first_at), last_at = greatest(c.last_at, excluded.last_at),
        total = c.total + excluded.total, dead = c.dead + excluded.dead
),
left_alone as (
    update reconciliation_cause c
    set dead = c.dead + x.dead
    from change x
    where (c.project_id, c.fingerprint, c.kind) = (x.project_id, x.fingerprint, x.kind)
      and x.dead <> 0
      and not exists (
          select 1 from sample s
          where (s.project_id, s.fingerprint, s.kind) = (x.project_id, x.fingerprint, x.kind)
      )
),
hours as (
    insert into reconciliation_causehour as h (project_id, fingerprint, kind, at, number)
    select d.project_id, d.fingerprint, d.kind, {_HOUR}, count(*)
    from death d
    group by 1, 2, 3, 4
    order by 1, 2, 3, 4
    on conflict (project_id, fingerprint, kind, at) do update set number = h.number + excluded.number
)"""  # noqa: S608 - constants of this module

_ERROR = """coalesce(nullif({error} ->> 'code', ''), 'unknown') as code,
           left(coalesce({error} ->> 'message', ''), 1000) as message,
           coalesce(nullif({error} ->> 'fingerprint', ''),
                    left(encode(sha256(convert_to(coalesce({error} ->> 'code', 'unknown'), 'UTF8')), 'hex'), 16)
           ) as fingerprint"""

_COUNT = f"""
with slice as materialized (
    select position, id, occurred_at, project_id, type, subject_id, seq, data
    from events_event
    where (position, id) > (%(position)s, %(last_id)s) and position < (select event_horizon())
    order by position, id
    limit %(batch)s
),
told as materialized (
    select s.subject_id as job_id, s.project_id, s.occurred_at as at, s.seq, s.type <> 'job.redriven' as dead,
           case s.type when 'job.rejected' then 'rejected' else 'failed' end as status,
           coalesce(s.data ->> 'kind', '?') as kind, {_ERROR.format(error="(s.data -> 'error')")}
    from slice s
    where s.type in ('job.failed', 'job.rejected', 'job.redriven')
),
death as materialized (select * from told where dead),
newest as materialized (
    select distinct on (t.job_id) t.*,
           (select count(*) from death d where d.job_id = t.job_id)::int as deaths
    from told t
    order by t.job_id, t.seq desc
),
{_APPLY}
select position, id, (select count(*) from slice) from slice order by position desc, id desc limit 1
"""  # noqa: S608 - constants of this module

# The same from the rows of jobs, for those that the log was not asked about. The cursor of the counter must be past
# their events: what it has still to read, it counts itself.
_TAKE_IN = f"""
with looked as materialized (
    select j.id, j.project_id, j.kind, j.status, j.seq, j.error, j.position, coalesce(j.finished_at, j.created_at) as at
    from jobs_job j
    where j.id = any(%(ids)s::uuid[]) and j.project_id = any(%(projects)s::uuid[])
      and j.status in ('failed', 'rejected')
      and j.position < (select position from events_consumer where name = 'dead_letters')
),
death as materialized (
    select l.id as job_id, l.project_id, l.at, l.seq, true as dead, l.status, l.kind, {_ERROR.format(error="l.error")}
    from looked l
    where not exists (select 1 from reconciliation_deadletter k where k.job_id = l.id and k.seq >= l.seq)
),
newest as materialized (select d.*, 1 as deaths from death d),
{_APPLY}
select count(*) from newest
"""  # noqa: S608 - constants of this module


def count(position: int, last_id: int, batch: int) -> Counted | None:
    """Take in the events behind a place in the log; None when there are none. The caller keeps the place."""
    params: dict[str, Any] = {"position": position, "last_id": last_id, "batch": batch}
    with log.cursor() as cur:
        row = cur.execute(_COUNT, params, prepare=False).fetchone()
    return Counted(*row) if row else None


def take_in(jobs: list[tuple[UUID, UUID]]) -> int:
    """Count jobs (project, id) that stand dead and are not known so. In the caller's transaction; returns how many."""
    params = {"ids": [job_id for _, job_id in jobs], "projects": list({project for project, _ in jobs})}
    with log.cursor() as cur:
        cur.execute("select 1 from events_consumer where name = 'dead_letters' for update")  # who counts, counts alone
        row = cur.execute(_TAKE_IN, params, prepare=False).fetchone()
    return int(row[0]) if row else 0


_LET_GO = """
with gone as (
    update reconciliation_deadletter k
    set dead = false
    from unnest(%(ids)s::uuid[]) as x (job_id)
    where k.job_id = x.job_id and k.dead
      and not exists (
          select 1 from jobs_job j
          where j.project_id = k.project_id and j.id = k.job_id and j.status in ('failed', 'rejected'))
      and coalesce((select j.position from jobs_job j where j.project_id = k.project_id and j.id = k.job_id), 0)
          < (select position from events_consumer where name = 'dead_letters')
    returning k.project_id, k.fingerprint, k.kind
),
counted as (
    update reconciliation_cause c
    set dead = c.dead - g.number
    from (select project_id, fingerprint, kind, count(*) as number from gone group by 1, 2, 3) g
    where (c.project_id, c.fingerprint, c.kind) = (g.project_id, g.fingerprint, g.kind)
)
select count(*) from gone
"""


def let_go(ids: list[UUID]) -> int:
    """Count no more what is known as dead and does not stand so. In the caller's transaction; returns how many."""
    with log.cursor() as cur:
        cur.execute("select 1 from events_consumer where name = 'dead_letters' for update")
        row = cur.execute(_LET_GO, {"ids": ids}, prepare=False).fetchone()
    return int(row[0]) if row else 0
