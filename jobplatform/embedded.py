"""PostgreSQL, Redis and a development chain for one machine, without installing or configuring anything.

    with Embedded(Path(".data"), chain=True) as embedded:
        print(embedded.database_url, embedded.broker_url, embedded.rpc_url)

or, as a process of its own that prints one line of JSON when ready and stops at SIGTERM or Ctrl-C:

    python -m jobplatform.embedded --data .data

That has the chain too, unless EMBEDDED_CHAIN is 0.

No Django here: the settings need the database's address before they load.
"""

import argparse
import fcntl
import json
import os
import signal
import sys
import threading
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from jobplatform.chain_server import Anvil
from jobplatform.places import (
    EmbeddedError,
    anvil_program,
    find_place,
    forget_place,
    make_data_directory,
    program_versions,
)
from jobplatform.servers import Postgres, Redis, Server

__all__ = ["Embedded", "EmbeddedError"]

LOCK_FILE = "embedded.lock"
WATCH_SECONDS = 0.2


class Embedded:
    """The servers of one data directory; a second one of the same directory is refused.

    Start it in the thread that will stop it: the servers also stop when that thread ends without stopping them.
    `durable=False` gives up safety against power loss for speed; only tests may. `database_url` is the owner's, who
    may change the schema; `app_database_url` the one for processes, good once `manage.py setup_database` has run.
    `chain` asks for a development chain: where its program runs, `rpc_url` and `rpc_ws_url` lead to it.
    """

    def __init__(self, data_dir: Path, *, durable: bool = True, chain: bool = False) -> None:
        self.data_dir = data_dir.resolve()
        self.durable = durable
        self.chain = chain
        self.servers: tuple[Server, ...] = ()
        self.database_url = ""
        self.app_database_url = ""
        self.broker_url = ""
        self.rpc_url: str | None = None
        self.rpc_ws_url: str | None = None
        self._lock: int | None = None

    def start(self) -> None:
        """Start the servers and return when they answer and the database exists. Raises EmbeddedError."""
        self._take_lock()
        try:
            place = find_place(self.data_dir)
            postgres = Postgres(place, durable=self.durable)
            redis = Redis(place, durable=self.durable)
            binary = anvil_program(place.user) if self.chain else None
            anvil = Anvil(place, binary) if binary else None
            self.servers = (postgres, redis, *([anvil] if anvil else []))
            for server in self.servers:
                server.launch()
            for server in self.servers:
                server.wait_ready()
            postgres.ensure_database()
        except BaseException:
            self.stop()
            raise
        self.database_url, self.app_database_url, self.broker_url = postgres.url, postgres.app_url, redis.url
        if anvil:
            self.rpc_url, self.rpc_ws_url = anvil.url, anvil.ws_url

    def stop(self) -> None:
        """Stop the servers, PostgreSQL last; no process of them is left. Harmless when nothing runs."""
        for server in reversed(self.servers):
            server.stop()
        self.servers = ()
        self._release_lock()

    def revive(self) -> list[str]:
        """Launch again each server that has died, without waiting for it; returns their names."""
        dead = [server for server in self.servers if not server.alive]
        for server in dead:
            server.launch()
        return [server.name for server in dead]

    def destroy(self) -> None:
        """Stop and delete the data, also what lies outside of the data directory."""
        self.stop()
        self._take_lock()
        forget_place(self.data_dir)
        self._release_lock()

    @property
    def pids(self) -> dict[str, int]:
        """Process id by name of each server that runs."""
        return {server.name: server.pid for server in self.servers if server.pid}

    def _take_lock(self) -> None:
        path = make_data_directory(self.data_dir) / LOCK_FILE
        self._lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._release_lock()
            message = f"The servers of {self.data_dir} run already. Stop them, or choose another directory with DATA=."
            raise EmbeddedError(message) from error

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def main(arguments: list[str] | None = None) -> int:
    """Run the servers in the foreground until SIGTERM or SIGINT; a server that dies is started again."""
    parser = argparse.ArgumentParser(prog="python -m jobplatform.embedded", description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--data", type=Path, default=Path(".data"), metavar="DIR", help="data directory (default .data)"
    )
    parser.add_argument("--destroy", action="store_true", help="delete the data of the directory instead")
    parser.add_argument("--versions", action="store_true", help="say which programs it would start instead")
    options = parser.parse_args(arguments)
    embedded = Embedded(options.data, chain=os.environ.get("EMBEDDED_CHAIN") != "0")
    if options.versions:
        sys.stdout.write("".join(f"{version}\n" for version in program_versions()))
        return 0
    if options.destroy:
        embedded.destroy()
        return 0
    stopped = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    try:
        with embedded:
            names = ("database_url", "broker_url", "rpc_url", "rpc_ws_url")
            urls = {name: getattr(embedded, name) for name in names}
            print(json.dumps(urls), flush=True)
            while not stopped.wait(WATCH_SECONDS):
                embedded.revive()
    except EmbeddedError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
