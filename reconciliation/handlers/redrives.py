"""The kinds of reconciliation: one that plans a redrive of what may be retried, and one that does what a plan says."""

import time
from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from jobs import Batch, Done, Park, Reject, Retry, Run, exponential, handler
from jobs.states import PLATFORM
from reconciliation.models import Redrive
from reconciliation.services import driving, plans
from reconciliation.services.plans import Plan

TURN = 5.0
"""Seconds for which a redrive keeps its worker; then others have a turn."""


class Drive(BaseModel):
    """Which redrive."""

    redrive_id: UUID


@handler(
    plans.DRIVE,
    payload=Drive,
    retry=Retry(max_attempts=50, backoff=exponential(1, cap=60)),
    timeout=600,
    batch=Batch(1),
    public=False,
    confirm="never",
    example={"redrive_id": UUID(int=0)},
    lane="redrive_id",
)
def drive(job: Run[Drive]) -> Done | Park | Reject:
    """Do what a redrive says, step by step; whoever goes on with it begins where the last one ended."""
    ends = time.monotonic() + TURN
    while time.monotonic() < ends and not job.cancelled:
        try:
            wait = driving.step(job.payload.redrive_id)
        except Redrive.DoesNotExist:
            return Reject("no_such_redrive")
        if wait is None:
            break
        if wait:
            return Park(until=wait)
    row = Redrive.objects.get(id=job.payload.redrive_id)
    if not plans.is_driven(row) or job.cancelled:
        return Done({"status": row.status})
    job.progress(row.next_number - 1, row.frozen, row.status)
    return Park(until=0.1)


Code = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class Reconcile(BaseModel):
    """What may be retried, and how carefully. `most_deaths`: a job that has died more often is left to a person."""

    errors_allowed_to_retry: list[Code] = Field(min_length=1, max_length=100)
    kind: str | None = None
    stage: str | None = None
    most_deaths: int = Field(3, ge=1)
    pace: float | None = Field(None, gt=0)
    canary: int = Field(20, ge=0)
    stop_above: float = Field(50, ge=0, le=100)


@handler(
    "job.reconcile",
    payload=Reconcile,
    retry=Retry(max_attempts=5, backoff=exponential(5, cap=300)),
    expect=1,
    batch=Batch(1),
    public=False,
    confirm="never",
    example={"errors_allowed_to_retry": ["timeout"]},
)
def reconcile(job: Run[Reconcile]) -> Done:
    """Plan a redrive of the dead letters with these errors, of all projects or of its own (job-reconciliation)."""
    told = job.payload.model_dump(exclude_none=True)
    plan = Plan(
        filter={
            name: told[name] for name in ("errors_allowed_to_retry", "kind", "stage", "most_deaths") if name in told
        },
        pace=job.payload.pace,
        canary=job.payload.canary,
        stop_above=job.payload.stop_above,
        spares_one_shots=True,
    )
    project = None if job.project_id == PLATFORM else job.project_id

    def begin() -> None:
        plans.begin(
            project_id=project, plan=plan, actor="system", reason="reconciliation by the clock", redrive_id=job.id
        )

    return Done(within=begin)  # the redrive has the id of this job
