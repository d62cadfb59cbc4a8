"""The way of a transaction up to a node: its nonce, its bytes, and what the node said. Each a commit of its own.

    reserve   nonce, call and jobs, under the lock of the signer's row
    signed    bytes and hash of an attempt, before the first of them leaves
    answered  what the node said of it

Whatever dies in between is found by its step: what is `reserved` is signed at the same nonce, what is `signed` or
`sent` leaves again byte by byte. So a nonce has no second content unless an attempt replaces another on purpose, of
which the chain takes one.
"""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from django.db import transaction
from uuid_utils.compat import uuid7

from confirmations import merkle, registry, selectors
from confirmations.encoding import Signed
from confirmations.fees import Fees
from confirmations.models import Anchor, Network, Signer, Transaction
from confirmations.replies import Reply
from confirmations.results import job_bytes, shown
from confirmations.selectors import Heap
from confirmations.services.asked import ask_person
from confirmations.services.calling import call_reader
from confirmations.services.capturing import unread
from confirmations.states import Duty, Mode, Step, Try
from events import log
from events.log import NewEvent
from jobs import store
from jobs.states import PLATFORM

AGAIN_SECONDS = 30.0
"""A transaction that a node has taken and nobody has mined for so long is handed to it once more."""
MOST_REBUILT = 3
"""Attempts at one nonce that no node takes for their gas or fees; then a person is asked."""

Waiting = tuple[UUID, UUID, bytes]


# ---------------------------------------------------------------------------------------------- nonces
def reserve(signer_id: UUID) -> int:
    """Give nonces to what is ripe, as many as the signer may have in flight. Returns how many.

    Ripe: a heap that fills a transaction, or whose first has waited for as long as the network says.
    """
    with transaction.atomic():
        signer = Signer.objects.select_for_update(of=("self",)).select_related("network").get(id=signer_id)
        if signer.duty != Duty.ACTIVE:
            return 0
        room = signer.network.in_flight - selectors.unmined(signer_id)
        made = 0
        now = store.now()
        for heap in selectors.heaps(signer_id):
            made += _reserve_heap(signer, heap, room - made, now)
            if made >= room:
                break
        if made:
            signer.save(update_fields=["next_nonce"])
    return made


def room(signer_id: UUID) -> int:
    """How many nonces a signer may give away now."""
    return selectors.signer(signer_id).network.in_flight - selectors.unmined(signer_id)


def ripe_at(signer_id: UUID) -> dt.datetime | None:
    """When the next heap of a signer is ripe, if nothing comes before; None: nothing waits."""
    network = selectors.signer(signer_id).network
    return min((heap.since + patience(network, heap.mode) for heap in selectors.heaps(signer_id)), default=None)


def patience(network: Network, mode: Mode) -> dt.timedelta:
    """How long a confirmation waits for others to share its transaction."""
    seconds = {Mode.SINGLE: 0.0, Mode.BATCH: network.batch_seconds, Mode.ANCHOR: network.anchor_seconds}
    return dt.timedelta(seconds=seconds[mode])


def most_of(network: Network, mode: Mode) -> int:
    """How many confirmations one transaction takes."""
    return {Mode.SINGLE: 1, Mode.BATCH: network.batch_size, Mode.ANCHOR: network.anchor_size}[mode]


def _reserve_heap(signer: Signer, heap: Heap, room: int, now: dt.datetime) -> int:
    most = most_of(signer.network, heap.mode)
    late = heap.since + patience(signer.network, heap.mode) <= now
    full, rest = divmod(heap.number, most)
    wanted = min(room, full + (1 if rest and late else 0))
    if wanted <= 0:
        return 0
    found = selectors.waiting(signer.id, heap, wanted * most)
    parts = [found[first : first + most] for first in range(0, len(found), most)]
    rows = [_transaction(signer, heap, part, number) for number, part in enumerate(parts)]
    Transaction.objects.bulk_create(rows)
    if heap.mode is Mode.ANCHOR:
        _keep_trees(rows, parts)
    _assign(rows, parts)
    signer.next_nonce += len(rows)
    return len(rows)


