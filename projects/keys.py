"""The text of an API key, and what is kept of it.

    jp_live_k3f7qjx2m5za_4fJx0…9Qp2B7c1Zq
            key id       secret      CRC-32 of all before it

The key id finds the row. Of the key itself only an HMAC-SHA256 is kept, whose key (the pepper) is not in the database.
The checksum lets a scanner tell a leaked key from a text that looks like one; it protects nothing.
"""

import hmac
import re
import secrets
import zlib
from dataclasses import dataclass, field

PREFIX = "jp_live_"
KEY_ID_LENGTH = 12
SECRET_LENGTH = 32  # 62 ** 32 is 190 bits
CHECKSUM_LENGTH = 6  # 62 ** 6 is more than 2 ** 32

_BASE32 = "abcdefghijklmnopqrstuvwxyz234567"
_BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

PATTERN = rf"{PREFIX}([a-z2-7]{{{KEY_ID_LENGTH}}})_[0-9A-Za-z]{{{SECRET_LENGTH + CHECKSUM_LENGTH}}}"
"""The regular expression to give to secret scanners."""

_KEY = re.compile(PATTERN)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made. `text` is shown once and then forgotten."""

    key_id: str
    text: str = field(repr=False)


def generate() -> NewKey:
    """A new key from the system's source of randomness."""
    key_id = "".join(secrets.choice(_BASE32) for _ in range(KEY_ID_LENGTH))
    secret = "".join(secrets.choice(_BASE62) for _ in range(SECRET_LENGTH))
    body = f"{PREFIX}{key_id}_{secret}"
    return NewKey(key_id, body + checksum(body))


def checksum(body: str) -> str:
    """CRC-32 of a text as 6 characters of base 62, most significant first."""
    number = zlib.crc32(body.encode())
    characters = []
    for _ in range(CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_BASE62))
        characters.append(_BASE62[digit])
    return "".join(reversed(characters))


def key_id_of(text: str) -> str | None:
    """The key id in a text of the form of a key, else None. The checksum is not looked at: see `authentication.py`."""
    found = _KEY.fullmatch(text)
    return found[1] if found else None


def digest(text: str, pepper: str) -> bytes:
    """What is kept of a key: 32 bytes. The whole text goes in, so a hash is worth nothing in another key's row."""
    return hmac.digest(pepper.encode(), text.encode(), "sha256")
