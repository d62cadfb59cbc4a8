"""Bad input over HTTP: a problem with a stable code, never a 5xx (T49, S16)."""

import io
import json
from typing import Any, cast

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started
from django.db import close_old_connections
from django.test import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.corpora.bad_json import BAD_JSON, GOOD_JSON, ODD_QUERIES, BadBody

pytestmark = [
    pytest.mark.urls("tests.integration.jobplatform.api.routes"),
    pytest.mark.django_db,
]

PROBLEM = "application/problem+json"
LIMIT = 300_000


def assert_problem(answer: Any, status: int, code: str) -> dict[str, Any]:
    assert answer.headers["Content-Type"] == PROBLEM
    body: dict[str, Any] = json.loads(answer.content)
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["title"]
    assert body["detail"]
    return body


def over_wsgi(**environ: Any) -> tuple[int, dict[str, str], bytes]:
    """A request as a server hands it over, so that it may have no length, or a wrong one."""
    base = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/api/v1/echo",
        "QUERY_STRING": "",
        "SERVER_NAME": "testserver",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(),
        "CONTENT_TYPE": "application/json",
    }
    started: list[Any] = []
    # A new request closes a connection that was left in a transaction, which here is the test's own.
    request_started.disconnect(close_old_connections)
    try:
        answer = WSGIHandler()(base | environ, cast("Any", lambda *line: started.append(line)))
    finally:
        request_started.connect(close_old_connections)
    return int(started[0][0].split()[0]), dict(started[0][1]), b"".join(answer)


# ------------------------------------------------------------------------------------------------ bodies
@pytest.mark.parametrize("bad", BAD_JSON, ids=str)
def test_a_bad_body_is_refused(api: Client, bad: BadBody) -> None:
    answer = api.generic("POST", "/api/v1/echo", bad.body, content_type=bad.content_type)

    assert_problem(answer, bad.status, bad.code)


@pytest.mark.parametrize("body", GOOD_JSON, ids=lambda body: body[:40].decode(errors="replace"))
def test_an_odd_body_that_is_fine_is_taken(api: Client, body: bytes) -> None:
    answer = api.generic("POST", "/api/v1/echo", body, content_type="application/json")

    assert answer.status_code == 201
    assert answer.json() == {"data": json.loads(body), "bytes": len(body)}


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON", "application/json;"])
def test_json_is_taken_by_any_name_of_it(api: Client, content_type: str) -> None:
    assert api.generic("POST", "/api/v1/echo", b"{}", content_type=content_type).status_code == 201


def test_a_body_may_be_as_large_as_the_view_says(api: Client) -> None:
    body = b'"' + b"x" * (LIMIT - 2) + b'"'

    taken = api.generic("POST", "/api/v1/echo", body, content_type="application/json")
    refused = api.generic("POST", "/api/v1/echo", body + b" ", content_type="application/json")

    assert taken.status_code == 201
    assert_problem(refused, 413, "body_too_large")


def test_an_announced_length_over_the_limit_is_refused_unread() -> None:
    class Untouched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise AssertionError

    status, headers, body = over_wsgi(**{"CONTENT_LENGTH": str(50 * 1024**2), "wsgi.input": Untouched()})

    assert (status, headers["Content-Type"]) == (413, PROBLEM)
    assert json.loads(body)["code"] == "body_too_large"


def test_a_chunked_body_is_read() -> None:
    status, _, body = over_wsgi(**{"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": io.BytesIO(b'{"a": 1}')})

    assert status == 201
    assert json.loads(body) == {"data": {"a": 1}, "bytes": 8}


def test_a_chunked_body_is_read_no_further_than_the_limit() -> None:
    class Endless(io.RawIOBase):
        handed_out = 0

        def read(self, size: int = -1) -> bytes:
            assert 0 < size <= LIMIT + 1
            self.handed_out += size
            return b" " * size

    stream = Endless()
    status, _, body = over_wsgi(**{"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": stream})

    assert status == 413
    assert json.loads(body)["code"] == "body_too_large"
    assert stream.handed_out <= LIMIT + 1


def test_an_empty_chunked_body_is_empty() -> None:
    status, _, body = over_wsgi(HTTP_TRANSFER_ENCODING="chunked")

    assert (status, json.loads(body)["code"]) == (400, "empty_body")


