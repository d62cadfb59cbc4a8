"""The only door to the nodes of a chain: JSON-RPC over HTTP, one call or many at once.

Nothing is tried again here. A request that got no answer may have been carried out; whether asking again is harmless
is for the caller to know. What a node says is checked for its form, never for its truth.
"""

import itertools
import re
import time
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import orjson
import urllib3

from confirmations.errors import BatchRefused, NodeNonsense, NodeRefused, NodeUnreachable

TIMEOUT = urllib3.Timeout(connect=3.0, read=20.0)
LARGEST_REPLY = 128 * 1024 * 1024
LONGEST_SECONDS = 60.0
PIECE = 256 * 1024
LARGEST_REQUEST = 1_500_000
"""Bytes. anvil takes 2 MB, geth 5 MB."""
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")
SERVER_ERROR = 500
TOO_MANY = 429

Call = tuple[str, list[Any]]


class Node:
    """One node, by its URL. Safe to be shared by threads; connections are kept open."""

    def __init__(self, url: str, *, timeout: urllib3.Timeout = TIMEOUT) -> None:
        self.url = url
        self.name = urlsplit(url).hostname or url  # without what may be secret in the URL
        self._pool = urllib3.PoolManager(num_pools=1, maxsize=4, retries=False, timeout=timeout)
        self._ids = itertools.count(1)

    def call(self, method: str, *params: Any) -> Any:
        """Ask one thing.

        Raises:
            NodeUnreachable: no answer; the request may have been carried out.
            NodeRefused: the node answered with an error.
            NodeNonsense: what came back is no answer.
        """
        (answer,) = self.batch([(method, list(params))])
        if isinstance(answer, NodeRefused | NodeNonsense):
            raise answer
        return answer

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Ask many things in one request. Returns the answers in order; a `NodeRefused` where one was refused.

        An answer that is missing is a `NodeNonsense`. Raises what `call` does, for the request as a whole.
        """
        ids = [next(self._ids) for _ in calls]
        asked = [
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
            for number, (method, params) in zip(ids, calls, strict=True)
        ]
        body = orjson.dumps(asked[0] if len(asked) == 1 else asked)
        replies = self._post(body)
        if len(asked) == 1:
            replies = [replies]
        if not isinstance(replies, list):
            # An error of the batch as a whole: too many, too large, or not understood. It answers none of them.
            try:
                _answer(replies)
            except NodeRefused as error:
                raise BatchRefused(error.number, error.message, error.data, retry_after=error.retry_after) from None
            message = "one answer to many questions"
            raise NodeNonsense(message)
        found = {reply["id"]: reply for reply in replies if isinstance(reply, dict) and _is_id(reply.get("id"))}
        if len(asked) == 1 and not found and isinstance(replies[0], dict) and "error" in replies[0]:
            found = {ids[0]: replies[0]}  # errors may come without an id
        return [_item(found.get(number)) for number in ids]

    def _post(self, body: bytes) -> Any:
        try:
            response = self._pool.request(
                "POST", self.url, body=body, headers={"Content-Type": "application/json"}, preload_content=False
            )
            with response:
                text = _all_of(response)
                status, retry_after = response.status, _seconds(response.headers.get("Retry-After"))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            message = f"{self.name}: {type(error).__name__}"  # the error's own text holds the URL, and with it keys
            raise NodeUnreachable(message) from None
        if len(text) > LARGEST_REPLY:
            message = f"{self.name} answered with more than {LARGEST_REPLY} bytes"
            raise NodeNonsense(message)
        try:
            reply = orjson.loads(text)
        except orjson.JSONDecodeError:
            reply = None
        if isinstance(reply, dict | list) and status < TOO_MANY:
            return reply
        if status == TOO_MANY:
            raise NodeRefused(status, _said(reply) or "Too Many Requests", retry_after=retry_after)
        if status >= SERVER_ERROR and not isinstance(reply, dict | list):
            message = f"{self.name}: HTTP {status}"
            raise NodeUnreachable(message)
        if isinstance(reply, dict | list):
            return reply
        message = f"{self.name}: HTTP {status} and no JSON"
        raise NodeNonsense(message)


def _all_of(response: urllib3.BaseHTTPResponse) -> bytes:
    """What comes, within a time: the one between two bytes says nothing of how many there are."""
    ends = time.monotonic() + LONGEST_SECONDS
    parts: list[bytes] = []
    size = 0
    for part in response.stream(PIECE, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > LARGEST_REPLY:
            break
        if time.monotonic() > ends:
            message = "it does not come to an end"
            raise urllib3.exceptions.ReadTimeoutError(response, "", message)  # type: ignore[arg-type]
    return b"".join(parts)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _item(reply: dict[str, Any] | None) -> Any:
    if reply is None:
        return NodeNonsense("no answer to one of many questions")
    try:
        return _answer(reply)
    except (NodeRefused, NodeNonsense) as error:
        return error


def _answer(reply: Any) -> Any:
    if not isinstance(reply, dict):
        message = "an answer that is no object"
        raise NodeNonsense(message)
    error = reply.get("error")
    if isinstance(error, dict):
        code = error.get("code")
        raise NodeRefused(code if _is_id(code) else None, str(error.get("message", "")), error.get("data"))
    if error is not None:
        raise NodeRefused(None, str(error))
    if "result" not in reply:
        message = "an answer without result or error"
        raise NodeNonsense(message)
    return reply["result"]


def _said(reply: Any) -> str:
    error = reply.get("error") if isinstance(reply, dict) else None
    return str(error.get("message", "")) if isinstance(error, dict) else ""


def _seconds(text: str | None) -> float | None:
    return float(text) if text is not None and text.isascii() and text.isdigit() else None


def number(told: Any) -> int:
    """A quantity. Raises `NodeNonsense`: it has not the form of one."""
    if not isinstance(told, str) or not _QUANTITY.fullmatch(told):
        message = f"no number: {str(told)[:100]!r}"
        raise NodeNonsense(message)
    return int(told, 16)
