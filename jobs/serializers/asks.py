"""What requests about jobs may hold."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StringConstraints, field_validator

from jobplatform.api.query import Moment
from jobs.services import JobRequest

MOST_IN_A_BATCH = 1000
LARGEST_METADATA = 16 * 1024

KindName = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Number = StrictInt | StrictFloat
BatchName = Annotated[str, StringConstraints(max_length=200)]
Reason = Annotated[str, StringConstraints(max_length=500)]


class Ask(BaseModel):
    """A request's body: unknown fields are refused, so that a misspelt one is not silently left out."""

    model_config = ConfigDict(extra="forbid")


class CreateJob(Ask):
    """What a job is made of. `payload` must fit the kind: see `GET /api/v1/kinds/{name}`."""

    model_config = ConfigDict(json_schema_extra={"example": {"kind": "report.send", "payload": {"name": "Ada"}}})

    kind: KindName
    payload: dict[str, Any] = Field(default_factory=dict)
    lane: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    priority: Annotated[StrictInt, Field(ge=-100, le=100)] | None = None
    due_at: Moment | None = None
    confirm: Literal["single", "batch", "anchor"] | None = None
    max_attempts: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    retry_delay: Annotated[Number, Field(ge=0, le=86_400 * 30)] | None = None
    timeout: Annotated[Number, Field(gt=0, le=86_400)] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

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
    """Up to 1,000 jobs. Each is looked at by itself: one that does not fit does not keep the others out.

    They are a batch. `follow` is the job that is created when they have ended (`follow_when`: "ended", however, or
    "processed", when all are done well).
    """

    model_config = ConfigDict(
        json_schema_extra={"example": {"jobs": [{"kind": "report.send", "payload": {"name": "Ada"}}]}}
    )

    jobs: Annotated[list[CreateJob], Field(min_length=1, max_length=MOST_IN_A_BATCH)]
    name: BatchName = ""
    follow: CreateJob | None = None
    follow_when: Literal["ended", "processed"] = "ended"


class Envelope(Ask):
    """The outside of `CreateJobs`; the jobs in it are looked at one by one."""

    jobs: Annotated[list[Any], Field(min_length=1, max_length=MOST_IN_A_BATCH)]
    name: BatchName = ""
    follow: CreateJob | None = None
    follow_when: Literal["ended", "processed"] = "ended"


class CancelJob(Ask):
    """Why a job is stopped."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "The order was withdrawn."}})

    reason: Reason = ""


class ResumeJob(Ask):
    """Why a job may go on that is blocked or parked. `data`: for the handler of a parked one (`job.woken_by.data`)."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "The cause was repaired."}})

    reason: Reason = ""
    data: dict[str, Any] | None = None


class RetryJob(Ask):
    """Why a job is queued once more, and perhaps another payload for it."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "The cause was repaired."}})

    payload: dict[str, Any] | None = None
    reason: Reason = ""
