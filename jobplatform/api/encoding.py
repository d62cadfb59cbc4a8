"""How values become bytes: JSON by orjson."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any

import orjson
from django.utils.functional import Promise
from pydantic import BaseModel

_OPTIONS = orjson.OPT_UTC_Z | orjson.OPT_NAIVE_UTC
# orjson writes +00:00 as Z, but leaves other offsets. Times come out of the database in UTC: this is hardly ever found.
_OFFSET = re.compile(rb'T\d\d:\d\d:\d\d(?:\.\d+)?[+-]\d\d:\d\d"')


def dumps(value: Any, *, indent: bool = False) -> bytes:
    """JSON of dicts, lists, texts, numbers, UUIDs, times (RFC 3339 in UTC with Z), decimals (as text), Pydantic models.

    Never fails on what was once accepted: integers beyond 64 bits are kept, halves of surrogate pairs escaped, NaN and
    infinities become null. `orjson.Fragment` passes on bytes that are JSON already.
    """
    options = _OPTIONS | (orjson.OPT_INDENT_2 if indent else 0)
    try:
        body = orjson.dumps(value, _plain, options)
        if _OFFSET.search(body):
            body = orjson.dumps(value, _plain, options | orjson.OPT_PASSTHROUGH_DATETIME)
    except orjson.JSONEncodeError:
        body = json.dumps(_standard(value), indent=2 if indent else None, allow_nan=False).encode()
    return body


def _plain(value: Any) -> Any:
    """What orjson does not know by itself, as something that it knows."""
    match value:
        case datetime():
            aware = value if value.tzinfo else value.replace(tzinfo=UTC)
            return f"{aware.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
        case date() | time():
            return value.isoformat()
        case Decimal() | Promise():
            return str(value)
        case set() | frozenset():
            return sorted(value, key=str)
        case BaseModel():
            return value.model_dump(mode="python")
        case bytes() | memoryview():
            message = "Bytes have no place in JSON; decide how to write them."
            raise TypeError(message)
        case _:
            # UUIDs of uuid_utils and the like: what has a text form that identifies it.
            if type(value).__name__ == "UUID":
                return str(value)
            message = f"{type(value).__name__} has no JSON form."
            raise TypeError(message)


def _standard(value: Any) -> Any:
    """The value in terms that the standard library's encoder takes."""
    match value:
        case Mapping():
            return {str(key): _standard(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [_standard(item) for item in value]
        case float() if not math.isfinite(value):
            return None
        case None | str() | int() | float():
            return value
        case orjson.Fragment():
            return json.loads(orjson.dumps(value))
        case Enum():
            return _standard(value.value)
        case _ if is_dataclass(value):
            return {field.name: _standard(getattr(value, field.name)) for field in fields(value)}
        case _:
            return _standard(_plain(value))