def _transaction(signer: Signer, heap: Heap, part: Sequence[Waiting], number: int) -> Transaction:
    jobs = [(job_id, result) for job_id, _, result in part]
    if heap.mode is Mode.SINGLE:
        data = registry.confirm(*jobs[0])
    elif heap.mode is Mode.BATCH:
        data = registry.confirm_many(jobs)
    else:
        data = registry.anchor(_tree(part).root, len(part))
    return Transaction(
        id=uuid7(),
        signer_id=signer.id,
        contract_id=heap.contract_id,
        nonce=signer.next_nonce + number,
        mode=heap.mode,
        data=data,
        count=len(part),
    )


def _tree(part: Sequence[Waiting]) -> merkle.Tree:
    return merkle.tree([merkle.leaf(job_bytes(job_id), result) for job_id, _, result in part])


def _keep_trees(rows: Sequence[Transaction], parts: Sequence[Sequence[Waiting]]) -> None:
    trees = [_tree(part) for part in parts]
    Anchor.objects.bulk_create(
        Anchor(transaction=row, root=tree.root, leaves=tree.leaves, nodes=tree.nodes)
        for row, tree in zip(rows, trees, strict=True)
    )


def _assign(rows: Sequence[Transaction], parts: Sequence[Sequence[Waiting]]) -> None:
    placed = [
        (job_id, row.id, position)
        for row, part in zip(rows, parts, strict=True)
        for position, (job_id, _, _) in enumerate(part)
    ]
    with log.cursor() as cur:
        cur.execute(
            "update confirmations_confirmation c set standing = 'sent', transaction_id = x.tx, position = x.position"
            " from unnest(%b::uuid[], %b::uuid[], %b::int[]) as x (id, tx, position) where c.id = x.id",
            ([row[0] for row in placed], [row[1] for row in placed], [row[2] for row in placed]),
            prepare=True,
        )


# ---------------------------------------------------------------------------------------------- bytes
@dataclass(frozen=True, slots=True)
class Unsent:
    """A transaction with what has to be done about it: it is signed (again), or its last bytes leave (again)."""

    id: UUID
    nonce: int
    step: Step
    data: bytes
    contract: bytes
    mode: Mode
    count: int
    attempt_id: int | None  # the last one
    number: int
    raw: bytes | None
    fees: Fees | None
    gas: int | None
    frees: bool  # the next attempt is to use up the nonce ...
    freed: bool  # ... and the last one does
    state: Try | None
    reply: str
    said: str  # by the node, of the last one
    refused: int  # attempts that no node took
    waited: float  # seconds since its last attempt was first taken
    offer: Fees | None  # what a person wants the next attempt to offer

    @property
    def wants_bytes(self) -> bool:
        """Whether nothing that is signed can be sent."""
        return (
            self.raw is None
            or self.frees != self.freed
            or self.state in {Try.REFUSED, Try.DROPPED}
            or self.offer is not None
        )


_UNSENT = """
select t.id, t.nonce, t.step, t.data, c.address, t.mode, t.count, a.id, coalesce(a.number, 0), a.raw, a.tip, a.fee,
       a.gas, t.frees, a.state, coalesce(a.reply, ''),
       (select count(*) from confirmations_attempt r where r.transaction_id = t.id and r.state = 'refused'),
       coalesce(extract(epoch from (select platform_now()) - coalesce(a.first_sent_at, a.signed_at)), 0),
       (t.offer ->> 'tip')::bigint, (t.offer ->> 'fee')::bigint, coalesce(a.frees, false), coalesce(a.said, '')
from confirmations_transaction t
join confirmations_contract c on c.id = t.contract_id
left join lateral (
    select * from confirmations_attempt x where x.transaction_id = t.id order by x.number desc limit 1
) a on true
where t.signer_id = %(signer)s
  and t.step in ('reserved', 'signed', 'sent')
  and (t.step <> 'sent' or a.state in ('refused', 'dropped') or t.offer is not null
       or a.sent_at is null or a.sent_at < (select platform_now()) - %(again)s * interval '1 second')
order by t.nonce
"""


def unsent(signer_id: UUID, *, again: float = AGAIN_SECONDS) -> list[Unsent]:
    """What of a signer has to be signed or sent, in the order of nonces."""
    with log.cursor() as cur:
        cur.execute(_UNSENT, {"signer": signer_id, "again": again}, prepare=True)
        return [_unsent(row) for row in cur.fetchall()]


