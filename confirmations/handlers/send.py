"""Sending: one signer at a time gives nonces to what is ripe, signs it, and hands it to a node."""

from collections.abc import Sequence
from functools import cache
from uuid import UUID

from pydantic import BaseModel

from confirmations import gas, registry, selectors, signing
from confirmations.encoding import Signed
from confirmations.errors import (
    BackPressure,
    KeyRefuses,
    KeyTrouble,
    NoContract,
    NodeError,
    NodeRefused,
    WrongChain,
)
from confirmations.gas import Line
from confirmations.gateway.chain import Chain, Market, chain
from confirmations.models import Signer
from confirmations.replies import Reply, classify
from confirmations.services import sending, watching
from confirmations.services.calling import SEND, call_sender
from confirmations.services.sending import Answer, Made, Unsent
from confirmations.states import Duty, Mode, Try
from jobs import Batch, Done, Lane, Reject, Retry, Run, Unique, Wait, exponential, handler, slots

PATIENCE = 8
"""Times the network's bump_seconds: so long an offer that is good enough may stay unmined."""
ROUNDS = 50
"""So often a job looks for more before it makes way for the next one."""


class Send(BaseModel):
    """Whose transactions."""

    signer_id: UUID


@handler(
    SEND,
    payload=Send,
    retry=Retry(max_attempts=20, backoff=exponential(1, factor=2, cap=60), ask_human=True),
    errors={BackPressure: Wait(2), NodeError: Wait(2), WrongChain: Wait(10), KeyTrouble: Wait(10)},
    timeout=120,
    expect=5,
    batch=Batch(1),
    lane=Lane(("signer_id",)),
    unique=Unique(("signer_id",), otherwise="replace"),
    queue="signing",
    public=False,
    confirm="never",
    example={"signer_id": UUID(int=0)},
)
def send(job: Run[Send]) -> Done | Reject:
    """Reserve nonces for what waits, sign it, store it, send it, read what the node says (job-confirmation-send)."""
    try:
        signer = selectors.signer(job.payload.signer_id)
    except Signer.DoesNotExist:
        return Reject("no_such_signer")
    sent = 0
    if signer.id not in _looked_at:
        _look_at(signer)
        signer = selectors.signer(signer.id)
    for _ in range(ROUNDS):
        if job.cancelled or slots.stopping():
            break
        if signer.duty == Duty.ACTIVE:
            _check_contracts(signer)
            sending.reserve(signer.id)
        work = sending.unsent(signer.id, again=sending.AGAIN_SECONDS)
        if not work:
            break
        sent += _send(signer, chain(signer.network_id), work)
        signer = selectors.signer(signer.id)
        if signer.duty != Duty.ACTIVE:
            break
    _come_back(signer)
    return Done(metrics={"transactions": sent})  # no output: what an attempt before this one sent is not in the sum


_looked_at: set[UUID] = set()


def _look_at(signer: Signer) -> None:
    """Once in each process, before it signs: the chain has used no nonce that was not given away here.

    Tables that were restored from a backup do not know what was sent since, and would send it once more.
    """
    told = chain(signer.network_id).account(bytes(signer.address))
    watching.account(signer.id, nonce=told.nonce, balance=told.balance)
    if told.nonce > signer.next_nonce:
        watching.halt(signer, signer.next_nonce)
    _looked_at.add(signer.id)


def _come_back(signer: Signer) -> None:
    """Have the next job at the moment at which the next heap is ripe."""
    at = sending.ripe_at(signer.id)
    if at is not None and signer.duty == Duty.ACTIVE and not selectors.sender_waits(signer.id):
        has_room = sending.room(signer.id) > 0
        if has_room:  # else whoever reads of a block that makes some calls
            call_sender(signer.id, at)


def _send(signer: Signer, net: Chain, work: Sequence[Unsent]) -> int:
    work, trouble = _with_bytes(signer, net, work)
    ready = [one for one in work if one.raw is not None]
    sent = _hand_over(signer, net, ready) if ready else 0
    if trouble is not None:
        raise trouble  # what it concerns waits; what is signed has left all the same
    return sent


def _hand_over(signer: Signer, net: Chain, ready: Sequence[Unsent]) -> int:
    told = net.send([one.raw for one in ready if one.raw is not None])
    answers = [_answer(one, error) for one, error in zip(ready, told, strict=True)]
    sending.answered(signer, answers)
    for answer in answers:
        if answer.reply in {Reply.BACKPRESSURE, Reply.NONCE_GAP}:
            raise BackPressure(answer.said)
    for error in told:
        if error is not None and not isinstance(error, NodeRefused):
            raise error  # nobody knows whether it was taken: the same bytes again, a little later
    if any(answer.reply is Reply.UNKNOWN for answer in answers):
        message = next(answer.said for answer in answers if answer.reply is Reply.UNKNOWN)
        raise BackPressure(message)
    return sum(1 for answer in answers if answer.reply in sending.TAKEN)