@pytest.mark.parametrize(
    "length, status, code",
    [
        ("100", 400, "incomplete_body"),
        ("abc", 400, "invalid_content_length"),
        ("-1", 400, "invalid_content_length"),
        ("1e3", 400, "invalid_content_length"),
        ("٣", 400, "invalid_content_length"),
        ("9" * 400, 413, "body_too_large"),
        ("", 400, "empty_body"),
        ("0", 400, "empty_body"),
    ],
)
def test_a_length_that_is_wrong_is_refused(length: str, status: int, code: str) -> None:
    got, headers, body = over_wsgi(**{"CONTENT_LENGTH": length, "wsgi.input": io.BytesIO(b'{"a": 1}')})

    assert (got, headers["Content-Type"], json.loads(body)["code"]) == (status, PROBLEM, code)


@pytest.mark.parametrize("coding", ["gzip", "br", "deflate, gzip", "x"])
def test_a_compressed_body_is_refused(api: Client, coding: str) -> None:
    answer = api.generic(
        "POST", "/api/v1/echo", b"\x1f\x8b", content_type="application/json", headers={"Content-Encoding": coding}
    )

    assert_problem(answer, 415, "unsupported_content_encoding")


@settings(max_examples=60)
@given(st.binary(max_size=300), st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=30))
def test_no_body_is_a_fault_of_ours(body: bytes, content_type: str) -> None:
    environ = {"CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), "CONTENT_TYPE": content_type}
    for kind in (content_type, "application/json"):
        status, headers, _ = over_wsgi(**environ | {"CONTENT_TYPE": kind, "wsgi.input": io.BytesIO(body)})
        assert status in {201, 400, 415}
        assert headers["Content-Type"] in {PROBLEM, "application/json"}


# ------------------------------------------------------------------------------------------------ addresses
@pytest.mark.parametrize("query", ODD_QUERIES, ids=lambda query: query[:30])
def test_an_odd_query_is_refused_or_ignored(api: Client, query: str) -> None:
    for path in ("/api/v1/echo", "/api/v1/plain", "/api/v1/rows"):
        answer = api.generic("GET", path, QUERY_STRING=query.encode().decode("latin-1"))  # as a server does

        assert answer.status_code in {200, 400, 404, 414}, path
        if answer.status_code != 200:
            assert answer.headers["Content-Type"] == PROBLEM


@settings(max_examples=100)
@given(st.text(st.characters(max_codepoint=255), max_size=60), st.sampled_from(["limit", "cursor", "status", "format"]))
def test_no_query_is_a_fault_of_ours(text: str, name: str) -> None:
    for query in (text, f"{name}={text}"):
        status, headers, body = over_wsgi(REQUEST_METHOD="GET", PATH_INFO="/api/v1/rows", QUERY_STRING=query)
        assert status in {200, 400, 404, 406}, body
        assert status == 200 or headers["Content-Type"] == PROBLEM


@settings(max_examples=100)
@given(
    st.text(st.characters(max_codepoint=255), max_size=30), st.sampled_from(["GET", "POST", "PUT", "BREW", "OPTIONS"])
)
def test_no_path_or_method_is_a_fault_of_ours(text: str, method: str) -> None:
    for path in (f"/api/{text}", f"/api/v1/keys/{text}", f"/api/v1/projects/{text}", f"/api/v1/echo{text}"):
        status, headers, _ = over_wsgi(REQUEST_METHOD=method, PATH_INFO=path)
        assert status in {200, 400, 401, 404, 405}
        assert status == 200 or headers["Content-Type"] == PROBLEM


@settings(max_examples=30)
@given(
    st.text(st.characters(max_codepoint=255), max_size=60),
    st.sampled_from(
        ["ACCEPT", "AUTHORIZATION", "COOKIE", "HOST", "X_PROJECT", "IDEMPOTENCY_KEY", "ACCEPT_LANGUAGE", "ORIGIN"]
    ),
)
def test_no_header_is_a_fault_of_ours(text: str, name: str) -> None:
    body = b'{"name": "x"}'
    for value in (text, f"Bearer {text}", f"sessionid={text}; csrftoken={text}", f"application/json;{text}"):
        for path in ("/api/v1/known", "/api/v1/create", "/api/v1/projects"):
            environ = {"PATH_INFO": path, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body)}
            status, headers, _ = over_wsgi(**environ, **{f"HTTP_{name}": value})
            assert status in {201, 400, 401, 403, 406}, (path, name, value)
            assert status == 201 or headers["Content-Type"] == PROBLEM


