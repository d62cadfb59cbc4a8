"""A client of streams over a real socket, as a browser's EventSource is one: it remembers the last id."""

import socket
from typing import Self

from tests.integration.jobplatform.streaming import PATIENCE, Reader


class Listener(Reader):
    """One connection to the process `live`."""

    def __init__(self, port: int, path: str, key: str, *, last_event_id: str = "", buffer: int = 0) -> None:
        super().__init__()
        self.link = socket.socket()
        if buffer:  # of what has arrived and was not read yet
            self.link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.link.settimeout(PATIENCE)
        self.link.connect(("127.0.0.1", port))
        lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {key}", "Accept: text/event-stream"]
        lines += [f"Last-Event-ID: {last_event_id}"] if last_event_id else []
        self.link.sendall("\r\n".join([*lines, "", ""]).encode())
        self.status = 0
        self.ended = False
        self._raw = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.link.close()

    def read(self) -> bool:
        """Take what comes next. False when the connection has ended."""
        try:
            got = self.link.recv(65536)
        except ConnectionResetError:
            got = b""
        if not got:
            self.ended = True
            return False
        self._raw += got
        if not self.status and b"\r\n\r\n" in self._raw:
            head, self._raw = self._raw.split(b"\r\n\r\n", 1)
            self.status = int(head.split()[1])
        while self.status == 200 and b"\r\n" in self._raw:  # chunks
            size, rest = self._raw.split(b"\r\n", 1)
            length = int(size, 16)
            if len(rest) < length + 2:
                break
            self.feed(rest[:length])
            self._raw = rest[length + 2 :]
        return True

    def until(self, number: int) -> list[str]:
        """Read until there are so many events of the log, or the end."""
        while len(self.logged) < number and self.read():
            pass
        return self.logged

    def to_the_end(self) -> list[str]:
        """Read until the connection ends."""
        while self.read():
            pass
        return self.logged
