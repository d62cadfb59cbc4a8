"""A proxy between a process and PostgreSQL that understands the protocol and breaks it where the test says.

It sees what a client sends as *units*: one simple query, or everything up to a Sync. A unit is named after its
statement: `claim` for the statement of jobs/sql/claim.sql (from its first comment), else `COMMIT` and the like. A trap cuts
the connection at a chosen unit, before it reaches the server, or after the server has answered and before the client
hears of it.
"""

import contextlib
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

SOCKET_NAME = ".s.PGSQL.5432"
_COMMENT = re.compile(r"\s*-- (\w+):")
_WORDS = re.compile(r"[a-z_]+", re.IGNORECASE)


class When(Enum):
    """On which side of the server's work the connection breaks."""

    REQUEST_LOST = "the server has not heard of the unit"
    REPLY_LOST = "the server has done it, the client does not know"


@dataclass
class Trap:
    """Cuts once, at the `countdown`-th unit that `wanted` chooses."""

    when: When
    wanted: Callable[[str, str], bool]
    countdown: int
    sprung: threading.Event = field(default_factory=threading.Event)
    cut: str = ""


class Wire:
    """The proxy. `url` is what a process gets instead of the server's own."""

    def __init__(self, url: str, directory: Path) -> None:
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self._upstream = f"{query['host']}/{SOCKET_NAME}"
        self.url = urlunsplit(parts._replace(query=urlencode({**query, "host": str(directory)}, safe="/")))
        self.seen: list[tuple[str, str]] = []
        self._trap: Trap | None = None
        self._lock = threading.Lock()
        self._server = socket.socket(socket.AF_UNIX)
        self._server.bind(f"{directory}/{SOCKET_NAME}")
        self._server.listen(64)
        threading.Thread(target=self._accept, name="wire", daemon=True).start()

    def close(self) -> None:
        """Take no more connections."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()

    def __enter__(self) -> "Wire":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def trap(self, when: When, wanted: Callable[[str, str], bool], *, nth: int = 1) -> Trap:
        """Set a trap. `wanted(application, unit)` chooses units; the `nth` of them from now on is the one."""
        trap = Trap(when, wanted, nth)
        with self._lock:
            self._trap = trap
        return trap

    def disarm(self) -> None:
        """Take the trap away."""
        with self._lock:
            self._trap = None

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._upstream)
            except OSError:
                client.close()
                continue
            threading.Thread(target=_Link(self, client, server).run, name="wire", daemon=True).start()

    def springs(self, application: str, unit: str) -> When | None:
        """Take note of a unit; says whether and how it is to be cut."""
        with self._lock:
            self.seen.append((application, unit))
            trap = self._trap
            if trap is None or not trap.wanted(application, unit):
                return None
            trap.countdown -= 1
            if trap.countdown:
                return None
            self._trap = None
            trap.cut = unit
            trap.sprung.set()
            return trap.when


class _Link:
    """One connection through the proxy."""

    def __init__(self, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self._wire = wire
        self._client = client
        self._server = server
        self._application = ""
        self._prepared: dict[bytes, str] = {}
        self._muted = threading.Event()  # what the server says is swallowed
        self._quiet = threading.Event()  # the server has finished what was swallowed

    def run(self) -> None:
        """Carry units to the server until one side goes or a trap springs."""
        replies = threading.Thread(target=self._carry_replies, name="wire", daemon=True)
        replies.start()
        try:
            startup = self._read(4)
            startup += self._read(struct.unpack("!i", startup)[0] - 4)
            fields = startup[8:].split(b"\0")
            self._application = (
                dict(zip(fields[::2], fields[1::2], strict=False)).get(b"application_name", b"").decode()
            )
            self._server.sendall(startup)
            for name, messages in self._units():
                verdict = self._wire.springs(self._application, name) if name else None
                if verdict is When.REQUEST_LOST:
                    return
                if verdict is When.REPLY_LOST:
                    self._muted.set()
                    self._server.sendall(messages)
                    self._quiet.wait(30)
                    return
                self._server.sendall(messages)
        except (OSError, EOFError):
            return
        finally:
            for side in (self._client, self._server):
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)
            replies.join()
            self._client.close()
            self._server.close()

    def _units(self) -> Iterator[tuple[str, bytes]]:
        """Yield (name, bytes) of each unit; authentication and the end have no name."""
        sent, name = b"", ""
        while True:
            kind = self._read(1)
            length = self._read(4)
            body = self._read(struct.unpack("!i", length)[0] - 4)
            sent += kind + length + body
            if kind == b"Q":
                name = _name_of(body.rstrip(b"\0").decode())
            elif kind == b"P":
                statement, sql, *_ = body.split(b"\0")
                self._prepared[statement] = name = _name_of(sql.decode())
            elif kind == b"B":
                name = self._prepared.get(body.split(b"\0")[1], "?")
            if kind in b"QSXp":
                yield name, sent
                sent, name = b"", ""

    def _carry_replies(self) -> None:
        """Carry what the server says to the client; when muted, only look for the end of its answer."""
        rest = b""
        while True:
            try:
                data = self._server.recv(65536)
                if not data:
                    break
                if self._muted.is_set():
                    rest = _after_ready(rest + data)
                    if rest == b"ready":
                        break
                else:
                    self._client.sendall(data)
            except OSError:
                break
        self._quiet.set()
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RDWR)

    def _read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._client.recv(size - len(data))
            if not part:
                raise EOFError
            data += part
        return data


def _after_ready(data: bytes) -> bytes:
    """`ready` when a ReadyForQuery has come; else what is left of an unfinished message."""
    while len(data) >= 5:
        length = 1 + struct.unpack("!i", data[1:5])[0]
        if len(data) < length:
            break
        if data[:1] == b"Z":
            return b"ready"
        data = data[length:]
    return data


def _name_of(sql: str) -> str:
    found = _COMMENT.match(sql)
    return found[1] if found else " ".join(_WORDS.findall(sql)[:3]).upper()
