"""The contract JobRegistry: what is called on it, and what it says.

`JobRegistry.vy` is the source, `JobRegistry.json` what the compiler made of it; a test compiles it again. Calls and
events have words of fixed length only, so both are cut and put together here: a general decoder takes fifty times as
long for each log (Solidity's ABI specification, "Contract ABI").
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any
from uuid import UUID

from eth_hash.auto import keccak

from confirmations.encoding import pairs, selector, topic, words
from confirmations.results import job_bytes, job_of, shown

MOST_AT_ONCE = 200
"""Jobs that one call of confirmMany takes: MAX_BATCH of the contract."""
WORD = 32


_CONFIRM = selector("confirm(bytes32,bytes32)")
_CONFIRM_MANY = selector("confirmMany(bytes32[],bytes32[])")
_ANCHOR = selector("anchor(bytes32,uint256)")

JOB_CONFIRMED = topic("JobConfirmed(bytes32,bytes32,address)")
ROOT_ANCHORED = topic("RootAnchored(bytes32,uint256,address)")
"""The first topics of the events."""
_NO_ADDRESS = bytes(12)
"""What stands before an address in a word."""


@cache
def compiled() -> dict[str, Any]:
    """`compiler`, `abi`, `bytecode` (0x…, what the transaction that makes it carries), `runtime_hash` (of its code)."""
    found: dict[str, Any] = json.loads(files(__name__).joinpath("JobRegistry.json").read_text())
    return found


def bytecode() -> bytes:
    """What a transaction without an address carries to make the contract."""
    return bytes.fromhex(compiled()["bytecode"].removeprefix("0x"))


def is_ours(code: bytes) -> bool:
    """Whether the code at an address (`eth_getCode`) is this contract's."""
    return shown(keccak(code)) == str(compiled()["runtime_hash"])


# ---------------------------------------------------------------------------------------------- calls
def confirm(job_id: UUID, result_hash: bytes) -> bytes:
    """The call for one job."""
    return _CONFIRM + words(job_bytes(job_id), _checked(result_hash))


def confirm_many(jobs: Sequence[tuple[UUID, bytes]]) -> bytes:
    """The call for jobs and their result hashes. Raises ValueError: none, or more than MOST_AT_ONCE."""
    if not 0 < len(jobs) <= MOST_AT_ONCE:
        message = f"confirmMany takes 1 to {MOST_AT_ONCE} jobs, not {len(jobs)}"
        raise ValueError(message)
    return pairs(_CONFIRM_MANY, [job_bytes(job_id) for job_id, _ in jobs], [_checked(result) for _, result in jobs])


def anchor(root: bytes, count: int) -> bytes:
    """The call for the Merkle root of `count` leaves."""
    return _ANCHOR + words(_checked(root), count)


def _checked(word: bytes) -> bytes:
    if len(word) != WORD:
        message = f"{len(word)} bytes are no hash"
        raise ValueError(message)
    return word


# ---------------------------------------------------------------------------------------------- events
@dataclass(frozen=True, slots=True)
class JobConfirmed:
    """A job, the hash of its result, and the address (20 bytes) of who says so. No job: the id is none of ours."""

    job_id: UUID | None
    result_hash: bytes
    sender: bytes


@dataclass(frozen=True, slots=True)
class RootAnchored:
    """A Merkle root, of how many leaves, and the address (20 bytes) of who says so."""

    root: bytes
    count: int
    sender: bytes


def sender_of(topics: Sequence[bytes], data: bytes) -> bytes | None:
    """Who made the contract say this; None: it is neither event, or has not their form."""
    if len(topics) != 3 or len(data) != WORD:  # noqa: PLR2004 - two of an event's words are indexed
        return None
    event, subject, sender = topics
    if event not in {JOB_CONFIRMED, ROOT_ANCHORED} or len(subject) != WORD or len(sender) != WORD:
        return None
    return sender[12:] if sender[:12] == _NO_ADDRESS else None


def read(topics: Sequence[bytes], data: bytes) -> JobConfirmed | RootAnchored | None:
    """What a log of the contract says; None: it is neither event, or has not their form."""
    sender = sender_of(topics, data)
    if sender is None:
        return None
    if topics[0] == JOB_CONFIRMED:
        return JobConfirmed(job_of(topics[1]), data, sender)
    return RootAnchored(topics[1], int.from_bytes(data, "big"), sender)
