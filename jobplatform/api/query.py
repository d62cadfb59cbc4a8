"""Values as requests write them: times, ids and names in a query string, and times in a body.

An empty value is none at all: the forms of the browsable API send every field.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import BeforeValidator, WithJsonSchema
from rest_framework.request import Request

from jobplatform.api.problems import Problem

# RFC 3339 without its leap seconds, which PostgreSQL does not keep.
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt ]([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|z|[+-]([01]\d|2[0-3]):[0-5]\d)")
_EARLIEST, _LATEST = datetime(1, 1, 2, tzinfo=UTC), datetime(9999, 12, 30, tzinfo=UTC)


def rfc3339(text: str) -> datetime:
    """A time with its offset, in UTC. Raises `ValueError`."""
    if not _TIME.fullmatch(text):
        message = "Input should be a time of RFC 3339, as in 2026-11-22T06:00:00Z"
        raise ValueError(message)
    found = datetime.fromisoformat(text.upper().replace(" ", "T"))
    # Compared before it is turned to UTC, which may lead beyond the years that there are.
    if not _EARLIEST < found < _LATEST:
        message = "Input should lie within the years 1 to 9999"
        raise ValueError(message)
    return found.astimezone(UTC)


def _moment(value: Any) -> datetime:
    if not isinstance(value, str):
        message = "Input should be a time of RFC 3339, as in 2026-11-22T06:00:00Z"
        raise ValueError(message)  # noqa: TRY004 - Pydantic turns it into an entry of the problem
    return rfc3339(value)


Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time in a body: RFC 3339 with an offset, nothing else. (Pydantic alone would take numbers, too.)"""


def query_time(request: Request, name: str) -> datetime | None:
    """A time of the query string. Raises `Problem` 400 `invalid_time`."""
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        return rfc3339(text)
    except ValueError as error:
        raise _refused(name, "invalid_time", f"{error}.") from None


def query_uuid(request: Request, name: str) -> UUID | None:
    """An id of the query string. Raises `Problem` 400 `invalid_id`."""
    text = request.query_params.get(name)
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        raise _refused(name, "invalid_id", "Input should be a UUID.") from None


def query_text(request: Request, name: str, *, longest: int = 200) -> str | None:
    """A text of the query string. Raises `Problem` 400 `invalid_value`."""
    text = request.query_params.get(name)
    if text and len(text) > longest:
        raise _refused(name, "invalid_value", f"Input should have at most {longest} characters.")
    return text or None


def _refused(name: str, code: str, message: str) -> Problem:
    error = {"field": f"?{name}", "code": code, "message": message}
    return Problem(400, code, f"The parameter {name} does not fit.", errors=[error])  # type: ignore[list-item]
