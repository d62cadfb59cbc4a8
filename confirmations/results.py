"""What goes on chain for a job: its id, and a hash of what it was asked and what it answered.

Whoever has the job as the API shows it can compute both again:

    payload_hash = keccak256(canonical(payload))
    result_hash  = keccak256(canonical({"id": id, "kind": kind, "payload_hash": "0x…", "output": output}))
    job id       = the 16 bytes of the UUID, and 16 zero bytes

`canonical` is the JSON Canonicalization Scheme of RFC 8785, in UTF-8. That scheme has only the numbers of IEEE 754
(double), each written with the fewest digits that tell it from the others. A number that none of these texts means
(such as 2**53 + 1, or a decimal of twenty digits) is written as a string of its digits instead, so that two different
numbers never have the same hash.
"""

import json
import re
from decimal import Decimal
from typing import Any
from uuid import UUID

import orjson
import rfc8785
from eth_hash.auto import keccak

_NOT_PLAIN = re.compile(r"[0-9][.eE]|[0-9]{16}|-0|\\u")
"""What may stand in a JSON text whose canonical form is not that of a plain serializer with sorted keys."""


def canonical(text: str) -> bytes:
    """A JSON text (as PostgreSQL keeps it) in its canonical form."""
    if (
        text.isascii() and _NOT_PLAIN.search(text) is None
    ):  # whole numbers that a double has, and ASCII: ten times faster
        return orjson.dumps(orjson.loads(text), option=orjson.OPT_SORT_KEYS)
    return thoroughly(text)


def thoroughly(text: str) -> bytes:
    """The same for any JSON text."""
    return rfc8785.dumps(json.loads(text, parse_int=_number, parse_float=_number))


def _number(digits: str) -> float | str:
    value = float(digits)
    exact = Decimal(digits)
    if Decimal(repr(value)) == exact:
        return value
    text = format(exact, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def preimage(*, job_id: UUID, kind: str, payload: str, output: str) -> bytes:
    """What is hashed for a job: a canonical JSON text. `payload` and `output`: JSON texts."""
    members = {
        "id": rfc8785.dumps(str(job_id)),
        "kind": rfc8785.dumps(kind),
        "output": canonical(output),
        "payload_hash": rfc8785.dumps(shown(keccak(canonical(payload)))),
    }
    return b"{" + b",".join(b'"%s":%s' % (name.encode(), text) for name, text in members.items()) + b"}"


def result_hash(*, job_id: UUID, kind: str, payload: str, output: str) -> bytes:
    """The 32 bytes that stand on chain for a job: the hash of its `preimage`."""
    return keccak(preimage(job_id=job_id, kind=kind, payload=payload, output=output))


def job_bytes(job_id: UUID) -> bytes:
    """A job's id as a bytes32 of the contract."""
    return job_id.bytes + bytes(16)


def job_of(word: bytes) -> UUID | None:
    """The job whose id these 32 bytes are; None: they are none of ours."""
    return UUID(bytes=word[:16]) if not any(word[16:]) else None


def shown(value: Any) -> str:
    """Bytes as they are shown to people and to other programs."""
    return "0x" + bytes(value).hex()
