"""A node is asked over HTTP, and whatever comes back has a name."""

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import urllib3

from confirmations.errors import NodeNonsense, NodeRefused, NodeUnreachable
from confirmations.gateway.node import Node

Answer = Callable[[Any], tuple[int, dict[str, str], bytes]]


class Server:
    """A server of HTTP that answers as a test says."""

    def __init__(self) -> None:
        self.answer: Answer = lambda asked: (200, {}, json.dumps(echo(asked)).encode())
        self.asked: list[Any] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                server.asked.append(asked)
                status, headers, body = server.answer(asked)
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(body))} | headers).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
                self.close_connection = "Content-Length" in headers

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is that of the base class
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v2/secret-key"
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.05,))
        self.thread.start()

    def says(self, status: int, body: Any, **headers: str) -> None:
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.answer = lambda _: (status, {name.replace("_", "-"): value for name, value in headers.items()}, text)

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


def echo(asked: Any) -> Any:
    if isinstance(asked, list):
        return [echo(one) for one in reversed(asked)]
    return {"jsonrpc": "2.0", "id": asked["id"], "result": [asked["method"], asked["params"]]}


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture
def node(server: Server) -> Node:
    return Node(server.url, timeout=urllib3.Timeout(connect=1, read=1))


def test_one_question_has_one_answer(server: Server, node: Node) -> None:
    assert node.call("eth_chainId") == ["eth_chainId", []]
    assert node.call("eth_getBlockByNumber", "latest", False) == ["eth_getBlockByNumber", ["latest", False]]
    assert server.asked[0]["jsonrpc"] == "2.0"


def test_many_answers_come_in_the_order_of_their_questions(server: Server, node: Node) -> None:
    assert node.batch([("one", []), ("two", [2]), ("three", [])]) == [["one", []], ["two", [2]], ["three", []]]
    assert len(server.asked) == 1


def test_each_of_many_may_be_refused_or_missing_by_itself(server: Server, node: Node) -> None:
    def answer(asked: Any) -> tuple[int, dict[str, str], bytes]:
        refused = {"id": asked[1]["id"], "error": {"code": -32000, "message": "nonce too low", "data": "0x"}}
        return 200, {}, json.dumps([echo(asked[0]), refused, {"id": "strange"}, 7]).encode()

    server.answer = answer
    good, refused, missing = node.batch([("one", []), ("two", []), ("three", [])])

    assert good == ["one", []]
    assert isinstance(refused, NodeRefused)
    assert (refused.number, refused.message, refused.data) == (-32000, "nonce too low", "0x")
    assert isinstance(missing, NodeNonsense)


@pytest.mark.parametrize("status", [200, 400, 500], ids=["as HTTP wants it", "a client error", "a server error"])
def test_a_refusal_is_one_whatever_the_status_of_http(server: Server, node: Node, status: int) -> None:
    server.says(status, {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Invalid request"}})

    with pytest.raises(NodeRefused) as refused:
        node.call("eth_chainId")
    assert refused.value.number == -32600
    with pytest.raises(NodeRefused):
        node.batch([("one", []), ("two", [])])


def test_who_asks_too_often_is_told_for_how_long_to_wait(server: Server, node: Node) -> None:
    server.says(429, {"error": {"code": -32005, "message": "daily request count exceeded"}}, Retry_After="7")

    with pytest.raises(NodeRefused) as refused:
        node.call("eth_chainId")
    assert (refused.value.number, refused.value.retry_after) == (429, 7.0)
    assert "daily" in refused.value.message


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"7", b"null", b'{"id": 1}', b"[[1]]", b'{"jsonrpc": "2.0", "result": 1', b"\xff"],
    ids=["nothing", "a page", "a number", "null", "no result", "a list in a list", "cut off", "no text"],
)
def test_what_is_no_answer_is_nonsense(server: Server, node: Node, body: bytes) -> None:
    server.says(200, body)

    with pytest.raises(NodeNonsense):
        node.call("eth_chainId")
    try:
        found = node.batch([("one", []), ("two", [])])
    except NodeNonsense as error:
        found = [error]
    assert all(isinstance(answer, NodeNonsense) for answer in found)


def test_a_server_that_fails_without_an_answer_is_unreachable(server: Server, node: Node) -> None:
    server.says(502, b"Bad Gateway")
    with pytest.raises(NodeUnreachable, match="502"):
        node.call("eth_chainId")


def test_an_answer_that_is_cut_off_or_too_late_is_none(server: Server, node: Node) -> None:
    server.answer = lambda _: (200, {"Content-Length": "1000"}, b'{"result": 1}')
    with pytest.raises(NodeUnreachable):
        node.call("eth_chainId")

    late = threading.Event()

    def answer(asked: Any) -> tuple[int, dict[str, str], bytes]:
        late.wait(5)
        return 200, {}, json.dumps(echo(asked)).encode()

    server.answer = answer
    with pytest.raises(NodeUnreachable):
        node.call("eth_chainId")
    late.set()


def test_nobody_there_is_told_without_the_url_and_what_it_may_hold() -> None:
    gone = Server()
    gone.close()

    with pytest.raises(NodeUnreachable) as error:
        Node(gone.url).call("eth_chainId")
    assert "secret-key" not in str(error.value)
    assert error.value.__cause__ is None
