"""How confirmations, transactions, their attempts and signers stand."""

from enum import StrEnum


class Mode(StrEnum):
    """How the result of a job goes on chain."""

    SINGLE = "single"  # a transaction of its own
    BATCH = "batch"  # an event of its own, in a transaction with others
    ANCHOR = "anchor"  # a leaf of a Merkle tree, of which the root goes on chain


class Standing(StrEnum):
    """How the confirmation of a job stands."""

    WAITING = "waiting"  # for a transaction
    SENT = "sent"  # it has a transaction, which is on its way or in a block that may still go
    CONFIRMED = "confirmed"  # its event is final (end, unless the chain breaks its word)
    BLOCKED = "blocked"  # a person is asked
    SKIPPED = "skipped"  # a person let the job end without it (end)


class Step(StrEnum):
    """How a transaction stands: one nonce of one signer, however many attempts there are at it."""

    RESERVED = "reserved"  # nonce, call and jobs are known; nothing is signed
    SIGNED = "signed"  # bytes and hash are known; they may have left
    SENT = "sent"  # a node has taken it
    INCLUDED = "included"  # its events stand in a block
    FINAL = "final"  # that block stays (end, unless the chain breaks its word)
    STUCK = "stuck"  # a person is asked; its nonce holds those behind it
    REVERTED = "reverted"  # mined, and the contract said no (end)
    FREED = "freed"  # mined as a transfer of nothing to oneself, so that the nonce is no hole (end)
    FOREIGN = "foreign"  # the nonce was used by somebody else who has the key (end)


UNMINED = (Step.RESERVED, Step.SIGNED, Step.SENT, Step.STUCK)
"""Steps of transactions whose nonce is not used yet, as far as is known."""
OPEN = (*UNMINED, Step.INCLUDED)


class Try(StrEnum):
    """How an attempt at a transaction stands: signed bytes."""

    SIGNED = "signed"  # may have left
    SENT = "sent"  # a node has taken it
    REFUSED = "refused"  # no node takes it as it is
    MINED = "mined"  # this one is in a block
    DROPPED = "dropped"  # refused, and a person had another one made


class Duty(StrEnum):
    """Whether a signer signs."""

    ACTIVE = "active"
    PAUSED = "paused"  # a person said so
    NO_FUNDS = "no_funds"  # until its balance suffices again
    HALTED = "halted"  # its key was used elsewhere: a person decides


class Finality(StrEnum):
    """When a block counts as final."""

    DEPTH = "depth"  # so many blocks are on top of it
    SAFE = "safe"  # the chain's own word
    FINALIZED = "finalized"  # the chain's last word


class Source(StrEnum):
    """Who told of a log."""

    SOCKET = "socket"  # it was pushed; provisional
    REPLAY = "replay"  # it was read with its range
    SWEEP = "sweep"  # it had been missed, and was found when all was read once more
