"""Problems: how the API says no. RFC 9457 bodies with a stable `code`, and the way from any exception to one.

A body has `type`, `title`, `status`, `detail`, `code` and, where several things are wrong at once, `errors`: a list of
`{field, code, message}` whose `field` is a JSON pointer into the request's body. Clients branch on `code`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypedDict

import psycopg
from django.core.exceptions import (
    DisallowedHost,
    PermissionDenied,
    RequestDataTooBig,
    SuspiciousOperation,
    TooManyFieldsSent,
)
from django.db import Error as DatabaseError
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions

from jobplatform.api import database

CONTENT_TYPE = "application/problem+json"
LONGEST_DETAIL = 500  # characters
MOST_ERRORS = 50


class FieldError(TypedDict):
    """One thing that is wrong with a request: `field` is a JSON pointer, empty for the whole body."""

    field: str
    code: str
    message: str


class Problem(Exception):
    """An answer of 400 or above.

    `code` is stable and snake_case; `detail` is a sentence for a person and never repeats a secret or a large input.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str = "",
        *,
        errors: Iterable[FieldError] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {detail}")
        self.status = int(status)
        self.code = code
        self.detail = detail if len(detail) <= LONGEST_DETAIL else f"{detail[:LONGEST_DETAIL]} …"
        self.errors = list(errors)[:MOST_ERRORS]
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        """The problem as a JSON object."""
        body: dict[str, Any] = {
            "type": f"urn:jobplatform:problem:{self.code}",
            "title": title(self.code),
            "status": self.status,
            "detail": self.detail or HTTPStatus(self.status).description or HTTPStatus(self.status).phrase,
            "code": self.code,
        }
        if self.errors:
            body["errors"] = self.errors
        return body


def title(code: str) -> str:
    """A code as words: `invalid_cursor` is "Invalid cursor"."""
    return code.replace("_", " ").capitalize()


# An app's own errors carry a stable `code`; which status each deserves is said once, by the views that raise them.
Answer = int | Callable[[Any], Problem]
_answers: dict[type[Exception], Answer] = {}


def answer_with(answers: Mapping[type[Exception], Answer]) -> None:
    """Register the HTTP status of an app's errors (and of their subclasses). Their `code` and text are passed on.

    An error with a list `errors` of `{field, code, message}` or a text `field` has them passed on as well. Where a
    status does not say enough, a function makes the problem from the error.
    """
    _answers.update(answers)


def _registered(exc: Exception) -> Problem | None:
    for cls in type(exc).__mro__:
        answer = _answers.get(cls)
        if answer is not None:
            if not isinstance(answer, int):
                return answer(exc)
            code = str(getattr(exc, "code", "refused"))
            errors: Sequence[FieldError] = getattr(exc, "errors", ())
            if not errors and isinstance(field := getattr(exc, "field", None), str) and field:
                errors = [{"field": field, "code": code, "message": str(exc)}]
            return Problem(answer, code, str(exc), errors=errors)
    return None


def of(exc: BaseException) -> Problem | None:
    """The problem that an exception stands for, or None if it is a fault of ours (a 500)."""
    match exc:
        case Problem():
            return exc
        case exceptions.APIException():
            return _of_rest_framework(exc)
        case Http404():
            return Problem(404, "not_found", "There is nothing at this address, or not for you.")
        case PermissionDenied():
            return Problem(403, "permission_denied", "This is not allowed.")
        case SuspiciousOperation() | UnreadablePostError():
            return _of_bad_request(exc)
        case DatabaseError() | psycopg.Error():
            return _of_database(exc)
        case Exception():
            return _registered(exc)
    return None


def _of_rest_framework(exc: exceptions.APIException) -> Problem:
    headers = {}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    if (wait := getattr(exc, "wait", None)) is not None:
        headers["Retry-After"] = str(int(wait))
    if isinstance(exc, exceptions.ValidationError):
        return Problem(422, "validation_error", "The request does not fit.", errors=_flat(exc.get_full_details()))
    codes = exc.get_codes()
    code = codes if isinstance(codes, str) else exc.default_code
    code = {"error": "internal_error"}.get(code, code)
    detail = exc.detail if isinstance(exc.detail, str) else str(exc.default_detail)
    return Problem(exc.status_code, code, str(detail), headers=headers)


def _flat(details: object, pointer: str = "") -> list[FieldError]:
    """Django REST framework's nested error details as a list of errors with pointers."""
    if isinstance(details, Mapping):
        if set(details) == {"message", "code"}:
            return [{"field": pointer, "code": str(details["code"]), "message": str(details["message"])[:300]}]
        pairs: Iterable[tuple[object, object]] = details.items()
    elif isinstance(details, list):
        # A list of plain errors belongs to one field; a list of objects is indexed.
        leaves = all(isinstance(item, Mapping) and set(item) == {"message", "code"} for item in details)
        pairs = (("", item) for item in details) if leaves else enumerate(details)
    else:
        return []
    return [e for key, item in pairs for e in _flat(item, f"{pointer}/{str(key)[:100]}" if key != "" else pointer)]


def _of_bad_request(exc: Exception) -> Problem:
    if isinstance(exc, RequestDataTooBig):
        return Problem(413, "body_too_large", "The body is larger than this address takes.")
    if isinstance(exc, TooManyFieldsSent):
        return Problem(400, "too_many_parameters", "The request has too many parameters.")
    if isinstance(exc, DisallowedHost):
        return Problem(400, "invalid_host", "The Host header names no host of this service.")
    if isinstance(exc, UnreadablePostError):
        return Problem(400, "incomplete_body", "The body ended before its announced length.")
    return Problem(400, "bad_request", "The request is malformed.")


def _of_database(exc: Exception) -> Problem | None:
    match database.trouble(exc):
        case database.Trouble.UNREACHABLE:
            sentence = "The database cannot be reached. Nothing was changed unless you were told so; try again."
            return Problem(503, "database_unavailable", sentence, headers={"Retry-After": "1"})
        case database.Trouble.CONFLICT:
            sentence = (
                "Others changed the same rows at the same time, several times over. Nothing was changed; try again."
            )
            return Problem(503, "database_conflict", sentence, headers={"Retry-After": "1"})
        case database.Trouble.BUSY:
            sentence = "The database did not get to it in time. Nothing was changed; try again."
            return Problem(503, "database_busy", sentence, headers={"Retry-After": "2"})
        case database.Trouble.BAD_VALUE:
            return Problem(400, "invalid_value", "A value of the request cannot be stored or compared.")
        case _:
            return None
