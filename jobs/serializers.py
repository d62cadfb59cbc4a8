"""Jobs and kinds as JSON: what a request may hold, what an answer shows, and which problem an error becomes."""

import datetime as dt
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal
from uuid import UUID

import orjson
from django.urls import reverse
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StringConstraints, field_validator
from pydantic import ValidationError as Invalid

from jobplatform.api.problems import FieldError, Problem, answer_with
from jobplatform.api.query import Moment
from jobplatform.api.validation import pointer_to
from jobs import extensions, registry
from jobs.errors import InvalidOption, InvalidPayload, JobNotFound, JobsError, SubmitRefused, UnknownKind, WrongStatus
from jobs.policy import Retry
from jobs.registry import Kind
from jobs.selectors import AttemptRow, JobRow, Standing
from jobs.services import JobRequest, Submitted
from jobs.states import Stage, Status
from jobs.store import NewJob

MOST_IN_A_BATCH = 1000
LARGEST_METADATA = 16 * 1024

KindName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Number = StrictInt | StrictFloat
Reason = Annotated[str, StringConstraints(max_length=500)]


class Ask(BaseModel):
    """A request's body: unknown fields are refused, so that a misspelt one is not silently left out."""

    model_config = ConfigDict(extra="forbid")


class CreateJob(Ask):
    """What a job is made of. `payload` must fit the kind: see `GET /api/v1/kinds/{name}`."""

    kind: KindName
    payload: dict[str, Any] = {}
    lane: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    priority: Annotated[StrictInt, Field(ge=-100, le=100)] | None = None
    due_at: Moment | None = None
    confirm: Literal["single", "batch", "anchor"] | None = None
    max_attempts: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    retry_delay: Annotated[Number, Field(ge=0, le=86_400 * 30)] | None = None
    timeout: Annotated[Number, Field(gt=0, le=86_400)] | None = None
    metadata: dict[str, Any] = {}

    @field_validator("metadata")
    @classmethod
    def _not_too_much(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        if metadata and len(orjson.dumps(metadata)) > LARGEST_METADATA:
            message = f"Metadata may have {LARGEST_METADATA} bytes as JSON"
            raise ValueError(message)
        return metadata

    def request(self) -> JobRequest:
        """The same, as the engine takes it."""
        return JobRequest(
            self.kind,
            self.payload,
            self.priority,
            self.due_at,
            self.max_attempts,
            self.retry_delay,
            self.timeout,
            self.lane,
            self.confirm,
            self.metadata,
        )


class CreateJobs(Ask):
    """Up to 1,000 jobs. Each is looked at by itself: one that does not fit does not keep the others from being created."""

    jobs: Annotated[list[CreateJob], Field(min_length=1, max_length=MOST_IN_A_BATCH)]


class Envelope(Ask):
    """The outside of `CreateJobs`; the jobs in it are looked at one by one."""

    jobs: Annotated[list[Any], Field(min_length=1, max_length=MOST_IN_A_BATCH)]


class CancelJob(Ask):
    """Why a job is stopped."""

    reason: Reason = ""


class RetryJob(Ask):
    """Why a job is queued once more, and perhaps another payload for it."""

    payload: dict[str, Any] | None = None
    reason: Reason = ""


# ---------------------------------------------------------------------------------------------- answers


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
    """How the result stands on the chain."""

    mode: str
    status: str
    network: str | None = None
    contract: str | None = None
    tx_hash: str | None = None
    block_number: int | None = None


class JobLinks(BaseModel):
    """Addresses of a job."""

    self: str
    events: str
    attempts: str
    explain: str
    cancel: str
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
    priority: int
    metadata: dict[str, Any]
    due_at: dt.datetime
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
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
    """A finished attempt. `number` counts all claims of the job, `attempt` only those that its budget is charged for."""

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


class ExplainShown(BaseModel):
    """Why a job stands where it stands: a stable `code`, a sentence, and what it was read from."""

    status: Status
    code: str
    detail: str
    facts: dict[str, Any]


class RetryShown(BaseModel):
    """The retry policy of a kind: seconds before retry number n are `first * factor ** (n - 1)`, at most `cap`."""

    max_attempts: int
    first: float
    factor: float
    cap: float


class KindShown(BaseModel):
    """A kind of job: what its payload must be, and its policies."""

    name: str
    title: str
    description: str
    payload_schema: dict[str, Any]
    example: dict[str, Any] | None
    retry: RetryShown
    timeout: float
    expect: float | None
    confirm: str
    queue: str
    priority: int
    batch: int
    unique_by: list[str] | None
    is_async: StrictBool
    links: dict[str, str]


# ---------------------------------------------------------------------------------------------- showing jobs

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
        "cancel": f"{root}/cancel",
        "retry": f"{root}/retry",
    }


