"""Dead letters by cause, and reconciliations, as JSON."""

import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

from django.urls import reverse
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StringConstraints

from confirmations.serializers import ConfirmationShown, ProofShown
from events.serializers import EventShown
from jobplatform.api.query import Moment
from jobs.serializers.asks import Ask, KindName, Number
from jobs.serializers.interventions import InterventionShown
from jobs.serializers.jobs import AttemptShown, JobShown
from reconciliation.models import Redrive, RedriveRow
from reconciliation.selectors import CauseRow, Foreseen
from reconciliation.services.plans import Plan
from reconciliation.states import PlanStatus, RowState

MOST_CODES = 100
MOST_IDS = 1000
Code = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Reason = Annotated[str, StringConstraints(min_length=1, max_length=500)]
FILTERS = (
    "errors_allowed_to_retry", "kind", "stage", "status", "died_after", "died_before", "metadata", "ids", "most_deaths",
)  # fmt: skip


class CauseLinks(BaseModel):
    """Addresses of a cause."""

    self: str
    jobs: str
    sample: str


class CauseShown(BaseModel):
    """Dead letters with the same error, but for ids and numbers in it.

    `dead`: how many stand so now; `total`: how often it happened; `hours`: the same by hour, 24 of them, the current
    one last. `kinds`: how many of each.
    """

    fingerprint: str
    code: str
    message: str
    dead: int
    total: int
    kinds: dict[str, int]
    first_at: dt.datetime
    last_at: dt.datetime
    hours: list[int]
    sample_id: UUID
    links: CauseLinks


def show_cause(row: CauseRow) -> dict[str, Any]:
    """A `CauseShown`."""
    jobs = reverse("jobs:jobs")
    return {
        "fingerprint": row.fingerprint,
        "code": row.code,
        "message": row.message,
        "dead": row.dead,
        "total": row.total,
        "kinds": dict(row.kinds),
        "first_at": row.first_at,
        "last_at": row.last_at,
        "hours": list(row.hours),
        "sample_id": row.sample_id,
        "links": {
            "self": f"{reverse('reconciliation:dead_letters')}/{row.fingerprint}",
            "jobs": f"{jobs}?status=failed&error_code={row.code}",
            "sample": f"{jobs}/{row.sample_id}",
        },
    }


class Change(Ask):
    """What is different this time. `payload`: a JSON merge patch (RFC 7396); null removes a field."""

    payload: dict[str, Any] | None = None
    max_attempts: Annotated[StrictInt, Field(ge=1, le=100)] | None = None
    retry_delay: Annotated[Number, Field(ge=0, le=86_400 * 30)] | None = None
    due_at: Moment | None = None


