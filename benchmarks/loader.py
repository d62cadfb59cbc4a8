"""A small HTTP load generator: keep-alive connections that each send the same request again and again.

One thread and one `epoll`, about 20 microseconds of CPU a request, the same for both sides. It reads just enough of
HTTP/1.1 to find the end of an answer.
"""

import selectors
import socket
import time
from dataclasses import dataclass, field

STALLED = 30.0  # seconds without any answer


@dataclass
class Load:
    """What came back. `accepted` counts every 2xx answer, `requests` only those inside the measured `seconds`."""

    seconds: float
    accepted: int = 0
    requests: int = 0
    refused: list[bytes] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


@dataclass
class _Connection:
    socket: socket.socket
    received: bytearray = field(default_factory=bytearray)
    sent_at: float = 0.0

    def send(self, request: bytes) -> None:
        self.received.clear()
        self.sent_at = time.monotonic()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Read what is there; whether the answer is complete. Raises `ConnectionError` when the server hangs up."""
        data = self.socket.recv(1 << 20)
        if not data:
            message = "the server closed a connection"
            raise ConnectionError(message)
        self.received += data
        return complete(self.received)


def complete(answer: bytes | bytearray) -> bool:
    """Whether an answer has been received to its end."""
    head_ends = answer.find(b"\r\n\r\n")
    if head_ends < 0:
        return False
    head = bytes(answer[:head_ends]).lower()
    if b"transfer-encoding: chunked" in head:
        return answer.endswith(b"0\r\n\r\n")
    at = head.find(b"content-length:")
    length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
    return len(answer) >= head_ends + 4 + length


def post(port: int, path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """The bytes of one POST request to 127.0.0.1:`port`."""
    lines = [f"POST {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    lines += [f"Content-Length: {len(body)}", "Connection: keep-alive", "", ""]
    return "\r\n".join(lines).encode() + body


def get(port: int, path: str, headers: dict[str, str]) -> bytes:
    """The bytes of one GET request to 127.0.0.1:`port`."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "Connection: keep-alive", "", ""]).encode()


def read(connection: socket.socket) -> bytes:
    """One whole answer. Raises `ConnectionError` when the server hangs up before its end."""
    waited_for = _Connection(connection)
    while not waited_for.receive():
        pass
    return bytes(waited_for.received)


def run(port: int, request: bytes, *, connections: int, warm_up: float, seconds: float) -> Load:
    """Keep `connections` requests in flight for `warm_up` + `seconds`; only answers of the latter count.

    Every request that was sent is waited for, so that `accepted` is exactly what the server took. Raises
    `TimeoutError` when no answer comes any more.
    """
    load = Load(seconds)
    begin = time.monotonic() + warm_up
    end = begin + seconds
    with selectors.DefaultSelector() as selector:
        for _ in range(connections):
            connection = _Connection(socket.create_connection(("127.0.0.1", port), timeout=STALLED))
            connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send(request)
        in_flight = connections
        while in_flight:
            ready = selector.select(STALLED)
            if not ready:
                message = f"no answer for {STALLED:.0f} s"
                raise TimeoutError(message)
            for key, _ in ready:
                connection = key.data
                if not connection.receive():
                    continue
                now = time.monotonic()
                _count(load, connection, now, counts=begin <= now < end)
                if now < end:
                    connection.send(request)
                else:
                    selector.unregister(connection.socket)
                    connection.socket.close()
                    in_flight -= 1
    return load


def _count(load: Load, connection: _Connection, now: float, *, counts: bool) -> None:
    if not connection.received[9:12].startswith(b"2"):
        load.refused.append(bytes(connection.received[:500]))
        return
    load.accepted += 1
    if counts:
        load.requests += 1
        load.latencies_ms.append((now - connection.sent_at) * 1000)
