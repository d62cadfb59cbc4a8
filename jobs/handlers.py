"""The engine's own kinds: its housekeeping is jobs like any other."""

import datetime as dt
from typing import Any
from uuid import UUID

from django.db import connection
from pydantic import BaseModel, Field

from events import heads, log
from jobs import Batch, Cancel, Done, Reject, Retry, Run, bulk, exponential, handler, rollups, tallies
from jobs.models import BulkAct
from jobs.states import ENDED, PLATFORM


class RotateLog(BaseModel):
    """Days of the log to keep; a partition that a consumer has not read to its end stays."""

    keep_days: int = Field(90, ge=1)


@handler(
    "log.rotate",
    payload=RotateLog,
    retry=Retry(max_attempts=5, backoff=exponential(30)),
    batch=Batch(1),
    public=False,
    confirm="never",
    example={"keep_days": 90},
)
def rotate_log(job: Run[RotateLog]) -> Done:
    """Make the coming day partitions of the log and drop those older than `keep_days`."""
    made = log.ensure_partitions()
    before = dt.datetime.now(dt.UTC).date() - dt.timedelta(days=job.payload.keep_days)
    return Done({"made": made, "dropped": log.drop_partitions(before)})


class KeepHeads(BaseModel):
    """Nothing to say."""


@handler(
    "audit.keep_heads",
    payload=KeepHeads,
    retry=Retry(max_attempts=10, backoff=exponential(10, cap=600)),
    batch=Batch(1),
    public=False,
    confirm="never",
    example={},
)
def keep_heads(_job: Run[KeepHeads]) -> Done:
    """Store where the chains of the audit record end, once for each hour, outside the database."""
    key, chains = heads.store()
    return Done({"key": key, "chains": chains})


COUNTED_SLICES = 4000  # a minute or two; what is left is counted the next time


class Tidy(BaseModel):
    """Nothing to say."""


class DoInBulk(BaseModel):
    """Which act."""

    act_id: UUID


@handler(
    bulk.KIND,
    payload=DoInBulk,
    retry=Retry(max_attempts=20, backoff=exponential(1, cap=60)),
    timeout=3600,
    batch=Batch(1),
    public=False,
    confirm="never",
    example={"act_id": UUID(int=0)},
)
def act_in_bulk(job: Run[DoInBulk]) -> Done | Cancel | Reject:
    """Do an act on many jobs, slice by slice; whoever goes on with it begins where the last one ended."""
    while True:
        try:
            act = bulk.step(job.payload.act_id)
        except BulkAct.DoesNotExist:
            return Reject("no_such_act")
        if act.status != bulk.RUNNING:
            return Done({"status": act.status, "matched": act.matched, "done": act.done, "skipped": act.skipped})
        if job.cancelled:
            bulk.abort(project_id=act.project_id, act_id=act.id, actor="platform", reason="its job was cancelled")
            return Cancel("its job was cancelled")
        job.progress(act.matched, act.matched, f"{act.done} done, {act.skipped} skipped")


@handler("engine.count", payload=Tidy, batch=Batch(1), public=False, confirm="never", example={})
def count(_job: Run[Tidy]) -> Done:
    """Count the log for the metrics, so that a scrape finds little left to do."""
    return Done({"complete": tallies.count(most_slices=COUNTED_SLICES)})


