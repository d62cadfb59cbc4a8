"""A proxy between a client and a node of a chain that loses, delays, changes and refuses what the test says.

    with RpcProxy(node.url) as proxy:
        nodes = Nodes([proxy.url], chain_id=31337)
        with proxy.having(ReplyLost(methods="eth_sendRawTransaction", times=1)):
            ...
        proxy.on(Lag(20))                                  # tests/rpc_lag.py; the others are in tests/rpc_faults.py
        proxy.on(Capped(PROVIDERS["infura"]))              # tests/rpc_refusals.py
        proxy.off()
        call = proxy.calls.wait_for("eth_sendRawTransaction", 3, moment="done")
        proxy.push_log(log, removed=True)
        proxy.drop_sockets()

Faults work in the order in which they were switched on. WebSockets go to the same port; only the faults of a request
apply to them, and only as they are opened: their method is `UPGRADE`. Nothing here sleeps or polls.
"""

import contextlib
import socket
import threading
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import orjson
import urllib3

from tests.rpc_calls import GENEROUS, UPGRADE, Answer, Call, Calls, Exchange, HangUp, Reply
from tests.rpc_faults import Fault
from tests.rpc_sockets import Link

HOST = "127.0.0.1"
JSON = {"Content-Type": "application/json"}

F = TypeVar("F", bound=Fault)


