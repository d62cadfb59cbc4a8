"""What is asked of the tables of confirmations."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from confirmations import merkle
from confirmations.errors import ConfirmationNotFound
from confirmations.models import Attempt, Confirmation, Contract, Signer
from confirmations.results import job_bytes, preimage, shown
from confirmations.states import OPEN, UNMINED, Duty, Mode, Standing, Step
from events import log
from jobs.models import Job
from jobs.states import PLATFORM, Status

SEND = "confirmation.send"
CAPTURE = "confirmation.capture"
VERIFY = "confirmation.verify"
"""The kinds that are called for by name, for whoever calls stands below them."""


def default_contract() -> Contract | None:
    """Where results go when nobody says where."""
    return (
        Contract.objects.select_related("network")
        .filter(active=True, network__default=True)
        .order_by("deploy_block", "id")
        .last()
    )


def waiting_by_signer(signers: Sequence[UUID]) -> dict[UUID, int]:
    """How many confirmations wait for a transaction of each of these signers."""
    with log.cursor() as cur:
        cur.execute(
            "select signer_id, count(*) from confirmations_confirmation"
            " where standing = 'waiting' and signer_id = any(%s) group by signer_id",
            (list(signers),),
        )
        return dict(cur.fetchall())


@dataclass(frozen=True, slots=True)
class Heap:
    """Confirmations that may go in one transaction: how many wait, and since when the first of them does."""

    mode: Mode
    contract_id: UUID
    number: int
    since: dt.datetime


def heaps(signer_id: UUID) -> list[Heap]:
    """What waits for a signer, the longest waiting first."""
    with log.cursor() as cur:
        cur.execute(
            "select mode, contract_id, count(*), min(asked_at) from confirmations_confirmation"
            " where standing = 'waiting' and signer_id = %s group by mode, contract_id order by min(asked_at), mode",
            (signer_id,),
        )
        return [Heap(Mode(row[0]), *row[1:]) for row in cur.fetchall()]


def waiting(signer_id: UUID, heap: Heap, most: int) -> list[tuple[UUID, UUID, bytes]]:
    """The first confirmations of a heap, locked: id, project, result hash."""
    with log.cursor() as cur:
        cur.execute(
            "select id, project_id, result_hash from confirmations_confirmation"
            " where standing = 'waiting' and signer_id = %s and mode = %s and contract_id = %s"
            " order by id limit %s for update",
            (signer_id, heap.mode, heap.contract_id, most),
        )
        return cur.fetchall()


def unmined(signer_id: UUID) -> int:
    """How many nonces of a signer are given away and not used yet, as far as is known."""
    with log.cursor() as cur:
        cur.execute(
            "select count(*) from confirmations_transaction where signer_id = %s and step = any(%s)",
            (signer_id, list(UNMINED)),
        )
        ((number,),) = cur.fetchall()
    assert isinstance(number, int)  # noqa: S101 - count
    return number


def lowest_unmined(signer_id: UUID) -> int | None:
    """The first nonce of a signer that is given away and not used yet, as far as is known."""
    with log.cursor() as cur:
        cur.execute(
            "select min(nonce) from confirmations_transaction where signer_id = %s and step = any(%s)",
            (signer_id, list(UNMINED)),
        )
        ((nonce,),) = cur.fetchall()
    return None if nonce is None else int(nonce)


def signer(signer_id: UUID) -> Signer:
    """A signer with its network. Raises `Signer.DoesNotExist`."""
    return Signer.objects.select_related("network").get(id=signer_id)


def signers_of(network_id: int) -> dict[bytes, UUID]:
    """The signers of a network by their addresses."""
    return {bytes(one.address): one.id for one in Signer.objects.filter(network_id=network_id)}


def sender_waits(signer_id: UUID) -> bool:
    """Whether a job that sends for this signer waits already."""
    lane = f"{SEND}:{signer_id}"
    return Job.objects.filter(project_id=PLATFORM, lane=lane, status=Status.QUEUED).exists()


def contracts_of(network_id: int) -> list[bytes]:
    """The addresses of the active contracts of a network."""
    found = Contract.objects.filter(network_id=network_id, active=True).values_list("address", flat=True)
    return [bytes(address) for address in found]


def spent_today(signer_id: UUID) -> int:
    """Wei that a signer may have spent since midnight (UTC): what its nonces of today offer at most."""
    with log.cursor() as cur:
        cur.execute(
            "select coalesce(sum(most), 0) from ("
            " select max(a.gas::numeric * a.fee) as most from confirmations_attempt a"
            " join confirmations_transaction t on t.id = a.transaction_id"
            " where t.signer_id = %s and a.signed_at >= date_trunc('day', (select platform_now()), 'UTC')"
            " group by t.id) of_nonces",
            (signer_id,),
        )
        ((spent,),) = cur.fetchall()
    return int(spent)


def block_hash(contract_id: UUID, number: int) -> bytes | None:
    """The hash that a block had when it was read, if it is remembered."""
    return block_hashes(contract_id, number + 1, 1).get(number)


def block_hashes(contract_id: UUID, below: int, most: int) -> dict[int, bytes]:
    """The hashes of the highest remembered blocks below a number."""
    with log.cursor() as cur:
        cur.execute(
            "select number, hash from confirmations_block where contract_id = %s and number < %s"
            " order by number desc limit %s",
            (contract_id, below, most),
        )
        return {number: bytes(found) for number, found in cur.fetchall()}


def why(project_id: UUID, job_id: UUID) -> tuple[str, str] | None:
    """Why a job stands confirming: a stable code and a sentence."""
    found = (
        Confirmation.objects.select_related("transaction", "signer").filter(id=job_id, project_id=project_id).first()
    )
    if found is None:
        return "confirmation_asked_for", "Its confirmation is about to be written."
    if found.standing == Standing.BLOCKED:
        return "confirmation_blocked", f"Its confirmation needs a person: {found.reason}."
    if found.transaction is None:
        if found.signer.duty != Duty.ACTIVE:
            return "signer_rests", f"Its signer signs nothing for now: {found.signer.reason or found.signer.duty}."
        return "waits_for_transaction", "It waits for a transaction."
    step = Step(found.transaction.step)
    if step is Step.INCLUDED:
        return "waits_for_finality", f"It stands in block {found.transaction.block_number}, which may still go."
    return f"transaction_{step}", f"Its transaction (nonce {found.transaction.nonce}) is {step}."


def confirmation(project_id: UUID, confirmation_id: UUID) -> Confirmation:
    """A confirmation of a project. Raises `ConfirmationNotFound`."""
    found = (
        Confirmation.objects.select_related("contract", "signer", "transaction")
        .filter(id=confirmation_id, project_id=project_id)
        .first()
    )
    if found is None:
        raise ConfirmationNotFound
    return found


def attempts(transaction_id: UUID) -> list[dict[str, Any]]:
    """The attempts at a transaction, without their bytes."""
    fields = ("number", "hash", "tip", "fee", "gas", "state", "sends", "said")
    rows = Attempt.objects.filter(transaction_id=transaction_id).order_by("number").values(*fields)
    return [row | {"hash": shown(row["hash"])} for row in rows]


def open_nonces(signers: Sequence[UUID]) -> dict[UUID, tuple[int, dt.datetime | None]]:
    """How many nonces of each signer are given away and not final, and since when the first of them is."""
    with log.cursor() as cur:
        cur.execute(
            "select signer_id, count(*), min(created_at) from confirmations_transaction"
            " where step = any(%s) and signer_id = any(%s) group by signer_id",
            (list(OPEN), list(signers)),
        )
        return {row[0]: (row[1], row[2]) for row in cur.fetchall()}


@dataclass(frozen=True, slots=True)
class Proof:
    """What proves a result. `path`: hashes from the leaf to the root; none where the job has an event of its own."""

    job_id: UUID
    mode: Mode
    network: int
    contract: str
    signer: str
    job: bytes
    preimage: str
    result_hash: bytes
    transaction: bytes | None
    block_number: int | None
    block_hash: bytes | None
    root: bytes | None
    leaves: int | None
    position: int | None
    path: Sequence[bytes]
    verdict: str


_PROOF = """
select c.mode, k.network_id, k.address, s.address, c.result_hash, j.kind, j.payload::text,
       coalesce(j.output, '{}')::text, c.standing, t.tx_hash, t.block_number, t.block_hash, a.root, a.leaves,
       c.position, t.id, c.tx_hash, c.block_number
