"""What a person may do where a machine knows no further: each action with what it would do, before it does it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from confirmations.fees import BUMP, Fees, bump
from confirmations.models import Attempt, Confirmation, Contract, Signer, Transaction
from confirmations.services.asked import ACTIONS
from confirmations.services.calling import VERIFY, call, call_sender
from confirmations.states import Duty, Standing, Step, Try
from events import audit, log
from events.log import NewEvent
from jobs import extensions, interventions, services
from jobs.errors import AlreadyResolved, InvalidOption, WrongStatus
from jobs.extensions import Action, Decision
from jobs.models import Intervention
from jobs.states import PLATFORM
from jobs.store import Move

PERMISSION = "confirmations.repair"
GWEI = 10**9
WORD = 32
MOST = 2**63

Foresight = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Act:
    title: str
    explanation: str
    foresee: Callable[[Intervention, Decision], Foresight]
    do: Callable[[Intervention, Decision], None]
    wants: str | None = None
    suggest: Callable[[Intervention], Any] | None = None


# ---------------------------------------------------------------------------------------------- transactions
def _stuck(intervention: Intervention) -> Transaction:
    found = Transaction.objects.select_for_update().get(id=intervention.subject_id)
    if found.step != Step.STUCK:
        message = f"The transaction is {found.step}: there is nothing to decide."
        raise WrongStatus(message, status=found.step)
    return found


def _next_step(row: Transaction) -> Step:
    return Step.SIGNED if Attempt.objects.filter(transaction=row).exists() else Step.RESERVED


def _go_on(row: Transaction, **changes: Any) -> None:
    """Hand a stuck transaction back to its signer, who makes a new attempt at the same nonce where that is wanted."""
    Attempt.objects.filter(transaction=row, state=Try.REFUSED).update(state=Try.DROPPED)
    row.step, row.reason = _next_step(row), ""
    for name, value in changes.items():
        setattr(row, name, value)
    row.save(update_fields=["step", "reason", *changes])
    call_sender(row.signer_id)


def _foresee_retry(intervention: Intervention, _: Decision) -> Foresight:
    row = _stuck(intervention)
    return {"transaction": {"id": row.id, "nonce": row.nonce, "step": _next_step(row)}}


def _retry(intervention: Intervention, _: Decision) -> None:
    _go_on(_stuck(intervention))


def _offer(row: Transaction, decision: Decision) -> Fees:
    """The fees that a person names, in gwei; a node takes none that are less than an eighth above the last ones."""
    told = decision.payload or {}
    try:
        fees = Fees(tip=int(float(told["tip_gwei"]) * GWEI), fee=int(float(told["fee_gwei"]) * GWEI))
    except (KeyError, TypeError, ValueError, OverflowError):
        message = 'A bump wants {"fee_gwei": number, "tip_gwei": number}, with a tip within the fee.'
        raise InvalidOption(message, code="invalid_fees", field="/payload") from None
    last = Attempt.objects.filter(transaction=row).order_by("number").last()
    up, down = BUMP
    if last is not None and (fees.fee * down < last.fee * up or fees.tip * down < last.tip * up):
        message = (
            f"A replacement offers an eighth more of both: {last.fee / GWEI:g} and {last.tip / GWEI:g} gwei before."
        )
        raise InvalidOption(message, code="fees_too_low", field="/payload")
    return fees


def _foresee_bump(intervention: Intervention, decision: Decision) -> Foresight:
    row = _stuck(intervention)
    fees = _offer(row, decision)
    told = {"id": row.id, "nonce": row.nonce, "step": _next_step(row), "offer": _shown(fees)}
    return {"transaction": told | {"offer_in_gwei": {"tip": fees.tip / GWEI, "fee": fees.fee / GWEI}}}


def _bump(intervention: Intervention, decision: Decision) -> None:
    row = _stuck(intervention)
    _go_on(row, offer=_shown(_offer(row, decision)))


def _least_offer(intervention: Intervention) -> dict[str, float]:
    """The least that replaces the last attempt; it may be more than the network's cap, for a person names it."""
    last = Attempt.objects.filter(transaction_id=intervention.subject_id).order_by("number").last()
    fees = Fees(GWEI, 2 * GWEI) if last is None else bump(Fees(last.tip, last.fee), cap=MOST)
    assert fees is not None  # noqa: S101 - the cap is beyond what the column holds
    up = GWEI // 10**4  # four digits are enough to type, and rounded up they are no less
    return {"fee_gwei": -(-fees.fee // up) / 10**4, "tip_gwei": -(-fees.tip // up) / 10**4}


def _shown(fees: Fees) -> dict[str, int]:
    return {"tip": fees.tip, "fee": fees.fee}


def _foresee_free(intervention: Intervention, _: Decision) -> Foresight:
    row = _stuck(intervention)
    return {
        "transaction": {"id": row.id, "nonce": row.nonce, "step": _next_step(row), "frees": True},
        "jobs_that_wait_again": row.count,
    }


def _free(intervention: Intervention, _: Decision) -> None:
    _go_on(_stuck(intervention), frees=True)


# ---------------------------------------------------------------------------------------------- confirmations
def _blocked(intervention: Intervention) -> Confirmation:
    found = Confirmation.objects.select_for_update().get(id=intervention.subject_id)
    if found.standing in {Standing.CONFIRMED, Standing.SKIPPED}:
        message = f"The confirmation is {found.standing}: there is nothing to decide."
        raise WrongStatus(message, status=found.standing)
    return found


def _foresee_again(intervention: Intervention, _: Decision) -> Foresight:
    row = _blocked(intervention)
    return {"confirmation": {"id": row.id, "standing": Standing.WAITING}}


def _again(intervention: Intervention, _: Decision) -> None:
    row = _blocked(intervention)
    row.standing, row.reason, row.transaction, row.position = Standing.WAITING, "", None, None
    row.save(update_fields=["standing", "reason", "transaction", "position"])
    call_sender(row.signer_id)


def _foresee_skip(intervention: Intervention, _: Decision) -> Foresight:
    row = _blocked(intervention)
    return {"confirmation": {"id": row.id, "standing": Standing.SKIPPED}, "job": {"id": row.id, "status": "processed"}}


def _skip(intervention: Intervention, decision: Decision) -> None:
    row = _blocked(intervention)
    row.standing, row.reason = Standing.SKIPPED, decision.reason
    row.save(update_fields=["standing", "reason"])
    data = services.as_json({"actor": decision.actor, "reason": decision.reason})
    services.settle("unconfirm", [Move(row.id, row.project_id, data=data)])


def _hash(decision: Decision) -> str:
    told = str((decision.payload or {}).get("transaction", ""))
    try:
        found = bytes.fromhex(told.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != WORD:
        message = 'It wants {"transaction": "0x…"}, the hash of a transaction.'
        raise InvalidOption(message, code="invalid_transaction", field="/payload")
    return "0x" + found.hex()


def _foresee_external(intervention: Intervention, decision: Decision) -> Foresight:
    row = _blocked(intervention)
    return {"confirmation": {"id": row.id, "standing": row.standing}, "verified_by": {"transaction": _hash(decision)}}


def _external(intervention: Intervention, decision: Decision) -> None:
    """What a person says is looked up on the chain by a job, which confirms only what it finds there."""
    row = _blocked(intervention)
    call(VERIFY, {"confirmation_id": str(row.id), "transaction": _hash(decision), "actor": decision.actor})


# ---------------------------------------------------------------------------------------------- signers, contracts
def _foresee_resume(intervention: Intervention, _: Decision) -> Foresight:
    row = Signer.objects.get(id=intervention.subject_id)
    return {"signer": {"id": row.id, "duty": Duty.ACTIVE, "next_nonce": max(row.next_nonce, row.mined_nonce)}}


def _resume(intervention: Intervention, decision: Decision) -> None:
    set_duty(UUID(intervention.subject_id), Duty.ACTIVE, decision.reason)


def set_duty(signer_id: UUID, duty: Duty, reason: str) -> Signer:
    """Have a signer sign, or not, because a person says so. In the caller's transaction."""
    row = Signer.objects.select_for_update().get(id=signer_id)
    if row.duty == duty:
        return row
    event = "signer.resumed" if duty == Duty.ACTIVE else "signer.paused"
    row.duty, row.reason, row.seq = duty, "" if duty == Duty.ACTIVE else reason, row.seq + 1
    if duty == Duty.ACTIVE:  # nonces that others have used are none of ours any more
        row.next_nonce = max(row.next_nonce, row.mined_nonce)
    row.save(update_fields=["duty", "reason", "seq", "next_nonce"])
    data = {"reason": reason} if duty == Duty.ACTIVE else {"duty": duty, "reason": reason}
    log.append([NewEvent(PLATFORM, event, row.id, row.seq, data)])
    if duty == Duty.ACTIVE:
        call_sender(row.id)
    return row


def decide_for_signer(signer_id: UUID, actor: str, reason: str) -> bool:
    """Resume a signer about which a decision is open: this is it. In the caller's transaction. False: none is open."""
    asked = (
        Intervention.objects.select_for_update()
        .filter(subject_type="signer", subject_id=str(signer_id), resolved_at=None)
        .first()
    )
    if asked is None:
        return False
    interventions.resolve(asked, Decision("resume", actor, reason))
    return True


def _foresee_nothing(intervention: Intervention, _: Decision) -> Foresight:
    return {"contract": {"id": Contract.objects.get(id=intervention.subject_id).id}}


def _nothing(intervention: Intervention, _: Decision) -> None:
    Contract.objects.get(id=intervention.subject_id)


_ACTS: Mapping[str, _Act] = {
    "transaction.retry": _Act(
        "Retry", "Its bytes leave once more, or new ones at the same nonce where no node took them.", _foresee_retry,
        _retry,
    ),
    "transaction.bump": _Act(
        "Offer more", "A new attempt at the same nonce, for the fees given here.", _foresee_bump, _bump,
        wants="payload", suggest=_least_offer,
    ),
    "transaction.free": _Act(
        "Use up the nonce", "The signer sends nothing to itself; the jobs wait for another transaction.",
        _foresee_free, _free,
    ),
    "confirmation.retry": _Act("Retry", "It waits for another transaction.", _foresee_again, _again),
    "confirmation.external": _Act(
        "Confirmed by another transaction", "That is looked up on the chain; what is found there counts.",
        _foresee_external, _external, wants="payload",
    ),
    "confirmation.skip": _Act(
        "Skip", "The job ends as processed, without the chain; what waits behind it goes on.", _foresee_skip, _skip
    ),
    "signer.resume": _Act("Resume", "It signs again, behind all nonces that are used.", _foresee_resume, _resume),
    "contract.acknowledge": _Act("Seen", "Nothing changes.", _foresee_nothing, _nothing),
}  # fmt: skip


def register() -> None:
    """Register what may be done. Called once, at boot."""
    for name, act in _ACTS.items():
        assert name.partition(".")[2] in ACTIONS[name.partition(".")[0]]  # noqa: S101 - two lists of one thing
        extensions.intervention_actions.register(
            name,
            Action(
                act.title,
                act.explanation,
                PERMISSION,
                act.wants,
                act=_acting(act),
                preview=_foreseeing(act),
                suggest=act.suggest,
            ),
        )


def _foreseeing(act: _Act) -> Callable[[Intervention, Decision], Foresight]:
    def preview(intervention: Intervention, decision: Decision) -> Foresight:
        _check_wants(act, decision)
        with transaction.atomic():
            return act.foresee(intervention, decision)

    return preview


def _acting(act: _Act) -> Callable[[Intervention, Decision], None]:
    def decide(intervention: Intervention, decision: Decision) -> None:
        _check_wants(act, decision)
        row = Intervention.objects.select_for_update().get(id=intervention.id)
        if row.resolved_at is not None:
            raise AlreadyResolved
        act.do(row, decision)
        with log.cursor() as cur:
            cur.execute(
                "update jobs_intervention set resolved_at = (select platform_now()), resolved_by = %s, action = %s,"
                " decision_reason = %s where id = %s",
                (decision.actor, decision.action, decision.reason, row.id),
            )
        audit.record(
            action=f"{row.subject_type}.{decision.action}",
            actor=decision.actor,
            subject_type=row.subject_type,
            subject_id=row.subject_id,
            project_id=row.project_id,
            reason=decision.reason,
            data={"payload": dict(decision.payload)} if decision.payload else {},
        )

    return decide


def _check_wants(act: _Act, decision: Decision) -> None:
    for name, value in (("payload", decision.payload), ("output", decision.output)):
        if act.wants == name and value is None:
            message = f"{act.title} wants {name}."
            raise InvalidOption(message, code=f"{name}_required", field=f"/{name}")
        if act.wants != name and value is not None:
            message = f"{act.title} takes no {name}."
            raise InvalidOption(message, code=f"{name}_not_allowed", field=f"/{name}")
