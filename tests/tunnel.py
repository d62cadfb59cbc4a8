"""A tunnel from a TCP port of loopback to a server's Unix socket, which the test may stall.

A stalled link is half open: it takes every byte, nothing comes back, and nobody is told that it is dead. Each link has
an address of its own, so that `peers` can say which processes hold which links.
"""

import contextlib
import socket
import threading
from collections.abc import Iterable
from typing import Self

import psutil


class Tunnel:
    """Carries bytes to the socket at `path` from `port`."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._links: list[_Link] = []
        self._lock = threading.Lock()
        self._stalled = False
        self._server = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._server.getsockname()[1])
        threading.Thread(target=self._accept, name="tunnel", daemon=True).start()

    def stall(self) -> None:
        """Swallow every byte from now on, of links that stand and of new ones."""
        with self._lock:
            self._stalled = True
            for link in self._links:
                link.stalled = True

    def heal(self) -> None:
        """Carry new links again; those that were stalled stay dead for ever."""
        with self._lock:
            self._stalled = False

    def close(self) -> None:
        """End every link, and take no more."""
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        with self._lock:
            links, self._links = self._links, []
        for link in links:
            link.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def peers(self, pids: Iterable[int]) -> dict[int, list[int]]:
        """The links of each of these processes, by process id; a link is named by the port it comes from."""
        found: dict[int, list[int]] = {}
        for pid in pids:
            links = psutil.Process(pid).net_connections(kind="tcp")
            found[pid] = [link.laddr.port for link in links if link.raddr[1:] == (self.port,)]
        return found

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            with self._lock:
                link = _Link(client, self._path, stalled=self._stalled)
                self._links.append(link)
            threading.Thread(target=link.run, name="tunnel", daemon=True).start()


class _Link:
    """One connection through the tunnel."""

    def __init__(self, client: socket.socket, path: str, *, stalled: bool) -> None:
        self.stalled = stalled
        self._client = client
        self._path = path
        self._server = socket.socket(socket.AF_UNIX)

    def run(self) -> None:
        """Carry bytes both ways until one side goes."""
        if not self.stalled:
            try:
                self._server.connect(self._path)
            except OSError:
                self.end()  # refused, as by a server that is down
                return
            threading.Thread(target=self._carry, args=(self._server, self._client), name="tunnel", daemon=True).start()
        self._carry(self._client, self._server)

    def end(self) -> None:
        """Hang up on both sides."""
        for side in (self._client, self._server):
            with contextlib.suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)
            side.close()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if not self.stalled:
                    target.sendall(data)
        except OSError:
            pass
        if not self.stalled or source is self._client:
            self.end()  # on a stalled link the client does not hear that the server has gone