class BeginReconciliation(Ask):
    """Which dead letters are queued once more, how, and why. At least one of the filters is wanted.

    `errors_allowed_to_retry`: codes or fingerprints of errors. Confirmations that wait for a person because of one of
    them are tried once more as well. `most_deaths`: not those that have died more often.

    `pace`: jobs a second. `canary`: so many go first, and the others once those are known. `stop_above`: stop when more
    than so many percent of those known have failed again. `start`: false leaves it `ready`. `dry_run`: only look.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "errors_allowed_to_retry": ["connection_error"],
                "kind": "report.send",
                "canary": 20,
                "stop_above": 10,
                "pace": 100,
                "reason": "The provider is up again.",
            }
        }
    )

    errors_allowed_to_retry: Annotated[list[Code], Field(max_length=MOST_CODES)] = Field(default_factory=list)
    kind: KindName | None = None
    stage: Literal["process", "confirm"] | None = None
    status: Literal["failed", "rejected"] | None = None
    died_after: Moment | None = None
    died_before: Moment | None = None
    metadata: Annotated[dict[str, str], Field(max_length=5)] = Field(default_factory=dict)
    ids: Annotated[list[UUID], Field(max_length=MOST_IDS)] = Field(default_factory=list)
    most_deaths: Annotated[StrictInt, Field(ge=1)] | None = None
    change: Change = Field(default_factory=Change)
    pace: Annotated[Number, Field(gt=0, le=1_000_000)] | None = None
    canary: Annotated[StrictInt, Field(ge=0, le=10_000)] = 0
    stop_above: Annotated[Number, Field(ge=0, le=100)] | None = None
    start: bool = True
    dry_run: bool = False
    reason: Annotated[str, StringConstraints(max_length=500)] = ""

    def plan(self) -> Plan:
        """The same, as it is stored."""
        told = self.model_dump(mode="json")
        return Plan(
            filter={name: told[name] for name in FILTERS if told[name]},
            change={name: value for name, value in told["change"].items() if value is not None},
            pace=None if self.pace is None else float(self.pace),
            canary=self.canary,
            stop_above=None if self.stop_above is None else float(self.stop_above),
            start=self.start,
        )


class CauseCounted(BaseModel):
    """How many of them died of what."""

    code: str
    fingerprint: str
    kind: str
    number: int


class ReconciliationForeseen(BaseModel):
    """What a reconciliation would be for: at least so many, if `more`; some of them by their ids."""

    matched: int
    more: bool
    causes: list[CauseCounted]
    samples: list[UUID]


def show_foreseen(found: Foreseen) -> dict[str, Any]:
    """A `ReconciliationForeseen`."""
    return {
        "matched": found.matched,
        "more": found.more,
        "causes": list(found.causes),
        "samples": list(found.samples),
    }


class ReconciliationLinks(BaseModel):
    """Addresses of a reconciliation."""

    self: str
    jobs: str
    start: str
    pause: str
    abort: str


class ReconciliationShown(BaseModel):
    """A reconciliation and its report.

    `frozen`: how many jobs it is for. Of them, `redriven` were queued once more and `skipped` left alone; `recovered`,
    `failing` (an attempt failed again, and others follow), `failed` and `cancelled` is what is known of the redriven.
    """

    id: UUID
    status: Literal["freezing", "ready", "running", "paused", "stopped", "done", "aborted"]
    status_reason: str
    filter: dict[str, Any]
    change: dict[str, Any]
    pace: float | None
    canary: int
    stop_above: float | None
    frozen: int
    redriven: int
    recovered: int
    failing: int
    failed: int
    cancelled: int
    skipped: int
    actor: str
    reason: str
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    links: ReconciliationLinks


COUNTS = ("frozen", "redriven", "recovered", "failing", "failed", "cancelled", "skipped")


def show_reconciliation(row: Redrive) -> dict[str, Any]:
    """A `ReconciliationShown`."""
    own = f"{reverse('reconciliation:reconciliations')}/{row.id}"
    return {
        "id": row.id,
        "status": row.status,
        "status_reason": row.status_reason,
        "filter": row.filter,
        "change": row.change,
        "pace": row.pace,
        "canary": row.canary,
        "stop_above": row.stop_above,
        **{name: getattr(row, name) for name in COUNTS},
        "actor": row.actor,
        "reason": row.reason,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
        "links": {
            "self": own,
            "jobs": f"{own}/jobs",
            "start": f"{own}/start",
            "pause": f"{own}/pause",
            "abort": f"{own}/abort",
        },
    }


class ActOnReconciliation(Ask):
    """Why it is started, paused or aborted."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "The provider is up again."}})

    reason: Annotated[str, StringConstraints(max_length=500)] = ""


class ReconciledJob(BaseModel):
    """One job of a reconciliation, and what came of it. `why`: for what reason it was left alone."""

    job_id: UUID
    state: Literal["frozen", "redriven", "recovered", "failing", "failed", "cancelled", "skipped"]
    why: str
    changed_at: dt.datetime | None


def show_row(row: RedriveRow) -> dict[str, Any]:
    """A `ReconciledJob`."""
    return {"job_id": row.job_id, "state": row.state, "why": row.why, "changed_at": row.changed_at}


class RedriveOfJob(BaseModel):
    """A reconciliation that a job was in."""

    id: UUID
    number: int
    state: str
    why: str
    at: dt.datetime | None


class ActShown(BaseModel):
    """What somebody did by hand, with its seal, which it has some seconds later."""

    id: int
    at: dt.datetime
    actor: str
    action: str
    reason: str
    data: dict[str, Any]
    chain_no: int | None
    prev_hash: str | None
    hash: str | None


class EvidenceShown(BaseModel):
    """All that is known of one job. `complete`: no attempt and no event is left out."""

    taken_at: dt.datetime
    job: JobShown
    attempts: list[AttemptShown]
    events: list[EventShown]
    confirmation: ConfirmationShown | None
    proof: ProofShown | None
    interventions: list[InterventionShown]
    redrives: list[RedriveOfJob]
    acts: list[ActShown]
    complete: bool


STATES = tuple(state.value for state in RowState)
STATUSES = tuple(status.value for status in PlanStatus)
