"""Redrives as people handle them: planned, started, paused, aborted. Each act is recorded with who did it and why."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from uuid_utils.compat import uuid7

from events import audit, log
from events.log import NewEvent
from jobs import services, store
from jobs.services import JobRequest
from jobs.states import PLATFORM
from reconciliation.errors import InvalidPlan, PlanNotFound, WrongPlanStatus
from reconciliation.models import Redrive
from reconciliation.states import DRIVEN, ENDED, STARTABLE, PlanStatus

DRIVE = "reconciliation.drive"
"""The kind that does what a redrive says."""
KNOWN = ("recovered", "failing", "failed")
"""What is counted of what came of jobs, when it is judged whether too many failed again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a redrive shall be. `filter` and `change` are JSON objects, as `serializers.BeginReconciliation` takes them.

    `pace`: jobs a second. `canary`: so many go first, and the others when those are known to do well. `stop_above`:
    percent of those known that failed again. `start`: as soon as it is written down which jobs it is for.
    `spares_one_shots`: jobs of kinds that run once at most are left alone, for nobody has looked at them.
    """

    filter: Mapping[str, Any]
    change: Mapping[str, Any] = field(default_factory=dict)
    pace: float | None = None
    canary: int = 0
    stop_above: float | None = None
    start: bool = True
    spares_one_shots: bool = False


def check(plan: Plan) -> None:
    """Nothing, if there may be such a redrive. Raises `InvalidPlan`."""
    if not plan.filter:
        message = "A reconciliation wants a filter that says which dead letters: errors_allowed_to_retry, or another."
        raise InvalidPlan(message, code="empty_filter", field="/errors_allowed_to_retry")
    if plan.canary and plan.stop_above is None:
        message = "canary wants stop_above: the share of failures, in percent, above which the others stay."
        raise InvalidPlan(message, field="/stop_above")


def begin(*, project_id: UUID | None, plan: Plan, actor: str, reason: str, redrive_id: UUID | None = None) -> Redrive:
    """Store a redrive and the job that does it, in the caller's transaction. `project_id` None: of all projects.

    Raises:
        InvalidPlan: there is no filter, or a canary that nothing is compared with.
    """
    check(plan)
    with transaction.atomic():
        row = Redrive.objects.create(
            id=redrive_id or uuid7(), project_id=project_id, filter=dict(plan.filter), change=dict(plan.change),
            pace=plan.pace, canary=plan.canary, stop_above=plan.stop_above, start_when_frozen=plan.start, actor=actor,
            reason=reason, spares_one_shots=plan.spares_one_shots,
        )  # fmt: skip
        record(row, "plan", actor, reason)
        drive(row)
    row.refresh_from_db()
    return row


def drive(row: Redrive) -> None:
    """Have the job that does what a redrive says, in the caller's transaction. One that is there already is enough."""
    request = JobRequest(DRIVE, {"redrive_id": str(row.id)}, priority=100)
    services.submit_many(project_id=row.project_id or PLATFORM, requests=[request], accepted=True)


@dataclass(frozen=True, slots=True)
class By:
    """Who does something with a redrive, and why."""

    actor: str
    reason: str


ALLOWED: Mapping[str, frozenset[PlanStatus]] = {
    "start": STARTABLE,
    "pause": frozenset({PlanStatus.RUNNING}),
    "abort": frozenset(PlanStatus) - ENDED,
}
"""What a person may do with a redrive, and how it stands then."""


def start(row_id: UUID, project_id: UUID | None, by: By) -> Redrive:
    """Let it go on. What failed before counts no more. Raises `PlanNotFound`, `WrongPlanStatus`."""

    def do(row: Redrive) -> None:
        row.judged = {name: getattr(row, name) for name in KNOWN} | {"redriven": row.redriven}
        _move(row, PlanStatus.RUNNING, "")
        now = store.now()
        row.started_at, row.paced_at = row.started_at or now, now
        drive(row)

    return _act(row_id, project_id, "start", by, do)


def pause(row_id: UUID, project_id: UUID | None, by: By) -> Redrive:
    """Have it rest. Jobs that it has queued run all the same. Raises `PlanNotFound`, `WrongPlanStatus`."""
    return _act(row_id, project_id, "pause", by, lambda row: _move(row, PlanStatus.PAUSED, by.reason))


def abort(row_id: UUID, project_id: UUID | None, by: By) -> Redrive:
    """End it. What it has queued stays queued; others stay dead letters. Raises `PlanNotFound`, `WrongPlanStatus`."""

    def do(row: Redrive) -> None:
        _move(row, PlanStatus.ABORTED, by.reason)
        row.finished_at = store.now()
        publish(row, "redrive.ended")

    return _act(row_id, project_id, "abort", by, do)


def _act(row_id: UUID, project_id: UUID | None, verb: str, by: By, do: Callable[[Redrive], None]) -> Redrive:
    with transaction.atomic():
        row = Redrive.objects.select_for_update().filter(project_id=project_id, id=row_id).first()
        if row is None:
            raise PlanNotFound(redrive_id=row_id)
        if row.status not in ALLOWED[verb]:
            message = f"A reconciliation that is {row.status} takes no {verb}."
            raise WrongPlanStatus(message, status=row.status)
        do(row)
        row.save()
        record(row, verb, by.actor, by.reason)
    return row


def _move(row: Redrive, status: PlanStatus, reason: str) -> None:
    row.status, row.status_reason = status, reason


def is_driven(row: Redrive) -> bool:
    """Whether its job has something to do."""
    return row.status in DRIVEN


def publish(row: Redrive, event: str) -> None:
    """Append an event about a redrive; the caller saves its row."""
    row.seq += 1
    told = ("frozen", "redriven", "recovered", "failing", "failed", "cancelled", "skipped")
    data = {"status": row.status, "reason": row.status_reason} | {name: getattr(row, name) for name in told}
    log.append([NewEvent(row.project_id or PLATFORM, event, row.id, row.seq, data)])


def record(row: Redrive, verb: str, actor: str, reason: str) -> None:
    """Record what a person did with a redrive."""
    data = {"filter": row.filter, "change": row.change, "pace": row.pace, "canary": row.canary}
    audit.record(
        action=f"redrive.{verb}", actor=actor, subject_type="redrive", subject_id=row.id, project_id=row.project_id,
        reason=reason, data=data if verb == "plan" else {},
    )  # fmt: skip
