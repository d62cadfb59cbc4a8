"""The load generator: it knows where an answer ends, and counts exactly what was accepted."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

import pytest

from benchmarks import loader


class Answering(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    bodies: ClassVar[list[bytes]] = []
    chunked = False
    status = 202

    def do_POST(self) -> None:
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(self.status)
        if self.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"2\r\n{}\r\n0\r\n\r\n")
        else:
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(params=[False, True], ids=["length", "chunked"])
def answering(request: pytest.FixtureRequest) -> type[Answering]:
    return type("Handler", (Answering,), {"bodies": [], "chunked": request.param})


@pytest.fixture
def port(answering: type[Answering]) -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), answering) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_every_accepted_request_is_counted_and_has_the_body(port: int, answering: type[Answering]) -> None:
    request = loader.post(port, "/jobs", b'{"a":1}', {"Authorization": "Bearer x"})
    load = loader.run(port, request, connections=2, warm_up=0.02, seconds=0.1)
    assert load.accepted == len(answering.bodies) > 0
    assert set(answering.bodies) == {b'{"a":1}'}
    assert not load.refused


def test_the_warm_up_does_not_count(port: int) -> None:
    request = loader.post(port, "/jobs", b"{}")
    load = loader.run(port, request, connections=1, warm_up=0.05, seconds=0)
    assert load.accepted > load.requests == len(load.latencies_ms) == 0


def test_refused_requests_are_kept_and_not_counted(port: int, answering: type[Answering]) -> None:
    answering.status = 422
    load = loader.run(port, loader.post(port, "/", b"{}"), connections=1, warm_up=0, seconds=0.05)
    assert load.accepted == load.requests == 0
    assert load.refused[0].startswith(b"HTTP/1.1 422")


@pytest.mark.parametrize(
    "answer, whole",
    [
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n", False),
        (b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\n{", False),
        (b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\n\r\n{}", True),
        (b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n", False),
        (b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", True),
        (b"HTTP/1.1 204 No Content\r\n\r\n", True),
    ],
)
def test_the_end_of_an_answer_is_found(answer: bytes, *, whole: bool) -> None:
    assert loader.complete(answer) is whole
