"""Rows of the engine. Hot statements live in `jobs/sql/` and `jobs/store.py`; the ORM serves everything else.

`Job.status` is written by `jobs/store.py` alone.
"""

from jobs.models.counts import Refusal, Rollup, Tally, Timing
from jobs.models.jobs import RARE, Attempt, BulkAct, Intervention, InterventionComment, Job, JobBatch
from jobs.models.keys import StoredResponse, UniqueKey
from jobs.models.order import Awaited, Lane, LimitKey, LimitRule, Pause, Share, Shelf
from jobs.models.processes import Canary, Doorbell, Pulse, Worker
from jobs.models.schedules import Firing, Schedule
from jobs.models.settings import KindSettings

__all__ = [
    "RARE",
    "Attempt",
    "Awaited",
    "BulkAct",
    "Canary",
    "Doorbell",
    "Firing",
    "Intervention",
    "InterventionComment",
    "Job",
    "JobBatch",
    "KindSettings",
    "Lane",
    "LimitKey",
    "LimitRule",
    "Pause",
    "Pulse",
    "Refusal",
    "Rollup",
    "Schedule",
    "Share",
    "Shelf",
    "StoredResponse",
    "Tally",
    "Timing",
    "UniqueKey",
    "Worker",
]
