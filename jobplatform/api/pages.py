"""Cursor pages: keyset pagination for querysets and for plain SQL.

A cursor is the key of a row at the edge of a page and the direction to read in, signed for the address that gave it.
So a page costs the same at the five millionth row as at the first, and no row is seen twice while others arrive.

    page = CursorPage(request, keys=("id",), newest_first=True)
    jobs = page.of(Job.objects.filter(project_id=project_id))       # a queryset
    return Response(page.answer(jobs, key=lambda job: (job.id,), show=present))

Plain SQL asks for `page.fetch` rows beyond `page.after`, as `page.descending` says, then for `page.ordered(rows)`.
"""

import base64
import binascii
import hmac
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, TypeVar
from uuid import UUID

import orjson
from django.conf import settings
from django.db.models import F, Model, Q, QuerySet
from django.utils.dateparse import parse_datetime
from rest_framework.request import Request

from jobplatform.api.encoding import dumps
from jobplatform.api.problems import Problem

Row = TypeVar("Row")
M = TypeVar("M", bound=Model)

DEFAULT_LIMIT = 25
MOST = 200
_LONGEST_CURSOR = 1024
_MAC_BYTES = 10


class CursorPage:
    """One page of a list: what the request asks for, and the answer around the rows."""

    def __init__(self, request: Request, *, keys: Sequence[str] = ("id",), newest_first: bool = True) -> None:
        """Read `limit` and `cursor` from the query string. Raises `Problem` (400 `invalid_limit`, `invalid_cursor`).

        `keys` name the columns that order the list; together they are unique, and an index has them in this order.
        """
        self._request = request
        self._keys = tuple(keys)
        self._newest_first = newest_first
        self.limit = limit_of(request)
        self.backwards = False
        """Whether the rows before the cursor are asked for."""
        self.after: tuple[Any, ...] | None = None
        """The key of the row that the page starts behind (or, backwards, ends before); None for the first page."""
        cursor = request.query_params.get("cursor")
        if cursor:
            self.backwards, self.after = self._decode(cursor)

    @property
    def fetch(self) -> int:
        """How many rows to ask for: one more than are shown, which tells whether there is another page."""
        return self.limit + 1

    @property
    def descending(self) -> bool:
        """Whether this page is read from large keys to small ones."""
        return self._newest_first is not self.backwards

    # -------------------------------------------------------------------------------------------- reading
    def of(self, queryset: QuerySet[M]) -> list[M]:
        """The rows of this page, in the order of the list, and perhaps one more for `answer` to see."""
        if self.after is not None:
            queryset = queryset.filter(self._beyond(self._keys, self.after))
        order = [F(key).desc() if self.descending else F(key).asc() for key in self._keys]
        return self.ordered(list(queryset.order_by(*order)[: self.fetch]))

    def _beyond(self, keys: Sequence[str], values: Sequence[Any]) -> Q:
        # (a, b) < (x, y) is a <= x and (a < x or b < y): the first half lets an index on a be used.
        compare = "lt" if self.descending else "gt"
        last = Q(**{f"{keys[0]}__{compare}": values[0]})
        if len(keys) == 1:
            return last
        return Q(**{f"{keys[0]}__{compare}e": values[0]}) & (last | self._beyond(keys[1:], values[1:]))

    def ordered(self, rows: list[Row]) -> list[Row]:
        """Rows as they were read, turned into the order of the list."""
        return rows[: self.limit][::-1] + rows[self.limit :] if self.backwards else rows

    # -------------------------------------------------------------------------------------------- answering
    def answer(
        self,
        rows: Sequence[Row],
        *,
        key: Callable[[Row], Sequence[Any]],
        show: Callable[[Row], Any],
        stopped_at: Sequence[Any] | None = None,
    ) -> dict[str, Any]:
        """`{"next", "previous", "results"}` from the rows of `of` or `ordered`.

        `stopped_at`: the key at which a bounded scan gave up; there may be more behind it, whatever it found so far.
        """
        shown = rows[: self.limit]
        edge = key(shown[0] if self.backwards else shown[-1]) if shown else None
        more = stopped_at or (edge if len(rows) > self.limit else None)  # where to go on in the direction of reading
        # Who reads backwards came from a later page. An empty page knows no place of its own to go back from.
        if self.backwards:
            behind, before = (key(shown[-1]) if shown else None), more
        else:
            behind, before = more, (key(shown[0]) if shown and self.after is not None else None)
        return {
            "next": self._link(behind, backwards=False) if behind else None,
            "previous": self._link(before, backwards=True) if before else None,
            "results": [show(row) for row in shown],
        }

    def _link(self, key: Sequence[Any], *, backwards: bool) -> str:
        query = self._request.query_params.copy()
        query["cursor"] = self._encode(key, backwards=backwards)
        return f"{self._request.build_absolute_uri(self._request.path)}?{query.urlencode()}"

    # -------------------------------------------------------------------------------------------- cursors
    def _encode(self, key: Iterable[Any], *, backwards: bool) -> str:
        body = dumps([int(backwards), *(_tagged(part) for part in key)])
        return base64.urlsafe_b64encode(self._mac(body) + body).rstrip(b"=").decode()

    def _decode(self, cursor: str) -> tuple[bool, tuple[Any, ...]]:
        try:
            if len(cursor) > _LONGEST_CURSOR:
                raise _invalid()
            raw = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True)
        except (UnicodeEncodeError, binascii.Error):
            raise _invalid() from None
        mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            raise _invalid()
        backwards, *parts = orjson.loads(body)
        if len(parts) != len(self._keys):
            raise _invalid()
        return bool(backwards), tuple(_untagged(part) for part in parts)

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")[:_MAC_BYTES]

    @cached_property
    def _secret(self) -> bytes:
        # A cursor holds for one list in one order: elsewhere its key would mean something else.
        parts = ("cursor", settings.SECRET_KEY, self._request.path, *self._keys)
        return "\0".join(parts).encode("utf-8", "surrogatepass")


def limit_of(request: Request) -> int:
    """`?limit=`: how many rows to show. Raises `Problem` 400 `invalid_limit`."""
    text = request.query_params.get("limit")
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(MOST)) and 1 <= int(text) <= MOST):
        raise Problem(400, "invalid_limit", f"limit is a number from 1 to {MOST}.")
    return int(text)


def _invalid() -> Problem:
    return Problem(400, "invalid_cursor", "This cursor was not given out for this list. Start at the first page.")


# JSON has no UUIDs and no times: a letter before the text says what it was.
def _tagged(part: Any) -> Any:
    match part:
        case int():
            return part
        case datetime():
            return f"t{part.isoformat()}"
        case str():
            return f"s{part}"
        case _:
            return f"u{UUID(str(part))}"


def _untagged(part: Any) -> Any:
    if isinstance(part, int):
        return part
    kind, text = part[0], part[1:]
    match kind:
        case "t":
            return parse_datetime(text)
        case "u":
            return UUID(text)
        case _:
            return text
