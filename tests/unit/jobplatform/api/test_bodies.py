"""Bodies are read before a request goes on, and only so many at a time."""

import threading
from collections.abc import Iterable
from io import BytesIO
from typing import Any

import pytest

from jobplatform.api import bodies
from jobplatform.api.bodies import FORM, LARGEST, MOST_LARGE, MOST_SMALL, SMALL, Ahead


class Gate:
    """A body that comes when the gate opens."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.opened = threading.Event()

    def read(self, size: int) -> bytes:
        self.waiting.release()
        assert self.opened.wait(20)
        return b"x" * min(size, 3)


def echo(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [environ["wsgi.input"].read()] if "wsgi.input" in environ else [b"nothing"]


def call(ahead: Ahead, **environ: Any) -> tuple[str, bytes]:
    statuses: list[str] = []
    body = b"".join(ahead({"PATH_INFO": "/api/v1/jobs", **environ}, lambda status, _: statuses.append(status)))
    return statuses[0], body


@pytest.mark.parametrize(
    "environ",
    [
        {"CONTENT_LENGTH": "3", "wsgi.input": BytesIO(b"abc")},
        {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input": BytesIO(b"abc")},
        {"CONTENT_LENGTH": str(SMALL + 1), "wsgi.input": BytesIO(b"abc")},  # it ends too soon: the address says so
    ],
)
def test_a_body_is_there_when_the_request_goes_on(environ: dict[str, Any]) -> None:
    assert call(Ahead(echo), **environ) == ("200 OK", b"abc")


def test_what_has_no_body_goes_on_at_once() -> None:
    assert call(Ahead(echo)) == ("200 OK", b"nothing")
    assert call(Ahead(echo), CONTENT_LENGTH="0") == ("200 OK", b"nothing")


@pytest.mark.parametrize(("path", "most"), [("/api/v1/jobs/batch", LARGEST), ("/admin/login/", FORM)])
def test_what_nothing_takes_is_refused_unread(path: str, most: int) -> None:
    status, body = call(Ahead(echo), PATH_INFO=path, CONTENT_LENGTH=str(most + 1))

    assert status.startswith("413")
    assert b'"body_too_large"' in body


def test_a_body_of_unknown_length_is_read_no_further_than_anything_takes() -> None:
    body = BytesIO(b"x" * (FORM + 10))

    _, read = call(Ahead(echo), PATH_INFO="/admin/login/", HTTP_TRANSFER_ENCODING="chunked", **{"wsgi.input": body})

    assert len(read) == FORM + 1


@pytest.mark.parametrize(("length", "most"), [(10, MOST_SMALL), (SMALL + 1, MOST_LARGE)])
def test_only_so_many_bodies_are_read_at_a_time(monkeypatch: pytest.MonkeyPatch, length: int, most: int) -> None:
    monkeypatch.setattr(bodies, "PATIENCE", 0.01)
    ahead, gate = Ahead(echo), Gate()
    found: list[str] = []

    def one() -> None:
        found.append(call(ahead, CONTENT_LENGTH=str(length), **{"wsgi.input": gate})[0])

    threads = [threading.Thread(target=one) for _ in range(most)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert gate.waiting.acquire(timeout=20)

    status, body = call(ahead, CONTENT_LENGTH=str(length), **{"wsgi.input": gate})
    other = call(ahead)
    gate.opened.set()
    for thread in threads:
        thread.join(20)

    assert status.startswith("503")
    assert b'"overloaded"' in body
    assert other == ("200 OK", b"nothing")
    assert found == ["200 OK"] * most
    assert call(ahead, CONTENT_LENGTH=str(length), **{"wsgi.input": gate})[0] == "200 OK"  # all have been given back