def _fragment(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)


def _most_attempts(kind: Kind[Any] | None, of_job: int | None) -> int:
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
        "max_attempts": _most_attempts(registry.find(row.kind), ask.max_attempts),
        "payload": orjson.Fragment(row.payload),
        "output": None,
        "quality": None,
        "error": None,
        "progress": None,
        "steps": {},
        "lane": ask.lane,
        "priority": row.priority,
        "metadata": {} if row.metadata is None else orjson.Fragment(row.metadata),
        "due_at": submitted.due_at,
        "created_at": submitted.created_at,
        "started_at": None,
        "finished_at": None,
        "confirmation": None,
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
        "max_attempts": _most_attempts(registry.find(row.kind), row.max_attempts),
        "payload": orjson.Fragment(row.payload),
        "output": _fragment(row.output),
        "quality": row.quality,
        "error": _fragment(row.error),
        "progress": _fragment(row.progress),
        "steps": _fragment(row.steps) or {},
        "lane": row.lane,
        "priority": row.priority,
        "metadata": _fragment(row.metadata) or {},
        "due_at": row.due_at,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "confirmation": None,
        "links": _links(row.id),
    }
    return _with_sections(shown) if len(extensions.job_sections) else shown


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


# ---------------------------------------------------------------------------------------------- showing kinds


def show_kind(kind: Kind[Any]) -> dict[str, Any]:
    """A `KindShown`."""
    backoff = kind.retry.backoff
    return {
        "name": kind.name,
        "title": kind.title,
        "description": kind.description,
        "payload_schema": schema_of(kind),
        "example": example_of(kind),
        "retry": {
            "max_attempts": _most_attempts(kind, None),
            "first": backoff.first,
            "factor": backoff.factor,
            "cap": backoff.cap,
        },
        "timeout": kind.timeout,
        "expect": kind.expect,
        "confirm": kind.confirm,
        "queue": kind.queue,
        "priority": kind.priority,
        "batch": kind.batch.max,
        "unique_by": None if kind.unique is None else list(kind.unique.by),
        "is_async": kind.is_async,
        "links": {"self": reverse("jobs:kind", args=[kind.name])},
    }


def schema_of(kind: Kind[Any]) -> dict[str, Any]:
    """The JSON schema of a kind's payload."""
    return kind.payload.model_json_schema()


def example_of(kind: Kind[Any]) -> Mapping[str, Any] | None:
    """A payload that fits the kind: its author's, or one made from its schema; None if that does not fit."""
    if kind.example is not None:
        return kind.example
    schema = schema_of(kind)
    made = _sample(schema, schema.get("$defs", {}))
    try:
        kind.payload.model_validate(made)
    except Invalid:
        return None
    return made if isinstance(made, dict) else None


_SAMPLES: Mapping[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "null": None}
_FORMATS = {
    "uuid": "0198c0de-0000-7000-8000-000000000000",
    "date-time": "2026-11-22T06:00:00Z",
    "date": "2026-11-22",
    "time": "06:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
}