class RpcProxy:
    """The proxy before the node at `url`. `socket_url`: where that speaks through WebSockets, if elsewhere."""

    def __init__(self, url: str, *, socket_url: str | None = None) -> None:
        self.calls = Calls()
        self._node_url = url
        self._node_sockets = urlsplit(socket_url or url)
        self._pool = urllib3.PoolManager(maxsize=8, retries=False, timeout=GENEROUS)
        self._faults: tuple[Fault, ...] = ()
        self._links: list[Link] = []
        self._server: _Server | None = None
        # Holds the port while nobody listens: who connects then is refused, and nobody else gets it.
        self._holder = socket.socket()
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._holder.bind((HOST, 0))
        self.port = int(self._holder.getsockname()[1])
        self.url = f"http://{HOST}:{self.port}"
        self.socket_url = f"ws://{HOST}:{self.port}"
        self.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and give the port back."""
        self.stop()
        self.off()
        self._pool.clear()
        self._holder.close()

    # -- connections

    def start(self) -> None:
        """Listen, again on the same port."""
        if self._server is None:
            self._server = _Server(self)
            self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="rpc-proxy")
            self._thread.start()

    def stop(self) -> None:
        """Cut every connection and refuse new ones, until `start`."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            self._thread.join()
            with self.calls.changed:
                self.calls.changed.notify_all()
            server.cut()
            server.server_close()

    def drop_sockets(self) -> int:
        """Cut every WebSocket. Returns how many there were."""
        links = list(self._links)
        for link in links:
            link.drop()
        return len(links)

    def push(self, kind: str, result: Any) -> int:
        """Tell who has subscribed to `newHeads` or `logs`, as the node would. Returns how many subscriptions were told."""
        return sum(link.push(kind, result) for link in list(self._links))

    def push_log(self, log: dict[str, Any], *, removed: bool = False) -> int:
        """Tell who has subscribed to logs of this one, or that its block is no longer of the chain."""
        return self.push("logs", log | {"removed": removed})

    # -- faults

    def on(self, fault: F) -> F:
        """Switch a fault on, and return it."""
        with self.calls.changed:
            fault.active, fault.hits = True, 0
            self._faults = (*self._faults, fault)
        return fault

    def off(self, *faults: Fault) -> None:
        """Switch these faults off, or all. What hangs by one goes on."""
        ended = faults or self._faults
        with self.calls.changed:
            self._faults = tuple(fault for fault in self._faults if fault not in ended)
            for fault in ended:
                fault.active = False
            self.calls.changed.notify_all()

    @contextlib.contextmanager
    def having(self, *faults: Fault) -> Iterator[None]:
        """With these faults switched on."""
        for fault in faults:
            self.on(fault)
        try:
            yield
        finally:
            if faults:
                self.off(*faults)

    # -- requests

    def _exchange(self, calls: Sequence[Call], *, batch: bool) -> Exchange:
        server = self._server
        self.calls.add(*calls)
        return Exchange(
            calls,
            batch=batch,
            ask=self._ask,
            changed=self.calls.changed,
            connected=lambda: server is not None and self._server is server,
        )

    def serve(self, body: bytes) -> Answer:
        """The answer to a request. Raises `HangUp`: it gets none."""
        asked = orjson.loads(body)
        if not asked:
            return self._post(body)  # a batch of nothing
        batch = isinstance(asked, list)
        calls = [Call(one["method"], one.get("params", []), one.get("id")) for one in (asked if batch else [asked])]
        exchange = self._exchange(calls, batch=batch)
        answer = self._refusal(exchange)
        if answer is None:
            answer = self._carry(exchange)
            for fault in self._faults:
                answer = fault.spoil(exchange, answer)
        self.calls.mark(calls, "answered")
        return answer

    def _refusal(self, exchange: Exchange) -> Answer | None:
        answers = (fault.refuse(exchange) for fault in self._faults)
        return next((answer for answer in answers if answer is not None), None)

    def _carry(self, exchange: Exchange) -> Answer:
        faults = self._faults
        replies: dict[Call, Reply | None] = {}
        for call in exchange.calls:
            made = (fault.instead(call, exchange) for fault in faults)
            replies[call] = next((reply for reply in made if reply is not None), None)
        forwarded = [call for call in exchange.calls if replies[call] is None]
        if forwarded:
            told = self._forward(forwarded, batch=exchange.batch)
            self.calls.mark(forwarded, "done")
            if isinstance(told, Answer):
                return told
            replies |= dict(zip(forwarded, told, strict=True))
        for call in exchange.calls:
            for fault in faults:
                reply = replies[call]
                if reply is not None:
                    replies[call] = fault.change(call, exchange, {"id": call.request_id} | reply)
        said = [{"id": call.request_id} | reply for call in exchange.calls if (reply := replies[call]) is not None]
        body = orjson.dumps(said) if exchange.batch else b"".join(map(orjson.dumps, said))
        return Answer(exchange.status, body, JSON)

    # -- the node

    def _forward(self, calls: Sequence[Call], *, batch: bool) -> list[Reply] | Answer:
        """The node's replies in the order of the calls; or its answer as it is, if it has another form."""
        asked = [
            {"jsonrpc": "2.0", "id": call.request_id, "method": call.method, "params": call.params} for call in calls
        ]
        answer = self._post(orjson.dumps(asked if batch else asked[0]))
        try:
            told = orjson.loads(answer.body)
            replies = {reply["id"]: reply for reply in (told if isinstance(told, list) else [told])}
            return [replies[call.request_id] for call in calls]
        except (orjson.JSONDecodeError, AttributeError, KeyError, TypeError):
            return answer

    def _ask(self, method: str, *params: Any) -> Any:
        told = self._forward([Call(method, list(params), 0)], batch=False)
        if isinstance(told, Answer):
            raise HangUp
        return told[0].get("result")

    def _post(self, body: bytes) -> Answer:
        try:
            response = self._pool.request("POST", self._node_url, body=body, headers=JSON)
        except (urllib3.exceptions.HTTPError, OSError):
            raise HangUp from None
        return Answer(response.status, response.data, {"Content-Type": response.headers.get("Content-Type", "")})

    def carry_socket(self, handler: BaseHTTPRequestHandler) -> Answer | None:
        """Carry a WebSocket until it ends; or the answer that refuses it. Raises `HangUp`."""
        answer = self._refusal(self._exchange([Call(UPGRADE, by_socket=True)], batch=False))
        if answer is not None:
            return answer
        link = Link(handler.connection, handler.rfile, self.calls)
        self._links.append(link)
        try:
            link.run(self._node_sockets, handler.headers.items())
        finally:
            self._links.remove(link)
        return None


class _Server(ThreadingHTTPServer):
    """Listens, and knows its connections so that they can be cut."""

    daemon_threads = False  # it waits for them as it is closed
    request_queue_size = 128

    def __init__(self, proxy: RpcProxy) -> None:
        self.proxy = proxy
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((HOST, proxy.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def cut(self) -> None:
        """Cut every connection."""
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two packets
    server: _Server

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client has gone
            super().handle()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            self._answer(self.server.proxy.serve(body))
        except HangUp:
            self.close_connection = True

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() != "websocket":
            self._answer(Answer(HTTPStatus.METHOD_NOT_ALLOWED))
            return
        with contextlib.suppress(HangUp):
            answer = self.server.proxy.carry_socket(self)
            if answer is not None:
                self._answer(answer)
        self.close_connection = True

    def _answer(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in ({"Content-Length": str(len(answer.body))} | dict(answer.headers)).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(answer.body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is that of the base class
        pass
