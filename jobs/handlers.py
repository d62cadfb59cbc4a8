"""The engine's own kinds: its housekeeping is jobs like any other."""

import datetime as dt

from django.db import connection
from pydantic import BaseModel, Field

from events import log
from jobs import Batch, Done, Retry, Run, exponential, handler


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


class Tidy(BaseModel):
    """Nothing to say."""


_TIDY = {
    "stored_responses": "delete from api_idempotency where expires_at < (select platform_now())",
    "unique_keys": (
        "delete from jobs_uniquekey k where k.until < (select platform_now()) or (k.until is null and not exists ("
        " select 1 from jobs_job j where j.project_id = k.project_id and j.id = k.job_id"
        " and j.status not in ('processed', 'confirmed', 'failed', 'rejected', 'cancelled')))"
    ),
    "workers": "delete from jobs_worker where stopped_at < clock_timestamp() - interval '7 days'",
}


@handler("engine.tidy", payload=Tidy, batch=Batch(1), public=False, confirm="never", example={})
def tidy(_job: Run[Tidy]) -> Done:
    """Remove what has expired: stored responses, unique keys, workers that are long gone."""
    removed = {}
    with connection.cursor() as cur:
        for name, statement in _TIDY.items():
            cur.execute(statement)
            removed[name] = cur.rowcount
    return Done(removed)
