"""Keys of signers: what signs a digest, and what is refused before it.

Only the workers of the queue `signing` read one. It stands in no table, no setting, no log and no error: a key is read
from a file that a passphrase opens (Web3 Secret Storage, version 3, scrypt), or never leaves AWS KMS (gateway/kms.py).
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, Protocol

from confirmations.encoding import Signature, Unsigned
from confirmations.errors import KeyRefuses, KeyUnreadable
from confirmations.results import shown

LARGEST_FILE = 64 * 1024  # bytes; a keystore has some 500
PASSPHRASE, PASSPHRASE_FILE = "KEYSTORE_PASSPHRASE", "KEYSTORE_PASSPHRASE_FILE"


class Key(Protocol):
    """What signs. `address`: 20 bytes."""

    @property
    def address(self) -> bytes:
        """Whose transactions these are."""

    def sign(self, digest: bytes) -> Signature:
        """Sign 32 bytes, with the lower of the two s. Raises `KeyUnavailable`: it cannot be asked just now."""


class LocalKey:
    """A key in this process's memory. It shows itself to nobody, and cannot be pickled or copied."""

    __slots__ = ("_key",)

    def __init__(self, secret: bytes) -> None:
        from eth_keys.datatypes import PrivateKey  # noqa: PLC0415 - 50 ms for each process that starts; few sign

        self._key = PrivateKey(secret)

    @property
    def address(self) -> bytes:
        """Whose transactions these are."""
        return self._key.public_key.to_canonical_address()

    def sign(self, digest: bytes) -> Signature:
        """Sign 32 bytes. The same digest has the same signature each time (RFC 6979)."""
        made = self._key.sign_msg_hash(digest)
        return Signature(made.r, made.s, made.v)

    def __repr__(self) -> str:
        return f"<key of {shown(self.address)}>"

    def __reduce__(self) -> NoReturn:
        message = "a key is not copied"
        raise TypeError(message)


def passphrase(environ: Mapping[str, str]) -> bytes:
    """What opens the keystores: from the file that KEYSTORE_PASSPHRASE_FILE names, else KEYSTORE_PASSPHRASE.

    Raises `KeyUnreadable`.
    """
    if file := environ.get(PASSPHRASE_FILE):
        return _private(Path(file)).rstrip(b"\r\n")
    if PASSPHRASE in environ:
        return environ[PASSPHRASE].encode()
    message = f"Neither {PASSPHRASE_FILE} nor {PASSPHRASE} is set, and a keystore wants its passphrase."
    raise KeyUnreadable(message)


def open_keystore(path: Path, secret: bytes) -> LocalKey:
    """The key in a keystore file. Raises `KeyUnreadable`; what stands in the file is not in the error."""
    try:
        stored: Any = json.loads(_private(path))
    except ValueError:
        raise _unreadable(path, "it is no JSON") from None
    crypto = stored.get("crypto") if isinstance(stored, dict) else None
    if not isinstance(crypto, dict) or stored.get("version") != 3:  # noqa: PLR2004 - the only version there is
        raise _unreadable(path, "it is no keystore of version 3")
    if crypto.get("kdf") != "scrypt":
        raise _unreadable(path, "its passphrase is not stretched by scrypt")
    try:
        key = LocalKey(_eth_keyfile().decode_keyfile_json(stored, secret))
    except Exception:  # noqa: BLE001 - whatever is wrong in there, it is not told: it may hold what is secret
        raise _unreadable(path, "the passphrase does not open it, or it is damaged") from None
    told = str(stored.get("address", "")).lower().removeprefix("0x")
    if told and told != key.address.hex():
        raise _unreadable(path, f"it says that it is {told} and holds the key of {key.address.hex()}")
    return key


def write_keystore(path: Path, secret: bytes, opened_by: bytes) -> None:
    """Put a new key into a file that only its owner reads. Raises FileExistsError: none is ever overwritten."""
    stored = _eth_keyfile().create_keyfile_json(secret, opened_by, kdf="scrypt")
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        json.dump(stored, file)
        file.flush()
        os.fsync(file.fileno())


def _eth_keyfile() -> ModuleType:
    """The library of keystores, without what it does to the whole process.

    It brings py_ecc along, which sets the recursion limit to 100,000. From then on a JSON text that is nested deeply
    ends the process (the stack of C overflows) where it had raised RecursionError.
    """
    before = sys.getrecursionlimit()
    try:
        from eth_keyfile import keyfile  # noqa: PLC0415 - see above
    finally:
        sys.setrecursionlimit(before)
    return keyfile


def _private(path: Path) -> bytes:
    """What stands in a file that nobody else can read."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o077:
                raise _unreadable(path, "others can read it too (chmod 600)")
            return file.read(LARGEST_FILE)
    except OSError as error:
        raise _unreadable(path, str(error.strerror)) from None


def _unreadable(path: Path, why: str) -> KeyUnreadable:
    return KeyUnreadable(f"{path}: {why}.")


# ---------------------------------------------------------------------------------------------- what is not signed
@dataclass(frozen=True, slots=True)
class Bounds:
    """What a key may be used for, whatever stands in the database. Fees in wei per gas, `day` in wei."""

    chain_id: int
    contracts: frozenset[bytes]
    fee: int
    gas: int
    day: int


def check(unsigned: Unsigned, bounds: Bounds, *, own: bytes, spent: int) -> None:
    """Nothing, if this may be signed. `own`: the signer's address; `spent`: wei that may have been spent today.

    A transaction is a call of one of our contracts, or sends nothing to oneself (which frees a nonce).
    Raises `KeyRefuses`.
    """
    frees = unsigned.to == own and not unsigned.data
    wrong = {
        f"it is for chain {unsigned.chain_id}, not {bounds.chain_id}": unsigned.chain_id != bounds.chain_id,
        f"it sends {unsigned.value} wei": unsigned.value != 0,
        f"{shown(unsigned.to)} is none of our contracts": unsigned.to not in bounds.contracts and not frees,
        f"a fee of {unsigned.fee} wei is more than {bounds.fee}": unsigned.fee > bounds.fee,
        f"its tip of {unsigned.tip} wei is more than its fee": not 0 <= unsigned.tip <= unsigned.fee,
        f"{unsigned.gas} gas is more than {bounds.gas}": not 0 < unsigned.gas <= bounds.gas,
        f"today's {bounds.day} wei are spent": spent + unsigned.gas * unsigned.fee > bounds.day,
    }
    for reason, applies in wrong.items():
        if applies:
            message = f"Not signed: {reason}."
            raise KeyRefuses(message)