def _answer(one: Unsent, error: NodeError | None) -> Answer:
    if error is None:
        return Answer(one.id, one.number, Reply.ACCEPTED)
    if isinstance(error, NodeRefused):
        return Answer(one.id, one.number, classify(error.number, error.message), error.message)
    return Answer(one.id, one.number, Reply.UNKNOWN, str(error))


# ---------------------------------------------------------------------------------------------- bytes
def _with_bytes(signer: Signer, net: Chain, work: Sequence[Unsent]) -> tuple[list[Unsent], KeyTrouble | None]:
    """The same with new bytes for those that want some, kept before they are returned; and why some have none."""
    wanting = [one for one in work if one.wants_bytes or _stale(signer, one)]
    if not wanting:
        return list(work), None
    market = net.market()
    # What offers enough leaves as it is once more: it may have been dropped, or waits for a nonce before it.
    # Nobody can say what keeps back the first of them if it goes on and on: a node looks anew at one that offers more.
    lowest, patience = selectors.lowest_unmined(signer.id), PATIENCE * signer.network.bump_seconds
    wanting = [
        one
        for one in wanting
        if one.wants_bytes
        or signing.is_short(signer.network, market, one.fees)
        or (one.nonce == lowest and one.waited > patience)
    ]
    made: list[Made] = []
    trouble: KeyTrouble | None = None
    try:
        if wanting:
            _new_bytes(signer, market, wanting, made)
    except KeyTrouble as error:
        trouble = error
    sending.signed(made)
    new = {one.transaction_id: one for one in made}
    ready = [sending.with_attempt(one, new[one.id]) if one.id in new else one for one in work]
    return [one for one in ready if not one.wants_bytes], trouble


def _stale(signer: Signer, one: Unsent) -> bool:
    return one.waited > signer.network.bump_seconds and one.state == Try.SENT


def _new_bytes(signer: Signer, market: Market, wanting: Sequence[Unsent], made: list[Made]) -> None:
    """Sign new attempts, into `made`. What cannot have one is left as it is, or a person is asked.

    Raises `KeyTrouble`: the key signs nothing (more) just now.
    """
    key, bounds = signing.key_of(signer), signing.bounds_of(signer.network_id)
    spent = selectors.spent_today(signer.id)
    for one in wanting:
        if one.refused >= sending.MOST_REBUILT:
            _stick(one, "refused_too_often")
            continue
        offered = one.offer or signing.price(signer.network, market, one.fees if one.reply != Reply.REBUILD else None)
        if offered is None:
            if one.wants_bytes and one.fees is not None:
                _stick(one, "fee_cap")
            continue  # the base fee is beyond the cap: it waits until that falls
        used = _gas(signer, one)
        to, data = (bytes(signer.address), b"") if one.frees else (one.contract, one.data)
        try:
            found: Signed = signing.sign(
                key, bounds, nonce=one.nonce, to=to, data=data, gas=used, offered=offered, spent=spent
            )
        except KeyRefuses as error:
            _stick(one, "key_refuses", str(error))
            continue
        spent += used * offered.fee
        made.append(Made(one.id, one.number + 1, found, offered, used, one.frees))


def _gas(signer: Signer, one: Unsent) -> int:
    if one.frees:
        return gas.TRANSFER
    return _lines(signer.network_id, one.contract, bytes(signer.address))[one.mode].of(one.count)


def _stick(one: Unsent, reason: str, said: str = "") -> None:
    sending.stick_one(one.id, reason, said or one.said or one.reply)


@cache
def _lines(chain_id: int, contract: bytes, sender: bytes) -> dict[Mode, Line]:
    net = chain(chain_id)
    return dict(gas.measure(lambda data: net.estimate(sender, contract, data)))


@cache
def _is_there(chain_id: int, contract: bytes) -> bool:
    code = chain(chain_id).code(contract)
    if not registry.is_ours(code):
        message = f"At 0x{contract.hex()} on chain {chain_id} there is {'another contract' if code else 'no contract'}."
        raise NoContract(message)
    return True


def _check_contracts(signer: Signer) -> None:
    """Nothing is signed for a contract that is not there. Asked once by each process."""
    for address in selectors.contracts_of(signer.network_id):
        _is_there(signer.network_id, address)