from confirmations_confirmation c
join confirmations_contract k on k.id = c.contract_id
join confirmations_signer s on s.id = c.signer_id
join jobs_job j on j.project_id = c.project_id and j.id = c.id
left join confirmations_transaction t on t.id = c.transaction_id
left join confirmations_anchor a on a.transaction_id = t.id
where c.id = %(id)s and c.project_id = %(project_id)s
"""
_NODES = """
select substring(a.nodes from w * 32 + 1 for 32)
from confirmations_anchor a
cross join unnest(%(words)b::int[]) with ordinality x (w, n)
where a.transaction_id = %(tx)s
order by x.n
"""


def proof(project_id: UUID, job_id: UUID) -> Proof:
    """The proof of a job's result. Raises `ConfirmationNotFound`: it has no confirmation (yet)."""
    with log.cursor() as cur:
        cur.execute(_PROOF, {"id": job_id, "project_id": project_id}, prepare=True)
        row = cur.fetchone()
        if row is None:
            raise ConfirmationNotFound
        mode, network, contract, sender, result, kind, payload, output, standing = row[:9]
        tx_hash, block, block_hash, root, leaves, position, tx_id, own_hash, own_block = row[9:]
        path: list[bytes] = []
        if root is not None and position is not None:
            cur.execute(_NODES, {"tx": tx_id, "words": merkle.path(leaves, position)}, prepare=True)
            path = [bytes(found[0]) for found in cur.fetchall()]
            start = merkle.leaf(job_bytes(job_id), bytes(result))
            assert merkle.verify(bytes(root), start, path)  # noqa: S101 - what leaves here proves what it says
    confirmed = standing == Standing.CONFIRMED
    if confirmed and own_hash is not None and own_hash != tx_hash:
        tx_hash, block, block_hash = own_hash, own_block, None  # confirmed by another transaction than its own
    return Proof(
        job_id=job_id,
        mode=Mode(mode),
        network=network,
        contract=shown(contract),
        signer=shown(sender),
        job=job_bytes(job_id),
        preimage=preimage(job_id=job_id, kind=kind, payload=payload, output=output).decode(),
        result_hash=bytes(result),
        transaction=tx_hash,
        block_number=block,
        block_hash=block_hash,
        root=root,
        leaves=leaves,
        position=position,
        path=path,
        verdict="final" if confirmed else "provisional" if tx_hash is not None else "waiting",
    )