# Slices, each a transaction of its own: a long one would hold back every reader of the log.
SLICE = 5000
_TIDY = {
    "stored_responses": (
        "delete from api_idempotency where ctid = any (array(select ctid from api_idempotency"
        " where expires_at <= (select platform_now()) limit %(slice)s))"
    ),
    "bulk_acts": (
        "delete from jobs_bulkact where id = any (array(select id from jobs_bulkact"
        " where finished_at < clock_timestamp() - interval '90 days' limit %(slice)s))"
    ),
    "batches": (
        "delete from jobs_jobbatch where id = any (array(select id from jobs_jobbatch"
        " where ended_at < (select platform_now()) - interval '90 days' limit %(slice)s))"
    ),
    "rollups": rollups.TIDY,
    "pauses": (
        "delete from jobs_pause where id = any (array(select id from jobs_pause"
        " where until < (select platform_now()) - interval '7 days' limit %(slice)s))"
    ),
    "firings": (  # longer than a backfill reaches back
        "delete from jobs_firing where (schedule_id, instant) in (select schedule_id, instant from jobs_firing"
        " where instant < (select platform_now()) - interval '400 days' order by instant limit %(slice)s)"
    ),
    "limit_keys": (  # a job whose key has no row makes it anew
        "delete from jobs_limitkey where id = any (array(select id from jobs_limitkey"
        " where in_use = 0 and not waiting and ramp is null and touched_at < clock_timestamp() - interval '7 days'"
        " and coalesce(greatest(closed_until, next_at) < (select platform_now()), true) limit %(slice)s"
        " for update skip locked))"
    ),
    # The platform's own jobs that ended well: many a minute, and of no interest. What failed stays.
    "own_jobs": (
        "with old as materialized (select id from jobs_job"
        " where project_id = %(platform)s and status in ('processed', 'cancelled')"
        " and finished_at < (select platform_now()) - interval '3 days' order by id limit %(slice)s),"
        " gone as (delete from jobs_attempt a using old where a.job_id = old.id)"
        " delete from jobs_job j using old where j.project_id = %(platform)s and j.id = old.id"
    ),
    "workers": (
        "delete from jobs_worker where id = any (array(select id from jobs_worker"
        " where stopped_at < clock_timestamp() - interval '7 days' limit %(slice)s))"
    ),
}
# The unique keys are walked in their own order, so that the next slice begins where this one ended.
_KEYS = """
with slice as materialized (
    select project_id, kind, key, job_id, until
    from jobs_uniquekey
    where (project_id, kind, key) > (%(project_id)s, %(kind)s, %(key)s)
    order by project_id, kind, key
    limit %(slice)s
),
free as (
    delete from jobs_uniquekey k
    using slice s
    where (k.project_id, k.kind, k.key, k.job_id) = (s.project_id, s.kind, s.key, s.job_id)
      and (k.until < (select platform_now())
           or (k.until is null and not exists (
               select 1 from jobs_job j
               where j.project_id = k.project_id and j.id = k.job_id and j.status <> all(%(ended)s))))
    returning 1
)
select project_id, kind, key, (select count(*) from free)
from slice
order by project_id desc, kind desc, key desc
limit 1
"""

# A lane in which nothing waits is as good as none: who comes next counts from one. One that somebody enters meanwhile
# has another last number by then, and stays.
_LANES = """
with slice as materialized (
    select project_id, lane, last_no
    from jobs_lane
    where (project_id, lane) > (%(project_id)s, %(lane)s)
    order by project_id, lane
    limit %(slice)s
),
free as (
    delete from jobs_lane l
    using slice s
    where (l.project_id, l.lane, l.last_no) = (s.project_id, s.lane, s.last_no)
      and not exists (
          select 1 from jobs_job j
          where j.project_id = l.project_id and j.lane = l.lane
            and j.status in ('queued', 'processing', 'parked', 'pending_approval', 'confirming', 'blocked'))
    returning 1
)
select project_id, lane, (select count(*) from free)
from slice
order by project_id desc, lane desc
limit 1
"""


@handler("engine.tidy", payload=Tidy, batch=Batch(1), public=False, confirm="never", example={})
def tidy(_job: Run[Tidy]) -> Done:
    """Remove what has expired: stored responses, keys, empty lanes, dead workers, rollups, own jobs that are old."""
    removed = dict.fromkeys(_TIDY, 0)
    with connection.cursor() as cur:
        for name, statement in _TIDY.items():
            while True:
                cur.execute(statement, {"slice": SLICE, "platform": PLATFORM})
                removed[name] += cur.rowcount
                if cur.rowcount < SLICE:
                    break
        nobody = UUID(int=0)
        removed["unique_keys"] = _walk(cur, _KEYS, {"project_id": nobody, "kind": "", "key": ""})
        removed["lanes"] = _walk(cur, _LANES, {"project_id": nobody, "lane": ""})
    return Done(removed)


def _walk(cur: Any, statement: str, place: dict[str, Any]) -> int:
    """Run a statement slice by slice. It returns the place where its slice ended, and how many rows it removed."""
    removed = 0
    while True:
        cur.execute(statement, place | {"slice": SLICE, "ended": sorted(ENDED)})
        row = cur.fetchone()
        if row is None:
            return removed
        place = dict(zip(place, row, strict=False))
        removed += row[-1]
