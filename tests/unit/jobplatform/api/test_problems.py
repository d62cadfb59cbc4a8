"""From any exception to a problem with a stable code."""

import re
from typing import Any

import psycopg
import pytest
from django.core import exceptions as django_exceptions
from django.db import DataError, IntegrityError, InterfaceError, OperationalError
from django.http import Http404, UnreadablePostError
from rest_framework import exceptions

from jobplatform.api import problems
from jobplatform.api.problems import Problem


def caused(exc: Exception, cause: Exception) -> Exception:
    """A database error of Django, as its wrapper raises it."""
    exc.__cause__ = cause
    return exc


def named(value: object) -> str | None:
    """The id of a parameter."""
    return f"{type(value).__module__} {value!r} {value.__cause__!r}" if isinstance(value, Exception) else None


@pytest.mark.parametrize(
    "exc, status, code",
    [
        (Problem(418, "teapot"), 418, "teapot"),
        (Http404("secret row"), 404, "not_found"),
        (django_exceptions.PermissionDenied(), 403, "permission_denied"),
        (exceptions.NotAuthenticated(), 401, "not_authenticated"),
        (exceptions.AuthenticationFailed(), 401, "authentication_failed"),
        (exceptions.PermissionDenied(), 403, "permission_denied"),
        (exceptions.NotFound(), 404, "not_found"),
        (exceptions.MethodNotAllowed("BREW"), 405, "method_not_allowed"),
        (exceptions.NotAcceptable(), 406, "not_acceptable"),
        (exceptions.UnsupportedMediaType("a/b"), 415, "unsupported_media_type"),
        (exceptions.ParseError(), 400, "parse_error"),
        (exceptions.Throttled(wait=3), 429, "throttled"),
        (exceptions.ValidationError("no"), 422, "validation_error"),
        (exceptions.APIException(), 500, "internal_error"),
        (django_exceptions.SuspiciousOperation(), 400, "bad_request"),
        (django_exceptions.DisallowedHost(), 400, "invalid_host"),
        (django_exceptions.TooManyFieldsSent(), 400, "too_many_parameters"),
        (django_exceptions.RequestDataTooBig(), 413, "body_too_large"),
        (UnreadablePostError(), 400, "incomplete_body"),
        (caused(OperationalError(), psycopg.OperationalError("closed")), 503, "database_unavailable"),
        (caused(OperationalError(), psycopg.errors.AdminShutdown()), 503, "database_unavailable"),
        (caused(OperationalError(), psycopg.errors.TooManyConnections()), 503, "database_unavailable"),
        (caused(OperationalError(), psycopg.errors.DiskFull()), 503, "database_unavailable"),
        (caused(OperationalError(), psycopg.errors.ReadOnlySqlTransaction()), 503, "database_unavailable"),
        (InterfaceError("connection already closed"), 503, "database_unavailable"),
        (caused(OperationalError(), psycopg.errors.DeadlockDetected()), 503, "database_conflict"),
        (caused(OperationalError(), psycopg.errors.SerializationFailure()), 503, "database_conflict"),
        (caused(OperationalError(), psycopg.errors.LockNotAvailable()), 503, "database_busy"),
        (caused(OperationalError(), psycopg.errors.QueryCanceled()), 503, "database_busy"),
        (caused(DataError(), psycopg.errors.NumericValueOutOfRange()), 400, "invalid_value"),
        (caused(DataError(), psycopg.DataError("text fields cannot contain NUL")), 400, "invalid_value"),
        (psycopg.errors.DeadlockDetected(), 503, "database_conflict"),
    ],
    ids=named,
)
def test_an_exception_has_its_status_and_code(exc: Exception, status: int, code: str) -> None:
    problem = problems.of(exc)

    assert problem is not None
    assert (problem.status, problem.code) == (status, code)
    body = problem.body()
    assert set(body) >= {"type", "title", "status", "detail", "code"}
    assert body["detail"]
    assert "secret" not in str(body)


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("ours"),
        KeyError("ours"),
        caused(IntegrityError(), psycopg.errors.UniqueViolation()),
        caused(OperationalError(), psycopg.errors.UndefinedTable()),
    ],
    ids=repr,
)
def test_a_fault_of_ours_is_no_problem(exc: Exception) -> None:
    assert problems.of(exc) is None


def test_a_503_says_when_to_try_again() -> None:
    problem = problems.of(caused(OperationalError(), psycopg.OperationalError()))

    assert problem is not None
    assert problem.headers["Retry-After"].isdigit()


def test_a_throttled_request_says_when_to_try_again() -> None:
    problem = problems.of(exceptions.Throttled(wait=3.2))

    assert problem is not None
    assert problem.headers == {"Retry-After": "4"}


def test_every_detail_is_bounded() -> None:
    problem = problems.of(exceptions.MethodNotAllowed("X" * 100_000))

    assert problem is not None
    assert len(problem.body()["detail"]) < 600


def test_codes_are_snake_case_and_titles_are_words() -> None:
    body = Problem(400, "invalid_cursor").body()

    assert body["title"] == "Invalid cursor"
    assert body["type"] == "urn:jobplatform:problem:invalid_cursor"
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", body["code"])


@pytest.mark.parametrize(
    "detail, fields",
    [
        ({"name": ["a", "b"]}, [("/name", "invalid"), ("/name", "invalid")]),
        ({"items": [{}, {"id": ["c"]}]}, [("/items/1/id", "invalid")]),
        (["a"], [("", "invalid")]),
    ],
)
def test_nested_errors_of_rest_framework_become_pointers(detail: Any, fields: list[tuple[str, str]]) -> None:
    problem = problems.of(exceptions.ValidationError(detail))

    assert problem is not None
    assert [(error["field"], error["code"]) for error in problem.errors] == fields


# ------------------------------------------------------------------------------------------------ an app's own errors
class OrdersError(Exception):
    code = "orders_error"


class OrderGone(OrdersError):
    code = "order_gone"
    field = "/order"


class OrderInvalid(OrdersError):
    code = "order_invalid"
    errors = [{"field": "/a", "code": "b", "message": "c"}]


class Unheard(Exception):
    code = "unheard"


problems.answer_with({OrdersError: 422, OrderGone: 410})


@pytest.mark.parametrize(
    "exc, status, code, fields",
    [
        (OrdersError("why"), 422, "orders_error", []),
        (OrderGone("why"), 410, "order_gone", ["/order"]),
        (OrderInvalid("why"), 422, "order_invalid", ["/a"]),
    ],
    ids=repr,
)
def test_an_apps_error_has_the_status_that_its_views_registered(
    exc: Exception, status: int, code: str, fields: list[str]
) -> None:
    problem = problems.of(exc)

    assert problem is not None
    assert (problem.status, problem.code, problem.detail) == (status, code, "why")
    assert [error["field"] for error in problem.errors] == fields


def test_an_error_that_nobody_registered_is_a_fault_of_ours() -> None:
    assert problems.of(Unheard()) is None
