"""What is asked of the tables of confirmations."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from confirmations.models import Confirmation, Contract, Signer
from confirmations.states import UNMINED, Duty, Mode, Standing, Step
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
