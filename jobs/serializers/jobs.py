"""Jobs and their attempts as JSON."""

import datetime as dt
from functools import cache
from typing import Any, Literal
from uuid import UUID

import orjson
from django.conf import settings
from django.urls import reverse
from pydantic import BaseModel

from jobs import extensions, registry
from jobs.policy import Retry
from jobs.registry import Kind
from jobs.selectors import AttemptRow, JobRow
from jobs.serializers.asks import CreateJob
from jobs.services import Submitted
from jobs.states import ENDED, Stage, Status
from jobs.store import NewJob


class ErrorShown(BaseModel):
    """What went wrong. Errors that differ only in ids and numbers have the same `fingerprint`."""

    code: str
    message: str
    retryable: bool
    fingerprint: str


class ProgressShown(BaseModel):
    """How far the handler says that it is."""

    done: float
    total: float
    note: str | None = None


class ConfirmationShown(BaseModel):
    """Whether the result goes on chain, how, and where it can be seen once the job is done.

    `status`: `pending` until the job is done, then `confirming`, and at last `confirmed`; `none` if it came to nothing.
    """

    mode: Literal["single", "batch", "anchor"]
    status: Literal["pending", "confirming", "confirmed", "none"]
    url: str


class AwaitedShown(BaseModel):
    """The event that a parked job waits for, and how long."""

    type: str
    subject: str
    until: dt.datetime


class JobLinks(BaseModel):
    """Addresses of a job."""

    self: str
    events: str
    attempts: str
    explain: str
    stream: str
    cancel: str
    resume: str
    retry: str


class JobShown(BaseModel):
    """A job."""

    id: UUID
    kind: str
    status: Status
    stage: str
    attempt: int
    max_attempts: int
    payload: dict[str, Any]
    output: Any
    quality: float | None
    error: ErrorShown | None
    progress: ProgressShown | None
    steps: dict[str, Any]
    lane: str | None
    batch_id: UUID | None
    priority: int
    metadata: dict[str, Any]
    due_at: dt.datetime
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    cancel_requested: bool
    awaiting: AwaitedShown | None
    confirmation: ConfirmationShown | None
    links: JobLinks


class ItemError(BaseModel):
    """Why one job of a batch was refused: as a problem's `code`, `detail` and `errors`."""

    code: str
    message: str
    errors: list[dict[str, str]]


class BatchItem(BaseModel):
    """What became of one job of a batch: its `id`, or the `error`."""

    id: UUID | None = None
    error: ItemError | None = None


class BatchShown(BaseModel):
    """What became of the jobs of a batch, in the order in which they were sent."""

    batch_id: UUID
    jobs: list[BatchItem]


class AttemptShown(BaseModel):
    """A finished attempt. `number` counts all claims of the job, `attempt` those that its budget is charged for."""

    number: int
    attempt: int
    stage: str
    outcome: str
    started_at: dt.datetime
    ended_at: dt.datetime
    duration_ms: float
    worker: str | None
    error: ErrorShown | None
    log: list[dict[str, Any]]
    metrics: dict[str, float]


# ---------------------------------------------------------------------------------------------- showing

_MOST_ATTEMPTS = Retry().max_attempts


@cache
def _root() -> str:
    return reverse("jobs:jobs")


def address(job_id: UUID) -> str:
    """The path of a job."""
    return f"{_root()}/{job_id}"


def _links(job_id: UUID) -> dict[str, str]:
    root = address(job_id)
    return {
        "self": root,
        "events": f"{root}/events",
        "attempts": f"{root}/attempts",
        "explain": f"{root}/explain",
        "stream": f"{settings.LIVE_URL}{root}/stream",
        "cancel": f"{root}/cancel",
        "resume": f"{root}/resume",
        "retry": f"{root}/retry",
    }


def _fragment(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)


def most_attempts(kind: Kind[Any] | None, of_job: int | None) -> int:
    """How many attempts a job has, given its own limit if it has one."""
    if kind is None:
        return of_job or _MOST_ATTEMPTS
    return 1 if kind.retry.one_shot else of_job or kind.retry.max_attempts


def show_new(row: NewJob, ask: CreateJob, submitted: Submitted) -> dict[str, Any]:
    """A `JobShown` of a job that was just created, without reading it back."""
    shown: dict[str, Any] = {
        "id": row.id,
        "kind": row.kind,
        "status": Status.QUEUED,
        "stage": Stage.PROCESS,
        "attempt": 0,
        "max_attempts": most_attempts(registry.find(row.kind), ask.max_attempts),
        "payload": orjson.Fragment(row.payload),
        "output": None,
        "quality": None,
        "error": None,
        "progress": None,
        "steps": {},
        "lane": row.lane,
        "batch_id": None,
        "priority": row.priority,
        "metadata": {} if row.metadata is None else orjson.Fragment(row.metadata),
        "due_at": submitted.due_at,
        "created_at": submitted.created_at,
        "started_at": None,
        "finished_at": None,
        "cancel_requested": False,
        "awaiting": None,
        "confirmation": _confirmation(row.id, ask.confirm or _of_kind(row.kind), Status.QUEUED),
        "links": _links(row.id),
    }
    return _with_sections(shown) if len(extensions.job_sections) else shown


def show_job(row: JobRow) -> dict[str, Any]:
    """A `JobShown`."""
    shown: dict[str, Any] = {
        "id": row.id,
        "kind": row.kind,
        "status": row.status,
        "stage": row.stage,
        "attempt": row.attempt,
        "max_attempts": most_attempts(registry.find(row.kind), row.max_attempts),
        "payload": orjson.Fragment(row.payload),
        "output": _fragment(row.output),
        "quality": row.quality,
        "error": _fragment(row.error),
        "progress": _fragment(row.progress),
        "steps": _fragment(row.steps) or {},
        "lane": row.lane,
        "batch_id": row.batch_id,
        "priority": row.priority,
        "metadata": _fragment(row.metadata) or {},
        "due_at": row.due_at,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "cancel_requested": row.cancel_requested,
        "awaiting": None if row.event is None else {**orjson.loads(row.event), "until": row.due_at},
        "confirmation": _confirmation(row.id, row.confirm, row.status),
        "links": _links(row.id),
    }
    return _with_sections(shown) if len(extensions.job_sections) else shown


def _of_kind(name: str) -> str | None:
    kind = registry.find(name)
    return kind.confirm if kind is not None and kind.confirm in {"single", "batch", "anchor"} else None


def _confirmation(job_id: UUID, mode: str | None, status: str) -> dict[str, Any] | None:
    if mode is None:
        return None
    stands = {Status.CONFIRMING: "confirming", Status.CONFIRMED: "confirmed"}.get(Status(status))
    return {
        "mode": mode,
        "status": stands or ("none" if status in ENDED else "pending"),
        "url": f"/api/v1/confirmations/{job_id}",
    }


def _with_sections(shown: dict[str, Any]) -> dict[str, Any]:
    for name, section in extensions.job_sections:
        shown[name] = section(shown)
    return shown


def show_attempt(row: AttemptRow) -> dict[str, Any]:
    """An `AttemptShown`."""
    return {
        "number": row.number,
        "attempt": row.attempt,
        "stage": row.stage,
        "outcome": row.outcome,
        "started_at": row.started_at,
        "ended_at": row.ended_at,
        "duration_ms": round((row.ended_at - row.started_at) / dt.timedelta(milliseconds=1), 3),
        "worker": row.worker,
        "error": _fragment(row.error),
        "log": _fragment(row.log) or [],
        "metrics": _fragment(row.metrics) or {},
    }
