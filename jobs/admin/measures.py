"""Figures of a job that no column holds."""

import datetime as dt

from jobs import registry
from jobs.models import Job
from jobs.states import Status


def most_attempts(job: Job) -> int | None:
    """How many attempts the job has: its own number, else its kind's; None when neither is known."""
    kind = registry.find(job.kind)
    return job.max_attempts or (kind.retry.max_attempts if kind else None)


def seconds_of(job: Job) -> float | None:
    """How long the latest attempt took, or takes by now; None before the first and while the job waits."""
    if job.started_at is None:
        return None
    if job.status == Status.PROCESSING:
        return (dt.datetime.now(dt.UTC) - job.started_at).total_seconds()
    return (job.finished_at - job.started_at).total_seconds() if job.finished_at else None


def is_late(job: Job, seconds: float | None) -> bool:
    """Whether an attempt took longer than its kind says is normal."""
    kind = registry.find(job.kind)
    return bool(kind and kind.expect and seconds is not None and seconds > kind.expect)
