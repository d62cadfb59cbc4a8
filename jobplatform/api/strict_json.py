"""JSON as the API takes it: RFC 8259 without its loose ends. What was accepted can be stored, and is read back alike.

Refused, each with its own code: what is not UTF-8, NaN and Infinity, numbers beyond what 64 bits or a double can hold,
an object that names a key twice, NUL in a text (PostgreSQL cannot store it), halves of surrogate pairs, deep nesting.

Nearly every body is checked without looking at it in Python: orjson parses it, and a few scans of the bytes prove that
none of the rest can be in it. Only a body for which they cannot is parsed again, carefully.
"""

import json
import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

import orjson

from jobplatform.api.problems import Problem

MOST_VALUES = 250_000
"""So many values a body may hold, counted as commas, brackets and braces outside of texts: a thousand jobs of 250 each.

Each costs about a hundred times its bytes while a body is read, so it is the values that a server can be hurt with.
"""
DEEPEST = 64  # levels of arrays and objects
DEEPEST_READ = 900  # what is nested deeper is not looked at at all; Python goes to 1,000

LARGEST_INTEGER = 2**64 - 1
SMALLEST_INTEGER = -(2**63)
_OPENERS = (b",", b"[", b"{")  # before each value but the first stands one of them; a pair counts once
# Of a text that is never closed, too: else each of its quotes would be looked at as the beginning of another one.
_TEXT = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_LONGEST_SHOWN = 100  # characters of a key

# Turns every digit into "0" and everything else into a blank, so that a long run of digits is one substring.
_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_BETWEEN_BRACKETS = re.compile(rb'(?:[^"\[\]{}]++|' + _TEXT.pattern + rb")++", re.DOTALL)  # one match, however much
_NINETEEN_DIGITS = b"0" * 19  # shorter integers always fit into 64 bits


def loads(body: bytes) -> Any:
    """Parse a body. Raises `Problem` (400) with the code of what is wrong with it."""
    if not body or body.isspace():
        raise Problem(400, "empty_body", "A JSON body is expected.")
    if len(body) > MOST_VALUES and _holds_too_many(body):
        raise Problem(400, "too_many_values", f"A body may hold {MOST_VALUES:,} values.")
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _explain(body, error)
    if body.count(b"[") + body.count(b"{") > DEEPEST and deeper_than(value, DEEPEST):
        raise _too_deep()
    if _is_plain(body, value):
        return value
    return _loads_carefully(body)


def _holds_too_many(body: bytes) -> bool:
    """Whether a body has more than `MOST_VALUES` commas, brackets and braces outside of texts."""
    if sum(map(body.count, _OPENERS)) <= MOST_VALUES:
        return False
    number = end = 0
    for text in _TEXT.finditer(body):
        begin = text.start()
        number += body.count(b",", end, begin) + body.count(b"[", end, begin) + body.count(b"{", end, begin)
        if number > MOST_VALUES:
            return True
        end = text.end()
    return number + sum(body.count(opener, end) for opener in _OPENERS) > MOST_VALUES


def _nests_beyond(body: bytes, most: int) -> bool:
    """Whether brackets and braces stand within one another more than `most` deep, outside of texts.

    The standard library goes as deep as Python's recursion limit lets it, and any library may have raised that.
    """
    if body.count(b"[") + body.count(b"{") <= most:
        return False
    depth = 0
    for byte in _BETWEEN_BRACKETS.sub(b"", body):
        depth += 1 if byte in b"[{" else -1
        if not 0 <= depth <= most:
            return depth > most  # below nothing Python stops too
    return False


def _is_plain(body: bytes, value: Any) -> bool:
    """Whether the bytes prove that nothing in them needs a closer look. May say no for a body that is fine."""
    # A NUL can only be written as an escape. A colon, too, must stand for itself for the last test below.
    if b"\\u" in body and (b"\\u0000" in body or b"\\u003a" in body or b"\\u003A" in body):
        return False
    if _NINETEEN_DIGITS in body.translate(_DIGITS):
        return False
    # orjson keeps the last of two equal keys. Written out again, the value then has fewer colons than the body: one for
    # the lost pair and those inside of it. Without a lost pair both have one per pair and those inside of texts.
    return body.count(b":") == orjson.dumps(value).count(b":")


def deeper_than(value: Any, levels: int) -> bool:
    """Whether arrays and objects are nested in one another more than `levels` deep."""
    level = [value] if isinstance(value, (dict, list)) else []
    while level and levels:
        levels -= 1
        below: list[Any] = []
        for container in level:
            items = container.values() if type(container) is dict else container
            below += [item for item in items if type(item) is dict or type(item) is list]
        level = below
    return bool(level)


def _too_deep() -> Problem:
    return Problem(400, "too_deep", f"Arrays and objects may be nested {DEEPEST} deep.")


# ------------------------------------------------------------------------------------------------ the careful way
def _loads_carefully(body: bytes) -> Any:
    """Parse with the standard library, which shows every pair and every number, and look at every text."""
    value = json.loads(
        body.decode(),  # else the standard library guesses: UTF-16 would pass
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_float,
        parse_constant=_constant,
    )
    for text in _texts(value):
        if "\0" in text:
            raise Problem(400, "nul_character", "A text holds the character U+0000, which cannot be stored.")
        if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
            raise Problem(400, "lone_surrogate", "A text holds half of a surrogate pair, which is no character.")
    return value


def _explain(body: bytes, error: orjson.JSONDecodeError) -> NoReturn:
    """Raise the problem for a body that orjson refused, with the most telling code."""
    try:
        body.decode()
    except UnicodeDecodeError:
        raise Problem(400, "invalid_utf8", "The body is not UTF-8.") from None
    if _nests_beyond(body, DEEPEST_READ):
        raise _too_deep()
    try:
        value = _loads_carefully(body)
    except RecursionError:
        raise _too_deep() from None
    except json.JSONDecodeError as problem:
        detail = f"{problem.msg} at line {problem.lineno} column {problem.colno}."
        raise Problem(400, "invalid_json", detail) from None
    if deeper_than(value, DEEPEST):
        raise _too_deep()
    raise Problem(400, "invalid_json", f"{error.msg} at line {error.lineno} column {error.colno}.")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise Problem(400, "duplicate_key", f"An object names the key {_shown(twice)} twice.")
    return value


def _integer(digits: str) -> int:
    # The length is looked at first: Python refuses to convert thousands of digits, and it would take long.
    if len(digits) <= len(str(SMALLEST_INTEGER)) and SMALLEST_INTEGER <= (value := int(digits)) <= LARGEST_INTEGER:
        return value
    raise Problem(400, "number_out_of_range", "An integer does not fit into 64 bits. Send it as a string.")


def _float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise Problem(400, "number_out_of_range", "A number is too large for a double.")
    return value


def _constant(name: str) -> NoReturn:
    raise Problem(400, "invalid_number", f"{name} is no JSON number.")


def _texts(value: Any) -> Iterator[str]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            yield from item
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)


def _shown(text: str) -> str:
    shown = text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}…"
    return repr(shown).encode("ascii", "backslashreplace").decode()