def _unsent(row: tuple[Any, ...]) -> Unsent:
    fees = None if row[10] is None else Fees(row[10], row[11])
    return Unsent(
        id=row[0], nonce=row[1], step=Step(row[2]), data=bytes(row[3]), contract=bytes(row[4]), mode=Mode(row[5]),
        count=row[6], attempt_id=row[7], number=row[8], raw=None if row[9] is None else bytes(row[9]), fees=fees,
        gas=row[12], frees=row[13], state=None if row[14] is None else Try(row[14]), reply=row[15], refused=row[16],
        waited=float(row[17]), offer=None if row[18] is None else Fees(row[18], row[19]),
        freed=row[20], said=row[21],
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Made:
    """A new attempt, signed."""

    transaction_id: UUID
    number: int
    signed: Signed
    fees: Fees
    gas: int
    frees: bool = False


def signed(made: Sequence[Made]) -> None:
    """Keep the bytes of attempts, before any of them leaves."""
    if not made:
        return
    with transaction.atomic(), log.cursor() as cur:
        cur.execute(
            "insert into confirmations_attempt"
            " (transaction_id, number, raw, hash, tip, fee, gas, frees, state, sends, signed_at, reply, said)"
            " select x.tx, x.number, x.raw, x.hash, x.tip, x.fee, x.gas, x.frees, 'signed', 0,"
            "        (select platform_now()), '', ''"
            " from unnest(%b::uuid[], %b::smallint[], %b::bytea[], %b::bytea[], %b::bigint[], %b::bigint[],"
            "             %b::bigint[], %b::bool[]) as x (tx, number, raw, hash, tip, fee, gas, frees)",
            (
                [one.transaction_id for one in made],
                [one.number for one in made],
                [one.signed.raw for one in made],
                [one.signed.hash for one in made],
                [one.fees.tip for one in made],
                [one.fees.fee for one in made],
                [one.gas for one in made],
                [one.frees for one in made],
            ),
        )
        cur.execute(
            "update confirmations_transaction set offer = null,"
            " step = case when step = 'reserved' then 'signed' else step end where id = any(%s)",
            ([one.transaction_id for one in made],),
        )


def with_attempt(one: Unsent, made: Made) -> Unsent:
    """The same with its new attempt."""
    return replace(
        one,
        number=made.number,
        raw=made.signed.raw,
        fees=made.fees,
        gas=made.gas,
        state=Try.SIGNED,
        step=Step.SIGNED,
        offer=None,
        freed=made.frees,
        reply="",
        said="",
    )


# ---------------------------------------------------------------------------------------------- answers
@dataclass(frozen=True, slots=True)
class Answer:
    """What came of handing an attempt to a node. `said`: in its own words."""

    transaction_id: UUID
    number: int
    reply: Reply
    said: str = ""


TAKEN = frozenset({Reply.ACCEPTED, Reply.NONCE_TOO_LOW})
"""It is with a node, or mined. (By whom a nonce was used that is too low, `watching` finds out.)"""
NEW_BYTES = frozenset({Reply.NEEDS_BUMP, Reply.REBUILD})
"""These bytes are never taken; others at the same nonce may be."""
FOR_A_PERSON = frozenset({Reply.FATAL, Reply.REVERTED})

_ANSWERED = """
with said as (
    update confirmations_attempt a
    set sends = a.sends + 1,
        sent_at = (select platform_now()),
        first_sent_at = case when x.taken then coalesce(a.first_sent_at, (select platform_now()))
                        else a.first_sent_at end,
        reply = x.reply,
        said = x.said,
        state = case when x.taken then 'sent' when x.refused then 'refused' else a.state end
    from unnest(%(tx)b::uuid[], %(number)b::smallint[], %(reply)b::text[], %(said)b::text[], %(taken)b::bool[],
                %(refused)b::bool[]) as x (tx, number, reply, said, taken, refused)
    where a.transaction_id = x.tx
      and a.number = x.number
    returning a.transaction_id, a.hash, a.fee, a.tip, x.taken
)
update confirmations_transaction t
set step = 'sent', sent_at = coalesce(t.sent_at, (select platform_now())), seq = t.seq + 1
from said
where t.id = said.transaction_id
  and said.taken
  and t.step = 'signed'
returning t.id, t.seq, t.mode, t.count, t.nonce, t.signer_id, said.hash, said.tip, said.fee, t.contract_id
"""


def answered(signer: Signer, answers: Sequence[Answer]) -> None:
    """Keep what a node said, publish `tx.submitted` for what it took, and ask a person about what it never will."""
    with transaction.atomic():
        with log.cursor() as cur:
            cur.execute(
                _ANSWERED,
                {
                    "tx": [one.transaction_id for one in answers],
                    "number": [one.number for one in answers],
                    "reply": [one.reply for one in answers],
                    "said": [one.said[:500].replace("\0", "") for one in answers],
                    "taken": [one.reply in TAKEN for one in answers],
                    "refused": [one.reply in NEW_BYTES | FOR_A_PERSON for one in answers],
                },
                prepare=True,
            )
            rows = cur.fetchall()
        if rows:
            log.append([_submitted(signer, row) for row in rows])
            for contract_id, turn in unread():
                call_reader(contract_id, turn)
        for one in answers:
            if one.reply in FOR_A_PERSON:
                stick(one.transaction_id, f"refused_{one.reply}", one.said)
        if any(one.reply is Reply.FUNDS for one in answers):
            rest(signer.id, Duty.NO_FUNDS, "insufficient_funds")


def _submitted(signer: Signer, row: tuple[Any, ...]) -> NewEvent:
    tx_id, seq, mode, count, nonce, signer_id, tx_hash, tip, fee, contract_id = row
    data = {
        "network": signer.network_id,
        "contract": str(contract_id),
        "signer": str(signer_id),
        "nonce": nonce,
        "mode": mode,
        "jobs": count,
        "transaction": shown(tx_hash),
        "tip": tip,
        "fee": fee,
    }
    return NewEvent(PLATFORM, "tx.submitted", tx_id, seq, data)


# ---------------------------------------------------------------------------------------------- trouble
def stick(transaction_id: UUID, reason: str, evidence: str) -> None:
    """A machine knows no further with a transaction: a person is asked, and its nonce waits. In a transaction."""
    found = (
        Transaction.objects.select_for_update()
        .filter(id=transaction_id, step__in=[Step.RESERVED, Step.SIGNED, Step.SENT])
        .first()
    )
    if found is None:
        return
    found.step, found.reason, found.seq = Step.STUCK, reason, found.seq + 1
    found.save(update_fields=["step", "reason", "seq"])
    ask_person("transaction", found.id, reason, {"nonce": found.nonce, "jobs": found.count, "said": evidence})
    log.append([NewEvent(PLATFORM, "tx.stuck", found.id, found.seq, {"reason": reason, "nonce": found.nonce})])


def stick_one(transaction_id: UUID, reason: str, evidence: str) -> None:
    """As `stick`, in a transaction of its own."""
    with transaction.atomic():
        stick(transaction_id, reason, evidence)


def rest(signer_id: UUID, duty: Duty, reason: str) -> bool:
    """Have a signer sign nothing until its duty is another one again. In a transaction. False: it rests already."""
    found = Signer.objects.select_for_update().get(id=signer_id)
    if found.duty != Duty.ACTIVE:
        return False
    found.duty, found.reason, found.seq = duty, reason, found.seq + 1
    found.save(update_fields=["duty", "reason", "seq"])
    log.append([NewEvent(PLATFORM, "signer.paused", found.id, found.seq, {"duty": duty, "reason": reason})])
    return True


def wake(signer_id: UUID, reason: str, *, of: Sequence[Duty] = tuple(Duty)) -> bool:
    """Let a signer sign again that rests for one of these reasons. In a transaction. False: it does not."""
    found = Signer.objects.select_for_update().get(id=signer_id)
    if found.duty == Duty.ACTIVE or found.duty not in of:
        return False
    found.duty, found.reason, found.seq = Duty.ACTIVE, "", found.seq + 1
    found.save(update_fields=["duty", "reason", "seq"])
    log.append([NewEvent(PLATFORM, "signer.resumed", found.id, found.seq, {"reason": reason})])
    return True
