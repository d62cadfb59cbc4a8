"""A WebSocket through the proxy of tests/rpc_proxy.py: bytes are passed on, frame by frame, and others may be put between.

Frames are read only to know where they end, which calls and subscriptions they hold, and so that nothing is put into
the middle of a message. Compression is not offered to the node.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from typing import Any
from urllib.parse import SplitResult

import orjson

from tests.rpc_calls import GENEROUS, Call, Calls

TEXT = 1
CONTROL = 8  # and above
SWITCHING = b" 101 "
NOT_PASSED_ON = frozenset({"host", "sec-websocket-extensions"})


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame as it came, and what it holds."""

    raw: bytes
    final: bool
    opcode: int
    payload: bytes


def read_frame(stream: BufferedIOBase) -> Frame | None:
    """Read one frame (RFC 6455, 5.2). None: the stream has ended."""
    head = stream.read(2)
    if len(head) < 2:
        return None
    masked, length = head[1] & 0x80, head[1] & 0x7F
    more = stream.read({126: 2, 127: 8}.get(length, 0))
    if more:
        length = int.from_bytes(more)
    mask = stream.read(4) if masked else b""
    payload = stream.read(length)
    if len(payload) < length:
        return None
    clear = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if mask else payload
    return Frame(head + more + mask + payload, bool(head[0] & 0x80), head[0] & 0x0F, clear)


def text_frame(payload: bytes) -> bytes:
    """A frame of text, as a server sends it."""
    length = len(payload)
    if length < 126:
        return struct.pack("!BB", 0x80 | TEXT, length) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", 0x80 | TEXT, 126, length) + payload
    return struct.pack("!BBQ", 0x80 | TEXT, 127, length) + payload


class Link:
    """One WebSocket through the proxy."""

    def __init__(self, client: socket.socket, stream: BufferedIOBase, calls: Calls) -> None:
        self._client = client
        self._stream = stream
        self._calls = calls
        self._node: socket.socket | None = None
        self._sending = threading.Lock()
        self._asked: dict[Any, Call] = {}
        self._subscriptions: dict[str, str] = {}

    def run(self, target: SplitResult, headers: list[tuple[str, str]]) -> None:
        """Ask the node for a WebSocket, and carry frames both ways until one side goes."""
        try:
            self._node = socket.create_connection((target.hostname or "", target.port or 80), GENEROUS)
        except OSError:
            return
        self._node.settimeout(None)
        with self._node as node, node.makefile("rb") as stream:
            kept = [f"{name}: {value}" for name, value in headers if name.lower() not in NOT_PASSED_ON]
            head = [f"GET {target.path or '/'} HTTP/1.1", f"Host: {target.netloc}", *kept, "", ""]
            pushes = threading.Thread(target=self._carry_pushes, args=(stream,), name="rpc-socket")
            try:
                node.sendall("\r\n".join(head).encode())
                answer = _head(stream)
                if SWITCHING not in answer.partition(b"\r\n")[0]:
                    return
                self._client.sendall(answer)
                pushes.start()
                for raw, payload in _messages(self._stream):
                    self._note_asked(payload)
                    node.sendall(raw)
            except OSError:
                pass  # one side has gone
            finally:
                self.drop()
                if pushes.ident is not None:
                    pushes.join()

    def drop(self) -> None:
        """Cut it, without a word to either side."""
        for side in (self._client, self._node):
            if side is not None:
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def push(self, kind: str, result: Any) -> int:
        """Tell the client, as the node would, of something that it has subscribed to. Returns to how many of these."""
        wanted = [name for name, subscribed in list(self._subscriptions.items()) if subscribed == kind]
        for name in wanted:
            told = {"jsonrpc": "2.0", "method": "eth_subscription", "params": {"subscription": name, "result": result}}
            try:
                self._send(text_frame(orjson.dumps(told)))
            except OSError:
                return 0  # it has gone
        return len(wanted)

    def _carry_pushes(self, stream: BufferedIOBase) -> None:
        try:
            for raw, payload in _messages(stream):
                answered = self._note_answered(payload)
                self._send(raw)
                self._calls.mark(answered, "answered")
        except OSError:
            pass
        self.drop()

    def _send(self, raw: bytes) -> None:
        with self._sending:
            self._client.sendall(raw)

    def _note_asked(self, payload: bytes) -> None:
        for asked in _objects(payload):
            if "method" in asked:
                call = Call(asked["method"], asked.get("params", []), asked.get("id"), by_socket=True)
                self._asked[call.request_id] = call
                self._calls.add(call)

    def _note_answered(self, payload: bytes) -> list[Call]:
        answered = []
        for reply in _objects(payload):
            call = self._asked.pop(reply.get("id"), None)
            if call is not None:
                answered.append(call)
                if call.method == "eth_subscribe" and "result" in reply:
                    self._subscriptions[reply["result"]] = call.params[0]
                if call.method == "eth_unsubscribe":
                    self._subscriptions.pop(call.params[0], None)
        self._calls.mark(answered, "done")
        return answered


def _head(stream: BufferedIOBase) -> bytes:
    """The head of an answer of HTTP, or as much as there is."""
    head = line = stream.readline()
    while line not in (b"\r\n", b""):
        line = stream.readline()
        head += line
    return head


def _messages(stream: BufferedIOBase) -> Iterator[tuple[bytes, bytes]]:
    """Whole messages: the bytes of their frames, and what they hold. Frames of control come by themselves, with nothing."""
    raw = payload = b""
    while (frame := read_frame(stream)) is not None:
        if frame.opcode >= CONTROL:
            yield frame.raw, b""
            continue
        raw, payload = raw + frame.raw, payload + frame.payload
        if frame.final:
            yield raw, payload
            raw = payload = b""


def _objects(payload: bytes) -> list[dict[str, Any]]:
    try:
        told = orjson.loads(payload)
    except orjson.JSONDecodeError:
        return []
    return [item for item in (told if isinstance(told, list) else [told]) if isinstance(item, dict)]
