"""Bad input to the web server as it ships: a problem with a stable code, never a fault of ours; nothing is made or lost."""

import contextlib
import json
import re
import socket
import threading
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection, HTTPResponse
from typing import Any
from uuid import uuid4

import psutil
import pytest

from tests.acceptance.jobs.web import JOBS, Answer, Web, web
from tests.corpora.bad_json import BAD_JSON, ODD_QUERIES
from tests.integration.test_routes import Route, of_the_api

__all__ = ["web"]

pytestmark = pytest.mark.timeout(300)

GOOD = {"kind": "test.open", "payload": {"n": 1}}
HUGE = 50 * 1024 * 1024
TABLES = ("jobs_job", "ingestion_message", "projects_project", "projects_apikey")


def takes(method: str, *, fixed: bool) -> list[Route]:
    """Routes of the API with this method, whose address is fixed or names something."""
    return [
        route for route in of_the_api() if hasattr(route.view_class, method) and ("<" not in route.pattern) == fixed
    ]


def made(web: Web) -> dict[str, int]:
    """How many rows there are of each thing that a request could make."""
    return {table: web.platform.value(f"select count(*) from {table}") for table in TABLES}


def ask(web: Web, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
    """One request with a body as it is."""
    link = HTTPConnection("127.0.0.1", web.port, timeout=60)
    sent = {"Authorization": f"Bearer {web.key}", **{name.replace("_", "-"): text for name, text in headers.items()}}
    link.request(method, path, body, sent)
    return web.read(link)


def refused(answer: Answer) -> bool:
    """Whether this is a problem of the client's, with a code to rely on."""
    return (
        400 <= answer.status < 500
        and answer.headers["content-type"] == "application/problem+json"
        and re.fullmatch(r"[a-z][a-z0-9_]*", answer.body["code"]) is not None
        and answer.body["status"] == answer.status
    )


@pytest.fixture
def unharmed(web: Web) -> Iterator[None]:
    """Afterwards the same processes serve, nothing has been made, and a good request is accepted as ever."""
    before = made(web)
    serving = set(psutil.Process(web.program.pid).children())
    yield
    assert made(web) == before
    assert set(psutil.Process(web.program.pid).children()) == serving
    assert web.call("POST", JOBS, GOOD).status == 202


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("route", takes("post", fixed=True), ids=lambda route: route.pattern)
def test_every_creating_address_refuses_every_bad_body(web: Web, route: Route) -> None:
    wrong = {}
    for bad in BAD_JSON:
        answer = ask(web, "POST", f"/{route.path}", bad.body, Content_Type=bad.content_type)
        if not refused(answer) or answer.body["code"] != bad.code or answer.status not in {bad.status, 422}:
            wrong[bad.name] = (answer.status, answer.content[:200])

    # A smaller limit of an address goes before what stands in the body.
    assert {name: found for name, found in wrong.items() if found[0] != 413} == {}
    assert set(wrong) <= {bad.name for bad in BAD_JSON if len(bad.body) > 50_000}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("route", takes("post", fixed=False), ids=lambda route: route.pattern)
def test_an_address_that_names_what_is_not_there_refuses_every_bad_body(web: Web, route: Route) -> None:
    answers = {
        bad.name: ask(web, "POST", f"/{route.path}", bad.body, Content_Type=bad.content_type) for bad in BAD_JSON
    }

    assert {name: answer.content for name, answer in answers.items() if not refused(answer)} == {}


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("value", ["null", "7", '"x"', "[]", "[{}]", '{"": {}}', "true"])
def test_another_type_than_the_one_that_is_wanted_is_refused(web: Web, value: str) -> None:
    for route in takes("post", fixed=True):
        answer = ask(web, "POST", f"/{route.path}", value.encode(), Content_Type="application/json")
        assert refused(answer), (route.path, answer.content)


@pytest.mark.usefixtures("unharmed")
def test_no_odd_query_is_a_fault_of_ours(web: Web) -> None:
    for route in takes("get", fixed=True):
        for query in ODD_QUERIES:
            path = f"/{route.path}?{query}".encode().decode("latin-1")
            link = HTTPConnection("127.0.0.1", web.port, timeout=60)
            link._validate_path = lambda _path: None  # type: ignore[attr-defined] # it would not send what is odd
            link._encode_request = lambda line: line.encode("latin-1")  # type: ignore[attr-defined] # likewise
            link.request("GET", path, headers={"Authorization": f"Bearer {web.key}"})
            answer = web.read(link)
            assert answer.status < 500, (path, answer.content)
            if answer.status >= 400 and answer.content:  # the server itself refuses some without a word
                assert refused(answer), (path, answer.content)


# ------------------------------------------------------------------------------------------------ on the wire
def stream(web: Web, head: bytes, parts: Iterable[bytes], path: str = JOBS) -> tuple[int, Any]:
    """POST a body piece by piece, for as long as the server takes it. Returns status and JSON of the answer."""
    with socket.create_connection(("127.0.0.1", web.port), timeout=60) as link:
        lines = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {web.key}\r\n"
        link.sendall(lines.encode() + b"Content-Type: application/json\r\n" + head + b"\r\n")

        def send() -> None:
            try:
                for part in parts:
                    link.sendall(part)
            except OSError:  # it has heard enough
                pass

        sender = threading.Thread(target=send)
        sender.start()
        answer = HTTPResponse(link, method="POST")
        try:
            answer.begin()
            return answer.status, json.loads(answer.read())
        finally:
            with contextlib.suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
            sender.join()


def chunked(*parts: bytes) -> Iterator[bytes]:
    yield from (b"%x\r\n%s\r\n" % (len(part), part) for part in parts)
    yield b"0\r\n\r\n"


def much(size: int) -> Iterator[bytes]:
    """A JSON text of about that size, in pieces."""
    piece = b"x" * 65_536
    yield b'{"kind": "'
    yield from (piece for _ in range(size // len(piece)))
    yield b'"}'


@pytest.mark.usefixtures("unharmed")
@pytest.mark.parametrize("path", [JOBS, f"{JOBS}/batch", "/api/v1/messages", "/api/v1/keys"])
def test_fifty_megabytes_are_refused_whether_their_length_is_told_or_not(web: Web, path: str) -> None:
    told = stream(web, b"Content-Length: %d\r\n" % (HUGE + 12), much(HUGE), path)
    untold = stream(web, b"Transfer-Encoding: chunked\r\n", chunked(*much(HUGE)), path)

    assert [(status, body["code"]) for status, body in (told, untold)] == [(413, "body_too_large")] * 2


@pytest.mark.usefixtures("unharmed")
def test_a_bad_body_in_chunks_is_refused(web: Web) -> None:
    for body, code in ((b'{"kind": "a", "kind": "b"}', "duplicate_key"), (b'{"kind": NaN}', "invalid_number")):
        parts = [body[n : n + 5] for n in range(0, len(body), 5)]
        status, problem = stream(web, b"Transfer-Encoding: chunked\r\n", chunked(*parts))
        assert (status, problem["code"]) == (400, code)


def test_a_good_body_in_chunks_is_taken(web: Web) -> None:
    mark = str(uuid4())
    body = json.dumps(GOOD | {"metadata": {"mark": mark}}).encode()
    parts = [body[n : n + 7] for n in range(0, len(body), 7)]
    status, job = stream(web, b"Transfer-Encoding: chunked\r\n", chunked(*parts))

    assert (status, job["metadata"]) == (202, {"mark": mark})
    assert web.platform.value("select count(*) from jobs_job where metadata ->> 'mark' = %s", mark) == 1


@pytest.mark.usefixtures("unharmed")
def test_bodies_that_do_not_come_keep_nobody_waiting(web: Web) -> None:
    """Forty requests under way, for places of which there are sixteen; whoever sends more is served meanwhile."""
    head = f"POST {JOBS} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {web.key}\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            link = stack.enter_context(socket.create_connection(("127.0.0.1", web.port), timeout=60))
            link.sendall(head.encode())

        answers = [web.call("GET", "/api/v1/kinds").status for _ in range(10)]
        refusals = [ask(web, "POST", JOBS, b"{", Content_Type="application/json") for _ in range(10)]

    assert answers == [200] * 10
    assert [answer.body["code"] for answer in refusals] == ["invalid_json"] * 10


@pytest.mark.usefixtures("unharmed")
def test_a_page_takes_no_more_than_a_form(web: Web) -> None:
    head = b"Content-Length: %d\r\n" % (3 * 1024 * 1024)

    status, body = stream(web, head, much(3 * 1024 * 1024), path="/admin/login/")

    assert (status, body["code"]) == (413, "body_too_large")
