"""An error as the engine keeps it: bounded, printable, and recognisable by its fingerprint."""

import hashlib
import re
from dataclasses import asdict, dataclass
from typing import Any

LONGEST_MESSAGE = 8 * 1024

_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}\Z")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_VARIABLE = re.compile(
    r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}|\b[0-9a-fA-F]{16,}\b|\d+(?:\.\d+)?"
)
_UNPRINTABLE = re.compile("[\x00\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Failure:
    """What went wrong in an attempt. `fingerprint` is equal for errors that differ only in ids and numbers."""

    code: str
    message: str
    retryable: bool
    fingerprint: str

    def as_json(self) -> dict[str, Any]:
        """`{code, message, retryable, fingerprint}`."""
        return asdict(self)


def failure(code: str, message: str = "", *, retryable: bool = True) -> Failure:
    """A failure from its code and text; the text is cut to 8 KiB and made storable."""
    text = bounded(message)
    shape = _VARIABLE.sub("#", text[:1000])
    digest = hashlib.sha256(f"{code}\n{shape}".encode(errors="replace")).hexdigest()[:16]
    return Failure(code, text, retryable, digest)


def from_exception(error: BaseException, *, retryable: bool = True) -> Failure:
    """A failure from an exception: its stable `code` where it has one, else its class name in snake case."""
    return failure(code_of(error), _text_of(error), retryable=retryable)


def code_of(error: BaseException) -> str:
    """The stable code of an exception."""
    try:
        code = getattr(error, "code", None)
    except BaseException:  # noqa: BLE001 - an error's own attributes may do anything, SystemExit included
        code = None
    if isinstance(code, str) and _CODE.match(code):
        return code
    return _named(type(error))


def code_of_class(cls: type[BaseException]) -> str:
    """The code that the exceptions of a class have, unless one says otherwise of itself."""
    code = getattr(cls, "code", None)
    return code if isinstance(code, str) and _CODE.match(code) else _named(cls)


def _named(cls: type[BaseException]) -> str:
    return _CAMEL.sub("_", cls.__name__).lower()[:64]


def is_code(code: object) -> bool:
    """Whether this can be a stable code."""
    return isinstance(code, str) and _CODE.match(code) is not None


def bounded(text: str, limit: int = LONGEST_MESSAGE) -> str:
    """Cut to `limit` bytes of UTF-8, with NUL and lone surrogates (which Postgres refuses) written out."""
    if len(text) > limit:
        text = text[:limit]
    if _UNPRINTABLE.search(text):
        text = _UNPRINTABLE.sub(lambda found: f"\\u{ord(found.group()):04x}", text)
    encoded = text.encode()
    return text if len(encoded) <= limit else encoded[:limit].decode(errors="ignore")


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:  # noqa: BLE001 - an error's own __str__ may do anything, SystemExit included
        return f"{type(error).__name__} (its text cannot be read)"
