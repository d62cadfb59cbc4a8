"""What the chain says of a signer's nonces. Asked only to explain silence: what is confirmed, the logs say.

What is concluded here is concluded from final blocks alone. A nonce that came back after a reorganisation could
otherwise be used twice for the same jobs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction

from confirmations.models import Signer, Transaction
from confirmations.services.asked import ask_person
from confirmations.services.calling import call_sender
from confirmations.services.sending import rest, wake
from confirmations.states import Duty, Standing, Step
from events import log
from events.log import NewEvent
from jobs.states import PLATFORM


@dataclass(frozen=True, slots=True)
class Silent:
    """A transaction whose nonce the chain has used, and of which no log was read. `hashes`: of all its attempts."""

    id: UUID
    nonce: int
    hashes: Sequence[bytes]
    frees: Sequence[bool]


def account(signer_id: UUID, *, nonce: int, balance: int) -> None:
    """Note how the chain knows a signer; one that rests for want of funds goes on when it has some."""
    with transaction.atomic():
        with log.cursor() as cur:
            cur.execute(
                "update confirmations_signer set mined_nonce = %s, balance = %s, seen_at = clock_timestamp()"
                " where id = %s",
                (nonce, balance, signer_id),
            )
            cur.execute(
                "select max(a.gas * a.fee) from confirmations_attempt a"
                " join confirmations_transaction t on t.id = a.transaction_id"
                " where t.signer_id = %s and t.step in ('reserved', 'signed', 'sent')",
                (signer_id,),
            )
            ((needed,),) = cur.fetchall()
            cur.execute(  # the chain took their blocks back: what was seen then says nothing of what comes
                "update confirmations_transaction set silent_since = null"
                " where signer_id = %s and nonce >= %s and silent_since is not null",
                (signer_id, nonce),
            )
        if balance >= (needed or 1) and wake(signer_id, "funds", of=(Duty.NO_FUNDS,)):
            call_sender(signer_id)


def silent(signer_id: UUID, mined: int) -> list[Silent]:
    """Transactions whose nonces the chain has used, without a log that says so."""
    with log.cursor() as cur:
        cur.execute(
            "select t.id, t.nonce, array_agg(a.hash order by a.number), array_agg(a.frees order by a.number)"
            " from confirmations_transaction t join confirmations_attempt a on a.transaction_id = t.id"
            " where t.signer_id = %s and t.nonce < %s and t.step in ('reserved', 'signed', 'sent', 'stuck')"
            " group by t.id, t.nonce order by t.nonce",
            (signer_id, mined),
        )
        return [Silent(row[0], row[1], [bytes(item) for item in row[2]], row[3]) for row in cur.fetchall()]


UNMEASURED = 100
"""Transactions whose gas is asked for by one look; where more are sent between two looks, those of the newest."""
LOOKED_BACK = 1000


def unmeasured(signer_id: UUID) -> list[tuple[UUID, bytes]]:
    """Transactions that are in a block, and of which nobody knows what gas they took: their ids and hashes."""
    with log.cursor() as cur:
        cur.execute(
            "select t.id, t.tx_hash from confirmations_transaction t join confirmations_signer s on s.id = t.signer_id"
            " where s.id = %s and t.nonce >= s.next_nonce - %s and t.tx_hash is not null and t.gas_used is null"
            " order by t.nonce desc limit %s",
            (signer_id, LOOKED_BACK, UNMEASURED),
        )
        return [(row[0], bytes(row[1])) for row in cur.fetchall()]


def measured(found: Sequence[tuple[UUID, bytes, int]]) -> None:
    """Note the gas that transactions took: id, hash in a block, gas. One that has left its block meanwhile stays."""
    if not found:
        return
    with log.cursor() as cur:
        cur.execute(
            "update confirmations_transaction t set gas_used = x.gas"
            " from unnest(%b::uuid[], %b::bytea[], %b::bigint[]) as x (id, hash, gas)"
            " where t.id = x.id and t.tx_hash = x.hash",
            ([one[0] for one in found], [one[1] for one in found], [one[2] for one in found]),
        )


def stale(signer_id: UUID, seconds: float) -> bool:
    """Whether a signer has something to send (again): unsigned, unsent, or unmined for so long."""
    with log.cursor() as cur:
        cur.execute(
            "select exists (select from confirmations_transaction t left join lateral ("
            "   select * from confirmations_attempt x where x.transaction_id = t.id order by x.number desc limit 1"
            " ) a on true"
            " where t.signer_id = %s and t.step in ('reserved', 'signed', 'sent')"
            " and (t.step <> 'sent' or a.state in ('refused', 'dropped') or t.offer is not null"
            "      or a.sent_at is null or a.sent_at < (select platform_now()) - %s * interval '1 second'))",
            (signer_id, seconds),
        )
        ((found,),) = cur.fetchall()
    return bool(found)


def reverted(signer: Signer, found: Silent, *, tx_hash: bytes, block_number: int, gas_used: int) -> None:
    """The contract said no, for good: the nonce is used, and a person decides about the jobs."""
    with transaction.atomic():
        row = _end(found.id, Step.REVERTED, tx_hash, block_number, gas_used)
        if row is None:
            return
        evidence = {"transaction": "0x" + tx_hash.hex(), "block": block_number, "network": signer.network_id}
        for job_id, project_id in _jobs(found.id):
            ask_person("confirmation", job_id, "reverted", evidence, project_id)
        _put(found.id, Standing.BLOCKED, "reverted")
        log.append([NewEvent(PLATFORM, "tx.reverted", row.id, row.seq, evidence | {"jobs": row.count})])


def freed(signer: Signer, found: Silent, *, tx_hash: bytes, block_number: int, gas_used: int) -> None:
    """The nonce was used by a transfer of nothing, for good: its jobs wait for another transaction."""
    with transaction.atomic():
        row = _end(found.id, Step.FREED, tx_hash, block_number, gas_used)
        if row is None:
            return
        _put(found.id, Standing.WAITING, "")
        data = {"network": signer.network_id, "transaction": "0x" + tx_hash.hex(), "block": block_number}
        log.append([NewEvent(PLATFORM, "tx.freed", row.id, row.seq, data)])
        call_sender(signer.id)


def unexplained(signer: Signer, found: Silent, *, head: int, final: int) -> bool:
    """A nonce was used, and none of our attempts is in a block. True: for good, so the key was used elsewhere.

    `head`: of the node that says that it was used. Another one may be far behind it, and not know what used it: so it
    is for good only when the blocks up to there are final to all that are asked, and were read.
    """
    with transaction.atomic():
        row = Transaction.objects.select_for_update(of=("self",)).select_related("contract").get(id=found.id)
        if row.silent_since is None:
            row.silent_since = head
            row.save(update_fields=["silent_since"])
            return False
        if final < row.silent_since or (row.contract.active and row.contract.next_block <= row.silent_since):
            return False
        ended = _end(found.id, Step.FOREIGN, None, None, None)
        if ended is None:
            return False
        _put(found.id, Standing.WAITING, "")
        halt(signer, found.nonce)
    return True


def halt(signer: Signer, nonce: int) -> None:
    """A nonce of a signer was used by somebody else: it signs nothing more until a person has decided."""
    with transaction.atomic():
        if rest(signer.id, Duty.HALTED, "foreign_nonce"):
            evidence = {"nonce": nonce, "network": signer.network_id, "address": str(signer)}
            ask_person("signer", signer.id, "foreign_nonce", evidence)


def _end(
    tx_id: UUID, step: Step, tx_hash: bytes | None, block_number: int | None, gas_used: int | None
) -> Transaction | None:
    row = (
        Transaction.objects.select_for_update()
        .filter(id=tx_id, step__in=[Step.RESERVED, Step.SIGNED, Step.SENT, Step.STUCK])
        .first()
    )
    if row is None:
        return None
    row.step, row.tx_hash, row.block_number, row.gas_used, row.seq = step, tx_hash, block_number, gas_used, row.seq + 1
    row.save(update_fields=["step", "tx_hash", "block_number", "gas_used", "seq"])
    return row


def _jobs(tx_id: UUID) -> list[tuple[UUID, UUID]]:
    with log.cursor() as cur:
        cur.execute(
            "select id, project_id from confirmations_confirmation where transaction_id = %s and standing = 'sent'"
            " order by position",
            (tx_id,),
        )
        return cur.fetchall()


def _put(tx_id: UUID, standing: Standing, reason: str) -> None:
    with log.cursor() as cur:
        cur.execute(
            "update confirmations_confirmation set standing = %s, reason = %s,"
            " transaction_id = case when %s = 'waiting' then null else transaction_id end,"
            " position = case when %s = 'waiting' then null else position end"
            " where transaction_id = %s and standing = 'sent'",
            (standing, reason, standing, standing, tx_id),
        )