def _sample(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 8) -> Any:
    """Something that a JSON schema probably allows."""
    if "$ref" in schema and depth:
        return _sample(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions, depth - 1)
    for key in ("example", "default", "const"):
        if key in schema:
            return schema[key]
    if schema.get("examples") or schema.get("enum"):
        return (schema.get("examples") or schema["enum"])[0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key) and depth:
            return _sample(schema[key][0], definitions, depth - 1)
    if schema.get("type") == "object" or "properties" in schema:
        wanted = schema.get("required", ())
        return {name: _sample(schema["properties"][name], definitions, depth - 1) for name in wanted if depth}
    if schema.get("type") == "string":
        return _FORMATS.get(schema.get("format", "")) or "text".ljust(schema.get("minLength", 0), ".")
    if schema.get("type") in {"integer", "number"}:
        return schema.get("minimum", _SAMPLES[schema["type"]])
    return _SAMPLES.get(schema.get("type", ""), None)


# ---------------------------------------------------------------------------------------------- explaining


def explain(standing: Standing) -> dict[str, Any]:
    """An `ExplainShown`."""
    code, detail = _why(standing)
    facts = {
        "due_at": standing.due_at,
        "attempt": standing.attempt,
        "live_workers": standing.live_workers,
        "ahead": standing.ahead,
        "worker": standing.worker,
        "cancel_requested": standing.cancel_requested,
        "error": _fragment(standing.error),
    }
    return {"status": standing.status, "code": code, "detail": detail, "facts": facts}


def _why(standing: Standing) -> tuple[str, str]:  # one line per case
    match standing.status:
        case Status.QUEUED:
            return _why_queued(standing)
        case Status.PROCESSING if standing.cancel_requested:
            return "stopping", "A worker runs it, and was asked to stop."
        case Status.PROCESSING:
            return "running", "A worker runs it."
        case Status.PARKED:
            return "parked", "Its handler named a time or an event to wait for."
        case Status.PENDING_APPROVAL:
            return "needs_approval", "It is done, but a person must approve the result."
        case Status.CONFIRMING:
            return "confirming", "It is done; its result is on its way to the chain."
        case Status.BLOCKED:
            return "needs_a_person", "It stopped and waits until a person decides; see the error."
        case Status.FAILED:
            return "attempts_exhausted", "Its last attempt failed: it is a dead letter until somebody retries it."
        case Status.REJECTED:
            return "rejected", "It was refused for good; see the error."
        case Status.CANCELLED:
            return "cancelled", "It was stopped on request."
    return "done", "It is done."


def _why_queued(standing: Standing) -> tuple[str, str]:
    if not standing.due and standing.attempt:
        return "waits_for_retry", "An attempt failed; the next one is due at due_at."
    if not standing.due:
        return "not_due", "It is not due before due_at."
    if standing.gate:
        return "gate_closed", "Something that goes before it is not done yet."
    if standing.paused:
        return "paused", f"Jobs of the kind {standing.kind} are paused for this project."
    if not standing.live_workers:
        known = "" if registry.find(standing.kind) else " No handler of this name is registered here either."
        return "no_worker", f"No live worker knows the kind {standing.kind}.{known}"
    if standing.ahead:
        return "in_line", "It is due, and others are due before it."
    return "next", "It is due and is claimed as soon as a worker is free."


# ---------------------------------------------------------------------------------------------- errors as problems

_TOO_MANY = frozenset({"quota_exceeded", "rate_limited", "too_many_jobs"})


def _invalid_payload(error: InvalidPayload) -> Problem:
    errors: list[FieldError] = [
        {
            "field": "/payload" + pointer_to(found.get("loc", ())),
            "code": str(found.get("type", "invalid")),
            "message": str(found.get("msg", ""))[:300],
        }
        for found in error.errors
    ]
    return Problem(422, error.code, str(error), errors=errors)


def _refused(error: SubmitRefused) -> Problem:
    return Problem(429 if error.code in _TOO_MANY else 403, error.code, str(error))


def _wrong_status(error: WrongStatus) -> Problem:
    return Problem(409, error.code, str(error))


answer_with(
    {
        JobsError: 422,
        UnknownKind: lambda error: Problem(
            422,
            error.code,
            "No handler is registered for this kind; GET /api/v1/kinds lists those that there are.",
            errors=[{"field": "/kind", "code": error.code, "message": "Unknown kind."}],
        ),
        InvalidPayload: _invalid_payload,
        InvalidOption: 422,
        SubmitRefused: _refused,
        JobNotFound: 404,
        WrongStatus: _wrong_status,
    }
)
