"""Effects seen from outside: a small process of its own to which handlers report what they do, as they do it.

It appends each report to a file, syncs it to disk and only then answers, so that what a handler has reported stays
known however its process ends. It also keeps gates: a handler may wait at one until the test opens it.

    python -m tests.effects SOCKET FILE
"""

import asyncio
import json
import os
import selectors
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

ADDRESS = "EFFECTS_SOCKET"  # environment variable: where the recorder listens


# ------------------------------------------------------------------------------------------------ in the handlers
class _Line:
    """The connection of one process. A forked child opens its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pid = 0
        self._socket: socket.socket | None = None

    def ask(self, message: dict[str, Any]) -> None:
        """Send one message and wait for its answer."""
        with self._lock:
            if self._socket is None or self._pid != os.getpid():
                self._socket = socket.socket(socket.AF_UNIX)
                self._socket.connect(os.environ[ADDRESS])
                self._pid = os.getpid()
            self._socket.sendall(json.dumps(message).encode() + b"\n")
            while (answer := self._socket.recv(1)) != b"\n":
                if not answer:
                    message_ = "The recorder of effects has gone."
                    raise ConnectionError(message_)


_line = _Line()


def report(what: str, job: Any, **facts: Any) -> None:
    """Report an effect of a run; returns when it is on disk."""
    _line.ask({"what": what, "job": str(job.id), "attempt": job.attempt, "pid": os.getpid(), **facts})


def wait_at(gate: str) -> None:
    """Wait until the test opens this gate."""
    _Line().ask({"gate": gate})


async def waits_at(gate: str) -> None:
    """The same for an async handler, whose loop goes on meanwhile."""
    reader, writer = await asyncio.open_unix_connection(os.environ[ADDRESS])
    try:
        writer.write(json.dumps({"gate": gate}).encode() + b"\n")
        await reader.readexactly(1)
    finally:
        writer.close()
        await writer.wait_closed()


# ------------------------------------------------------------------------------------------------ in the test
class Effects:
    """What the recorder has on disk, and its gates."""

    def __init__(self, address: str, file: Path) -> None:
        self.address = address
        self._file = file
        self._offset = 0
        self._seen: list[dict[str, Any]] = []

    def all(self) -> list[dict[str, Any]]:
        """Every report so far, in the order of their arrival. `at` is the recorder's monotonic clock, in seconds."""
        with self._file.open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                self._seen.append(json.loads(line))
        return list(self._seen)

    def of(self, what: str, jobs: Iterable[UUID]) -> list[dict[str, Any]]:
        """Reports of one sort by these jobs."""
        wanted = {str(job) for job in jobs}
        return [effect for effect in self.all() if effect["what"] == what and effect["job"] in wanted]

    def count(self, what: str, jobs: Iterable[UUID]) -> Counter[UUID]:
        """How often each of these jobs had an effect of this sort; those that had none are not in it."""
        return Counter(UUID(effect["job"]) for effect in self.of(what, jobs))

    def open(self, gate: str) -> None:
        """Let through who waits at the gate, now and later."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.address)
            client.sendall(json.dumps({"open": gate}).encode() + b"\n")
            client.recv(1)


# ------------------------------------------------------------------------------------------------ the recorder
class Recorder:
    """The server: one thread, one file."""

    def __init__(self, address: str, path: Path) -> None:
        self._file = path.open("ab", buffering=0)
        self._selector = selectors.DefaultSelector()
        self._partial: dict[socket.socket, bytes] = {}
        self._open: set[str] = set()
        self._waiting: dict[str, list[socket.socket]] = {}
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(address)
        self._server.listen(128)
        self._selector.register(self._server, selectors.EVENT_READ)

    def serve(self) -> None:
        """Serve until the process is ended."""
        while True:
            answered: list[socket.socket] = []
            for key, _ in self._selector.select():
                peer = key.fileobj
                assert isinstance(peer, socket.socket)
                if peer is self._server:
                    client, _ = self._server.accept()
                    self._partial[client] = b""
                    self._selector.register(client, selectors.EVENT_READ)
                    continue
                for message in self._messages(peer):
                    answered += self._take(message, peer)
            os.fsync(self._file.fileno())
            for peer in answered:
                try:
                    peer.sendall(b"\n")
                except OSError:
                    self._forget(peer)

    def _messages(self, peer: socket.socket) -> Iterator[dict[str, Any]]:
        try:
            data = peer.recv(65536)
        except OSError:
            data = b""
        if not data:
            self._forget(peer)
            return
        *lines, self._partial[peer] = (self._partial[peer] + data).split(b"\n")
        for line in lines:
            yield json.loads(line)

    def _take(self, message: dict[str, Any], peer: socket.socket) -> list[socket.socket]:
        """Handle one message; returns who is to be answered once the file is synced."""
        if "open" in message:
            self._open.add(message["open"])
            return [peer, *self._waiting.pop(message["open"], [])]
        if "gate" in message:
            if message["gate"] in self._open:
                return [peer]
            self._waiting.setdefault(message["gate"], []).append(peer)
            return []
        self._file.write(json.dumps(message | {"at": time.monotonic()}).encode() + b"\n")
        return [peer]

    def _forget(self, peer: socket.socket) -> None:
        if self._partial.pop(peer, None) is not None:
            self._selector.unregister(peer)
            peer.close()


if __name__ == "__main__":
    Recorder(sys.argv[1], Path(sys.argv[2])).serve()
