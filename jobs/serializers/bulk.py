"""Acts on many jobs, and batches, as JSON."""

import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

from django.urls import reverse
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints

from jobplatform.api.query import Moment
from jobs.batches import Standing
from jobs.models import BulkAct, JobBatch
from jobs.serializers.asks import Ask, KindName
from jobs.states import ENDED, Status

MOST_IDS = 1000
Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class BulkFilter(Ask):
    """Which jobs; all that is named must hold. At least one of them is wanted."""

    kind: KindName | None = None
    status: Status | None = None
    stage: Text | None = None
    lane: Text | None = None
    error_code: Text | None = None
    batch_id: UUID | None = None
    created_after: Moment | None = None
    created_before: Moment | None = None
    metadata: Annotated[dict[str, str], Field(max_length=5)] = Field(default_factory=dict)
    ids: Annotated[list[UUID], Field(max_length=MOST_IDS)] = Field(default_factory=list)

    def stored(self) -> dict[str, Any]:
        """What is named, as JSON."""
        return {name: value for name, value in self.model_dump(mode="json").items() if value}


class BeginBulkAct(Ask):
    """What is done to which jobs, and why. `dry_run`: only count them."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "verb": "retry",
                "filter": {"status": "failed", "kind": "report.send"},
                "reason": "The provider is up again.",
            }
        }
    )

    verb: Literal["cancel", "retry", "set_priority"]
    filter: BulkFilter
    priority: Annotated[StrictInt, Field(ge=-100, le=100)] | None = None
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    dry_run: bool = False


class BulkCounted(BaseModel):
    """How many jobs an act would look at; at least so many, if `more`."""

    matched: int
    more: bool


class BulkLinks(BaseModel):
    """Addresses of an act."""

    self: str
    abort: str


class BulkActShown(BaseModel):
    """An act on many jobs. `matched` of them were looked at so far; `skipped` could not be done."""

    id: UUID
    verb: str
    filter: dict[str, Any]
    priority: int | None
    status: Literal["running", "done", "aborted"]
    matched: int
    done: int
    skipped: int
    actor: str
    reason: str
    created_at: dt.datetime
    finished_at: dt.datetime | None
    links: BulkLinks


class AbortBulkAct(Ask):
    """Why it is stopped."""

    reason: Annotated[str, StringConstraints(max_length=500)] = ""


def show_bulk_act(act: BulkAct) -> dict[str, Any]:
    """A `BulkActShown`."""
    own = f"{reverse('jobs:bulk')}/{act.id}"
    return {
        "id": act.id,
        "verb": act.verb,
        "filter": act.filter,
        "priority": act.priority,
        "status": act.status,
        "matched": act.matched,
        "done": act.done,
        "skipped": act.skipped,
        "actor": act.actor,
        "reason": act.reason,
        "created_at": act.created_at,
        "finished_at": act.finished_at,
        "links": {"self": own, "abort": f"{own}/abort"},
    }


class ActOnBatch(Ask):
    """Why all jobs of a batch are cancelled or retried."""

    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class BatchLinks(BaseModel):
    """Addresses of a batch."""

    self: str
    jobs: str
    cancel: str
    retry: str


class BatchStanding(BaseModel):
    """A batch: how many of its jobs have which status, and the job that follows.

    `status`: running; ended; stalled: all have ended, not all well, and the job that follows wants that.
    """

    id: UUID
    name: str
    status: Literal["running", "ended", "stalled"]
    total: int
    ended: int
    counts: dict[str, int]
    follow: dict[str, Any] | None
    follow_when: Literal["ended", "processed"]
    follow_id: UUID | None
    follow_error: str
    created_at: dt.datetime
    ended_at: dt.datetime | None
    links: BatchLinks


class BatchRow(BaseModel):
    """A batch in a list; its counts are at its own address."""

    id: UUID
    name: str
    status: Literal["running", "ended", "stalled"]
    total: int
    follow_id: UUID | None
    created_at: dt.datetime
    ended_at: dt.datetime | None
    links: BatchLinks


def show_batch_row(batch: JobBatch) -> dict[str, Any]:
    """A `BatchRow`."""
    own = f"{reverse('jobs:batches')}/{batch.id}"
    jobs = f"{reverse('jobs:jobs')}?batch_id={batch.id}"
    status = "stalled" if batch.stalled_at else "ended" if batch.ended_at else "running"
    return {
        "id": batch.id,
        "name": batch.name,
        "status": status,
        "total": batch.total,
        "follow_id": batch.follow_id,
        "created_at": batch.created_at,
        "ended_at": batch.ended_at,
        "links": {"self": own, "jobs": jobs, "cancel": f"{own}/cancel", "retry": f"{own}/retry"},
    }


def show_batch(batch: JobBatch, standing: Standing) -> dict[str, Any]:
    """A `BatchStanding`."""
    return show_batch_row(batch) | {
        "ended": sum(number for status, number in standing.counts.items() if status in ENDED),
        "counts": dict(standing.counts),
        "follow": batch.follow and {"kind": batch.follow["kind"], "payload": batch.follow["payload"]},
        "follow_when": batch.follow_when,
        "follow_error": batch.follow_error,
    }
