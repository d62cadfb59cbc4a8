"""Interventions and lanes as JSON: what a decision may hold, and what an answer shows."""

import datetime as dt
from typing import Annotated, Any
from uuid import UUID

import orjson
from django.urls import reverse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jobs import extensions
from jobs.extensions import Decision
from jobs.inbox import LONGEST_COMMENT, LONGEST_NAME
from jobs.interventions import LONGEST_REASON, wants_second
from jobs.models import Intervention, InterventionComment
from jobs.selectors import LaneRow
from jobs.serializers.asks import Ask
from jobs.serializers.jobs import ErrorShown, address
from jobs.states import Status


class ResolveIntervention(Ask):
    """What was decided, and why. `payload` or `output`, where the action wants one."""

    model_config = ConfigDict(json_schema_extra={"example": {"action": "retry", "reason": "The provider is up again."}})

    action: Annotated[str, StringConstraints(min_length=1, max_length=50)]
    reason: Annotated[str, StringConstraints(max_length=LONGEST_REASON)] = ""
    payload: dict[str, Any] | None = None
    output: Any = None

    def decision(self, actor: str) -> Decision:
        """The same, as the engine takes it."""
        return Decision(self.action, actor, self.reason, self.payload, self.output)


class AssignIntervention(Ask):
    """Whose it is from now on; empty: nobody's."""

    model_config = ConfigDict(json_schema_extra={"example": {"to": "ada"}})

    to: Annotated[str, StringConstraints(max_length=LONGEST_NAME)]


class CommentIntervention(Ask):
    """What somebody has to say about it."""

    model_config = ConfigDict(json_schema_extra={"example": {"text": "The provider says it was charged."}})

    text: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_COMMENT)]


class AnswerProposal(Ask):
    """Which proposal is approved or declined, and why."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"proposal": "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a", "reason": "I have checked."}}
    )

    proposal: UUID
    reason: Annotated[str, StringConstraints(max_length=LONGEST_REASON)] = ""


class CommentShown(BaseModel):
    """What somebody said about an intervention."""

    id: UUID
    at: dt.datetime
    actor: str
    text: str


def show_comment(row: InterventionComment) -> dict[str, Any]:
    """A `CommentShown`."""
    return {"id": row.id, "at": row.at, "actor": row.actor, "text": row.text}


class ProposalShown(BaseModel):
    """A decision that waits for a second person."""

    id: UUID
    action: str
    actor: str
    reason: str
    payload: dict[str, Any] | None
    output: Any
    at: dt.datetime


class ActionShown(BaseModel):
    """Something that may be decided. `wants`: the field that the decision must bring, if any."""

    action: str
    title: str
    explanation: str
    wants: str | None


class InterventionLinks(BaseModel):
    """Where else to look."""

    self: str
    subject: str | None
    preview: str
    resolve: str
    assign: str
    comments: str
    approve: str
    decline: str


class InterventionShown(BaseModel):
    """Something that only a person may decide: about what, why, what is known, what may be done, and what was."""

    id: UUID
    subject_type: str
    subject_id: str
    reason: str
    evidence: dict[str, Any]
    actions: list[ActionShown]
    opened_at: dt.datetime
    resolved_at: dt.datetime | None
    resolved_by: str
    action: str
    decision_reason: str
    assigned_to: str
    needs_second_person: bool
    proposal: ProposalShown | None
    approved_by: str
    links: InterventionLinks


class PreviewShown(BaseModel):
    """What an action would do, if it were taken now: to the job, and to the lane that it stands in."""

    action: str
    job: dict[str, Any] | None = None
    lane: dict[str, Any] | None = None


class LaneHead(BaseModel):
    """The job that stands first in a lane. `since`: when it came to stand as it does, as far as is known."""

    id: UUID
    kind: str
    status: Status
    attempt: int
    due_at: dt.datetime
    error: ErrorShown | None
    intervention: UUID | None
    blocked_since: dt.datetime | None


class LaneShown(BaseModel):
    """A lane in which jobs have not ended: the first of them, and how many wait behind it, counted up to 1,000."""

    lane: str
    head: LaneHead
    waiting: int = Field(le=1000)
    waiting_since: dt.datetime | None


def show_intervention(row: Intervention, *, second: bool | None = None) -> dict[str, Any]:
    """An `InterventionShown`. `second`: whether it wants a second person, where that was asked for many at once."""
    if second is None:
        second = wants_second(row)
    root = f"{reverse('jobs:interventions')}/{row.id}"
    return {
        "id": row.id,
        "subject_type": row.subject_type,
        "subject_id": row.subject_id,
        "reason": row.reason,
        "evidence": row.evidence,
        "actions": [] if row.resolved_at else [_action(row.subject_type, name) for name in row.actions],
        "opened_at": row.opened_at,
        "resolved_at": row.resolved_at,
        "resolved_by": row.resolved_by,
        "action": row.action,
        "decision_reason": row.decision_reason,
        "assigned_to": row.assigned_to,
        "needs_second_person": row.resolved_at is None and second,
        "proposal": row.proposal,
        "approved_by": row.approved_by,
        "links": {
            "self": root,
            "subject": address(UUID(row.subject_id)) if row.subject_type == "job" else None,
            "preview": f"{root}/preview",
            "resolve": f"{root}/resolve",
            "assign": f"{root}/assign",
            "comments": f"{root}/comments",
            "approve": f"{root}/approve",
            "decline": f"{root}/decline",
        },
    }


def _action(subject_type: str, name: str) -> dict[str, Any]:
    found = extensions.intervention_actions.get(f"{subject_type}.{name}")
    return {"action": name, "title": found.title, "explanation": found.explanation, "wants": found.wants}


def show_lane(row: LaneRow) -> dict[str, Any]:
    """A `LaneShown`."""
    return {
        "lane": row.lane,
        "head": {
            "id": row.id,
            "kind": row.kind,
            "status": row.status,
            "attempt": row.attempt,
            "due_at": row.due_at,
            "error": None if row.error is None else orjson.Fragment(row.error),
            "intervention": row.intervention,
            "blocked_since": row.blocked_since,
        },
        "waiting": row.waiting,
        "waiting_since": row.waiting_since,
    }
