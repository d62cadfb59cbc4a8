"""The inbox of interventions: whose each is, what people say about it, and decisions that want two persons.

Of a kind with `second_person=True` nobody decides alone: one proposes a decision, another one approves it, and then it
is done. A proposal is checked when it is made, as the decision itself would be, and once more when it is carried out.
"""

from collections.abc import Mapping
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from uuid_utils.compat import uuid7

from events import audit
from jobs import interventions, services, store
from jobs.errors import AlreadyResolved, InvalidOption, NoProposal, ProposalWaits, SamePerson
from jobs.extensions import Decision
from jobs.models import Intervention, InterventionComment

LONGEST_NAME = 150
LONGEST_COMMENT = 2000


def assign(intervention: Intervention, to: str, *, actor: str) -> Intervention:
    """Say who looks after it; "" for nobody. Raises `InvalidOption`, `AlreadyResolved`."""
    to = to.strip()
    if len(to) > LONGEST_NAME or not to.isprintable():
        message = f"A name has at most {LONGEST_NAME} printable characters."
        raise InvalidOption(message, code="invalid_name", field="/to")
    with transaction.atomic():
        changed = Intervention.objects.filter(id=intervention.id, resolved_at=None).update(assigned_to=to)
        if not changed:
            raise AlreadyResolved
        _record(intervention, "assign", actor, "", {"to": to})
    intervention.refresh_from_db()
    return intervention


def comment(intervention: Intervention, text: str, *, actor: str) -> InterventionComment:
    """Say something about it, also when it was decided. Raises `InvalidOption`."""
    text = text.strip()
    if not 0 < len(text) <= LONGEST_COMMENT or services.has_nul(services.as_json(text)):
        message = f"A comment has 1 to {LONGEST_COMMENT} characters, none of them NUL."
        raise InvalidOption(message, code="invalid_comment", field="/text")
    return InterventionComment.objects.create(id=uuid7(), intervention_id=intervention.id, actor=actor, text=text)


def comments(intervention: Intervention) -> QuerySet[InterventionComment]:
    """What was said about it."""
    return InterventionComment.objects.filter(intervention_id=intervention.id)


# ---------------------------------------------------------------------------------------------- two persons


def propose(intervention: Intervention, decision: Decision) -> Intervention:
    """Store a decision until another person approves it. Nothing is done yet.

    Raises:
        ProposalWaits: there is one already.
        AlreadyResolved, InvalidOption, InvalidPayload, WrongStatus: it could not be done so.
    """
    if not decision.reason.strip():
        message = "A decision wants its reason."
        raise InvalidOption(message, code="reason_required", field="/reason")
    interventions.preview(intervention, decision)
    proposal = {
        "id": str(uuid7()), "action": decision.action, "actor": decision.actor, "reason": decision.reason,
        "payload": decision.payload, "output": decision.output, "at": store.now().isoformat(),
    }  # fmt: skip
    with transaction.atomic():
        stored = Intervention.objects.filter(id=intervention.id, resolved_at=None, proposal__isnull=True)
        if not stored.update(proposal=proposal):
            _none_waits(intervention)
        _record(intervention, "propose", decision.actor, decision.reason, {"action": decision.action})
    intervention.refresh_from_db()
    return intervention


def _none_waits(intervention: Intervention) -> None:
    intervention.refresh_from_db()
    if intervention.resolved_at is not None:
        raise AlreadyResolved
    raise ProposalWaits


def approve(intervention: Intervention, proposal_id: str, *, actor: str, reason: str = "") -> Intervention:
    """Have a proposed decision done, as another person than the one who proposed it.

    Raises:
        SamePerson: it is the same one.
        NoProposal: it was declined, or replaced by another.
        AlreadyResolved, InvalidOption, InvalidPayload, WrongStatus: it cannot be done any more.
    """
    proposal = proposed(intervention, proposal_id)
    if proposal["actor"] == actor:
        raise SamePerson
    decision = Decision(
        proposal["action"], proposal["actor"], proposal["reason"], proposal["payload"], proposal["output"], actor
    )
    with transaction.atomic():
        interventions.resolve(intervention, decision)
        # Behind the act, which has locked its subject first, as everybody does who decides.
        mine = Intervention.objects.filter(id=intervention.id, proposal__id=proposal_id)
        if not mine.update(proposal=None, approved_by=actor):
            raise NoProposal
        _record(intervention, "approve", actor, reason, {"action": decision.action, "proposed_by": decision.actor})
    intervention.refresh_from_db()
    return intervention


def decline(intervention: Intervention, proposal_id: str, *, actor: str, reason: str) -> Intervention:
    """Drop a proposed decision; it stays open. Raises `NoProposal`, `InvalidOption` (without a reason)."""
    if not reason.strip():
        message = "Whoever declines says why."
        raise InvalidOption(message, code="reason_required", field="/reason")
    proposal = proposed(intervention, proposal_id)
    with transaction.atomic():
        mine = Intervention.objects.filter(id=intervention.id, proposal__id=proposal_id, resolved_at=None)
        if not mine.update(proposal=None):
            raise NoProposal
        data = {"action": proposal["action"], "proposed_by": proposal["actor"]}
        _record(intervention, "decline", actor, reason, data)
    intervention.refresh_from_db()
    return intervention


def proposed(intervention: Intervention, proposal_id: str) -> Mapping[str, Any]:
    """The decision that is proposed, if it is this one. Raises `NoProposal`, `AlreadyResolved`."""
    intervention.refresh_from_db()
    if intervention.resolved_at is not None:
        raise AlreadyResolved
    proposal: Mapping[str, Any] | None = intervention.proposal
    if proposal is None or proposal["id"] != proposal_id:
        raise NoProposal
    return proposal


def _record(intervention: Intervention, verb: str, actor: str, reason: str, data: Mapping[str, Any]) -> None:
    audit.record(
        action=f"intervention.{verb}", actor=actor, subject_type="intervention", subject_id=intervention.id,
        project_id=intervention.project_id, reason=reason, data=data,
    )  # fmt: skip
