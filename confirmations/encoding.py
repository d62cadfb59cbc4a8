"""A transaction of EIP-1559 as bytes, before and after its signature. Pure; keys never come here.

Sources: EIP-1559 (fields and their order), EIP-2718 (the type in front), EIP-2 (the lower of the two s).
"""

from dataclasses import dataclass
from typing import Any

from eth_hash.auto import keccak

TYPE = b"\x02"
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of the curve secp256k1."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """What is signed. Fees in wei per gas; `to` 20 bytes, or none where a contract is made."""

    chain_id: int
    nonce: int
    tip: int
    fee: int
    gas: int
    to: bytes
    data: bytes
    value: int = 0

    def _fields(self) -> list[int | bytes | list[bytes]]:
        return [self.chain_id, self.nonce, self.tip, self.fee, self.gas, self.to, self.value, self.data, []]

    @property
    def digest(self) -> bytes:
        """The 32 bytes that the signer signs."""
        return keccak(TYPE + _rlp(self._fields()))


@dataclass(frozen=True, slots=True)
class Signature:
    """A recoverable signature; `parity` says which of the two points it is."""

    r: int
    s: int
    parity: int


@dataclass(frozen=True, slots=True)
class Signed:
    """The bytes that are sent, and the hash by which every node knows them."""

    raw: bytes
    hash: bytes


def signed(unsigned: Unsigned, signature: Signature) -> Signed:
    """Put a transaction and its signature together."""
    if signature.s > ORDER // 2:
        message = "the signature has the higher of its two s, which no node takes"
        raise ValueError(message)
    raw = TYPE + _rlp([*unsigned._fields(), signature.parity, signature.r, signature.s])
    return Signed(raw, keccak(raw))


def _rlp(fields: list[Any]) -> bytes:
    import rlp  # noqa: PLC0415 - 40 ms for each process that starts; few sign

    encoded: bytes = rlp.encode(fields)
    return encoded


def words(*values: bytes | int) -> bytes:
    """Values as 32-byte words, as arguments of a contract: bytes32 and numbers."""
    return b"".join(value.to_bytes(32) if isinstance(value, int) else value.ljust(32, b"\0") for value in values)


def pairs(selector: bytes, first: list[bytes], second: list[bytes]) -> bytes:
    """A call with two arrays of bytes32, as the ABI wants it: two offsets, then each array with its length."""
    behind_first = 2 * 32 + 32 + 32 * len(first)
    return selector + words(2 * 32, behind_first, len(first)) + b"".join(first) + words(len(second)) + b"".join(second)


def selector(signature: str) -> bytes:
    """The first four bytes of a call: of the hash of the function's name and types, `confirm(bytes32,bytes32)`."""
    return keccak(signature.encode())[:4]


def topic(signature: str) -> bytes:
    """The first topic of an event's logs: the hash of its name and types."""
    return keccak(signature.encode())
