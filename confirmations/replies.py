"""What a node means when it refuses a transaction. Pure: a table, read from above; the first line that fits counts.

Nodes agree on neither codes nor words, so the words decide (lower-cased, anywhere in the message) and the code only
helps. The words are those of geth 1.17 (core/txpool, core/types), anvil 1.7, and of other clients where they differ.
What fits no line is `UNKNOWN`: the same bytes are sent again, which is always safe, and never a new nonce.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Reply(StrEnum):
    """What to do about a refusal."""

    ACCEPTED = "accepted"  # it has the transaction already: as good as sent
    NONCE_TOO_LOW = "nonce_too_low"  # the nonce is mined: by us, or by somebody else who has the key
    NEEDS_BUMP = "needs_bump"  # a new attempt at the same nonce with higher fees
    REBUILD = "rebuild"  # nothing has left the node: other gas or fees at the same nonce, a few times
    FUNDS = "funds"  # the signer waits until it has been paid
    BACKPRESSURE = "backpressure"  # the same bytes again, later; nothing new meanwhile
    NONCE_GAP = "nonce_gap"  # the lower nonces first
    FATAL = "fatal"  # it can never be mined as it is: a person decides
    REVERTED = "reverted"  # the contract says no: a person decides
    UNKNOWN = "unknown"  # the same bytes again


@dataclass(frozen=True, slots=True)
class _Line:
    reply: Reply
    words: tuple[str, ...]


_TABLE = (
    _Line(
        Reply.ACCEPTED,
        (
            "already known",
            "already imported",
            "known transaction",
            "alreadyknown",
            "already exists in the pool",
            "existing txn with same hash",
            "ownnoncealreadyused",
        ),
    ),
    _Line(
        Reply.NEEDS_BUMP,
        (
            "replacement transaction underpriced",
            "transaction underpriced",
            "gas price below minimum",
            "gas price below configured minimum",
            "gas price below current base fee",
            "underpriced",
            "max fee per gas less than block base fee",
            "fee too low",
            "feetoolow",
            "could not replace existing tx",
        ),
    ),
    _Line(
        Reply.NONCE_GAP,
        ("nonce too high", "noncegap", "nonce gap", "gapped-nonce", "gapped nonce"),
    ),
    _Line(Reply.NONCE_TOO_LOW, ("nonce too low", "oldnonce", "nonce is too low", "invalid nonce; expected")),
    _Line(
        Reply.FATAL,
        (
            "exceeds block gas limit",
            "gaslimitexceeded",
            "transaction fee cap exceeded",
            "wrong chainid",
            "gas limit too high",
            "gas limit is too high",
            "tx.gas_limit > env.block.gas_limit",
            "intrinsic gas too high",
            "exceeds the configured cap",
            "oversized data",
            "invalid sender",
            "invalid chain id",
            "chain id mismatch",
            "incorrect chain",
            "transaction type not supported",
            "typed transaction too short",
            "failed to decode",
            "rlp:",
            "max initcode size",
            "sender not an eoa",
            "nonce has max value",
        ),
    ),
    _Line(
        Reply.REBUILD,
        (
            "intrinsic gas too low",
            "intrinsic gas exceeds gas limit",
            "intrinsicgas",
            "insufficient gas for floor data gas cost",
            "max priority fee per gas higher than max fee per gas",
            "out of gas",
        ),
    ),
    _Line(
        Reply.FUNDS,
        (
            "insufficient funds",
            "insufficientfunds",
            "insufficient balance",
            "balance too low",
            "exceeds account balance",
        ),
    ),
    _Line(
        Reply.BACKPRESSURE,
        (
            "txpool is full",
            "sub-pool is full",
            "tx pool full",
            "request limit",
            "transaction pool is full",
            "account limit exceeded",
            "in-flight transaction limit",
            "too many requests",
            "rate limit",
            "limit exceeded",
            "capacity",
            "compute units",
            "throughput",
        ),
    ),
    _Line(Reply.REVERTED, ("execution reverted",)),
)

# Words begin where a word begins: an "unknown transaction" is none that is known.
_PATTERNS = [
    (line.reply, re.compile("|".join(rf"(?<![a-z]){re.escape(words)}" for words in line.words))) for line in _TABLE
]
_REVERTED_CODE = 3
_LIMITED_CODES = frozenset({-32005, 429})
_UNDECODABLE_CODE = -32602


def classify(code: int | None, message: str) -> Reply:
    """What a node's error means. `code`: that of JSON-RPC, or the status of HTTP; None: it gave none."""
    said = message.lower()
    for reply, pattern in _PATTERNS:
        if pattern.search(said):
            return reply
    if code == _REVERTED_CODE:
        return Reply.REVERTED
    if code in _LIMITED_CODES:
        return Reply.BACKPRESSURE
    if code == _UNDECODABLE_CODE:
        return Reply.FATAL
    return Reply.UNKNOWN
