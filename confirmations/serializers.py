"""Confirmations, proofs and signers as JSON. Hashes and addresses are hexadecimal after 0x; amounts are in wei."""

import datetime as dt
from typing import Any, Literal
from uuid import UUID

from django.urls import reverse
from pydantic import BaseModel, ConfigDict, Field

from confirmations.models import Confirmation, Signer
from confirmations.results import shown
from confirmations.selectors import Proof
from confirmations.states import Duty, Mode, Standing, Step


class AttemptShown(BaseModel):
    """Signed bytes at a nonce: what they offer, and what became of them."""

    number: int
    hash: str
    tip: int
    fee: int
    gas: int
    state: str
    sends: int
    said: str


class TransactionShown(BaseModel):
    """The transaction that confirms a job, perhaps with others."""

    id: UUID
    nonce: int
    signer: str
    step: Step
    jobs: int
    hash: str | None
    block_number: int | None
    attempts: list[AttemptShown]


class ConfirmationShown(BaseModel):
    """How the result of a job stands on chain. `reason`: why a person is asked, where one is."""

    id: UUID
    job_id: UUID
    kind: str
    mode: Mode
    standing: Standing
    network: int
    contract: str
    result_hash: str
    asked_at: dt.datetime
    confirmed_at: dt.datetime | None
    block_number: int | None
    transaction_hash: str | None
    transaction: TransactionShown | None
    reason: str
    links: dict[str, str]


class Verdict(BaseModel):
    """What a proof proves: `final`, `provisional` (its block may still go) or `waiting` (nothing yet)."""

    code: Literal["final", "provisional", "waiting"]
    detail: str


class ProofShown(BaseModel):
    """Everything that a third party needs to verify a job's result with a node of the network alone.

    `result_hash` is the Keccak-256 of `preimage`. Modes single and batch: the transaction has the event
    `JobConfirmed(job, result_hash, sender)`. Mode anchor: it has `RootAnchored(root, leaves, sender)`, and `path` leads
    from the leaf, keccak(keccak(job + result_hash)), to the root; a pair is hashed in the order of its values.
    """

    job_id: UUID
    mode: Mode
    network: int
    contract: str
    signer: str
    job: str
    preimage: str
    result_hash: str
    transaction: str | None
    block_number: int | None
    block_hash: str | None
    root: str | None
    leaves: int | None
    position: int | None
    path: list[str]
    verdict: Verdict


class SignerShown(BaseModel):
    """A signer. `open`: nonces given away and not final; `oldest_open_at`: since when the first of them waits."""

    id: UUID
    network: int
    address: str
    duty: Duty
    reason: str
    next_nonce: int
    mined_nonce: int
    open: int
    oldest_open_at: dt.datetime | None
    balance: str | None
    seen_at: dt.datetime | None
    links: dict[str, str]


class DutyAsk(BaseModel):
    """Why a signer is paused, or resumed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": {"reason": "Its key is being replaced."}})

    reason: str = Field(min_length=1, max_length=500)


def show_confirmation(row: Confirmation, attempts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """A `ConfirmationShown`."""
    tx = row.transaction
    return {
        "id": row.id,
        "job_id": row.id,
        "kind": row.kind,
        "mode": row.mode,
        "standing": row.standing,
        "network": row.contract.network_id,
        "contract": str(row.contract),
        "result_hash": shown(row.result_hash),
        "asked_at": row.asked_at,
        "confirmed_at": row.confirmed_at,
        "block_number": row.block_number,
        "transaction_hash": None if row.tx_hash is None else shown(row.tx_hash),
        "transaction": None
        if tx is None
        else {
            "id": tx.id,
            "nonce": tx.nonce,
            "signer": str(row.signer),
            "step": tx.step,
            "jobs": tx.count,
            "hash": None if tx.tx_hash is None else shown(tx.tx_hash),
            "block_number": tx.block_number,
            "attempts": attempts or [],
        },
        "reason": row.reason,
        "links": {
            "self": reverse("confirmations:confirmation", args=[row.id]),
            "job": reverse("jobs:job", args=[row.id]),
            "proof": reverse("confirmations:proof", args=[row.id]),
        },
    }


def show_proof(proof: Proof) -> dict[str, Any]:
    """A `ProofShown`."""
    return {
        "job_id": proof.job_id,
        "mode": proof.mode,
        "network": proof.network,
        "contract": proof.contract,
        "signer": proof.signer,
        "job": shown(proof.job),
        "preimage": proof.preimage,
        "result_hash": shown(proof.result_hash),
        "transaction": None if proof.transaction is None else shown(proof.transaction),
        "block_number": proof.block_number,
        "block_hash": None if proof.block_hash is None else shown(proof.block_hash),
        "root": None if proof.root is None else shown(proof.root),
        "leaves": proof.leaves,
        "position": proof.position,
        "path": [shown(item) for item in proof.path],
        "verdict": {"code": proof.verdict, "detail": _VERDICTS[proof.verdict]},
    }


_VERDICTS = {
    "final": "It stands in a block that stays.",
    "provisional": "It stands in a block that may still go.",
    "waiting": "It stands in no block yet.",
}


def show_signer(row: Signer, number: int, oldest: dt.datetime | None) -> dict[str, Any]:
    """A `SignerShown`."""
    address = reverse("confirmations:signer", args=[row.id])
    return {
        "id": row.id,
        "network": row.network_id,
        "address": str(row),
        "duty": row.duty,
        "reason": row.reason,
        "next_nonce": row.next_nonce,
        "mined_nonce": row.mined_nonce,
        "open": number,
        "oldest_open_at": oldest,
        "balance": None if row.balance is None else str(int(row.balance)),
        "seen_at": row.seen_at,
        "links": {"self": address, "pause": f"{address}/pause", "resume": f"{address}/resume"},
    }