def test_an_unknown_parameter_is_named(api: Client) -> None:
    body = assert_problem(api.get("/api/v1/echo", {"stauts": "queued"}), 400, "unknown_parameter")

    assert body["errors"][0]["field"] == "?stauts"


def test_a_known_parameter_is_taken_once(api: Client) -> None:
    assert api.get("/api/v1/echo?status=queued&limit=3").json() == {
        "limit": 3,
        "query": {"status": "queued", "limit": "3"},
    }
    assert_problem(api.get("/api/v1/echo?status=queued&status=failed"), 400, "repeated_parameter")


def test_an_address_with_a_slash_at_its_end_is_unknown_and_not_redirected(api: Client) -> None:
    assert "slash" in assert_problem(api.get("/api/v1/echo/"), 404, "not_found")["detail"]


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"])
def test_another_method_is_refused_and_the_right_ones_are_named(api: Client, method: str) -> None:
    answer = api.generic(method, "/api/v1/echo")

    assert_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET, POST, HEAD"
    assert "Allow" not in api.get("/api/v1/echo").headers


def test_head_is_get_without_a_body(api: Client) -> None:
    answer = api.head("/api/v1/echo")

    assert (answer.status_code, answer.content) == (200, b"")


@pytest.mark.parametrize(
    "accept, status, kind",
    [
        ("", 200, "application/json"),
        ("*/*", 200, "application/json"),
        ("application/json", 200, "application/json"),
        ("application/*;q=0.5, text/plain", 200, "application/json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", 200, "text/html; charset=utf-8"),
        ("image/png", 406, PROBLEM),
        (";;;", 406, PROBLEM),
    ],
)
def test_the_format_is_negotiated(api: Client, accept: str, status: int, kind: str) -> None:
    answer = api.get("/api/v1/echo", headers={"Accept": accept})

    assert (answer.status_code, answer.headers["Content-Type"]) == (status, kind)


def test_nobody_may_keep_an_answer(api: Client) -> None:
    answer = api.get("/api/v1/echo")

    assert answer.headers["Cache-Control"] == "no-store"
    assert "Accept" in answer.headers["Vary"]


# ------------------------------------------------------------------------------------------------ failures
def test_a_problem_brings_its_headers(api: Client) -> None:
    answer = api.get("/api/v1/fail?how=problem")

    assert_problem(answer, 418, "teapot")
    assert answer.headers["X-Tea"] == "green"


@pytest.mark.parametrize("how", ["fault", "sql"])
def test_a_fault_of_ours_is_a_500_that_tells_nothing(api: Client, how: str) -> None:
    answer = api.get(f"/api/v1/fail?how={how}")

    if how == "sql":  # division by zero is the class of errors that bad values cause
        assert_problem(answer, 400, "invalid_value")
    else:
        assert_problem(answer, 500, "internal_error")
    assert b"hunter2" not in answer.content


@pytest.mark.parametrize("path", ["/api/v1/fail?how=database", "/healthz"])
def test_a_lost_database_is_a_503_that_says_when_to_try_again(api: Client, path: str) -> None:
    answer = api.get(path)

    assert_problem(answer, 503, "database_unavailable")
    assert answer.headers["Retry-After"] == "1"
    assert b"hunter2" not in answer.content


@pytest.mark.parametrize("how", ["value", "overflow"])
def test_a_value_that_the_database_cannot_take_is_the_clients_mistake(api: Client, how: str) -> None:
    answer = api.get(f"/api/v1/fail?how={how}")

    assert answer.status_code in {200, 400}
    assert answer.status_code == 200 or answer.json()["code"] == "invalid_value"


def test_a_view_that_says_nothing_is_closed(api: Client) -> None:
    assert_problem(api.get("/api/v1/silent"), 401, "not_authenticated")


def test_an_unknown_host_is_refused_where_it_matters(api: Client, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["example.org"]

    answer = api.get("/api/v1/plain?limit=1", headers={"Host": "evil.example"})

    assert answer.status_code in {200, 400}
    assert b"evil.example" not in answer.content
