"""The third embedded server: anvil, an Ethereum node for development, on one port of loopback.

It has a block a second, and `safe` and `finalized` two and four blocks behind. What was measured with 1.7.1:

- Blocks, transactions, receipts and logs are in the file of `--state` and are all there after a restart, hashes
  included; `--preserve-historical-states` is not needed for them. Balances and storage are known at the newest block
  alone ("BlockOutOfRangeError" at older ones), so `eth_call` asks for `latest`, and `anvil_reorg` does not work.
- That is the price of `--prune-history`. Without it anvil keeps the state of the last 1,500 blocks, each with the hash
  of every block before it: 1.1 GB after 4,000 blocks, and as much again on disk. With it, 36 MB. A number behind it
  has no effect with blocks of two seconds or less.
- A kill -9 loses the blocks since the last dump. anvil writes its file in place, so a kill in the middle of a dump
  damages it (a dump of 10,000 empty blocks, 17 MB, takes a tenth of a second).
- A block without transactions takes 1.7 kB: 150 MB a day. The file is written whole each time, so one that is larger
  at the start is written less often.
"""

import re
import secrets
import signal
import socket
from pathlib import Path

import psutil

from jobplatform import private
from jobplatform.places import EmbeddedError, Place
from jobplatform.servers import Server

HOST = "127.0.0.1"
CHAIN_ID = 31337
STATE = "state.json"
STATE_SECONDS = 5  # between two dumps ...
STATE_RATE = 2 * 1024 * 1024  # ... or longer, so that no more bytes than so many a second are written
PORT_FILE = "port"
# Below the ports that the kernel gives to clients: one of them could get it while anvil is down.
PORTS = range(20000, 32000)


class Anvil(Server):
    """A development chain with the id 31337 and one funded account, the first of anvil's usual mnemonic.

    The port is chosen at the first start and kept: another one is taken only where somebody else listens on it.
    """

    name = "anvil"
    program = "anvil"
    death_signal = signal.SIGTERM  # it writes its state and ends
    stop_steps = ((signal.SIGTERM, 20.0),)

    def __init__(self, place: Place, binary: Path) -> None:
        super().__init__(place, durable=True)
        self.binary = binary
        self.port = 0  # known once it was launched

    @property
    def url(self) -> str:
        """JSON-RPC over HTTP."""
        return f"http://{HOST}:{self.port}"

    @property
    def ws_url(self) -> str:
        """JSON-RPC over WebSocket, with subscriptions."""
        return f"ws://{HOST}:{self.port}"

    def wait_ready(self) -> None:
        """Wait until the chain answers; a damaged state is set aside, and a port that was just taken is given up."""
        try:
            super().wait_ready()
        except EmbeddedError:
            if self._said("Address already in use"):
                self.process = None  # so that a port is chosen anew
            elif not self._damaged():
                raise
            self.launch()
            super().wait_ready()

    def _damaged(self) -> bool:
        return self._said("failed to parse json file")

    def _said(self, words: str) -> bool:
        return not self.alive and words in self._log_tail()

    def prepare(self) -> None:
        """Make the directory and choose the port; a state that an earlier child could not read is set aside."""
        private.directory(self.directory, self.place.user)
        if self.process is None:
            self.port = self._choose_port()
        elif self._damaged():
            file = self.directory / STATE
            if file.exists():
                file.replace(file.with_suffix(".damaged"))

    def _choose_port(self) -> int:
        file = self.directory / PORT_FILE
        kept = file.read_text().strip() if file.exists() else ""
        port = int(kept) if re.fullmatch(r"[1-9][0-9]{3,4}", kept) else secrets.choice(PORTS)
        while not _is_free(port):
            port = secrets.choice(PORTS)
        self._write(file, f"{port}\n")
        return port

    def command(self) -> list[str | Path]:
        """Return the command line, run inside the server's directory. It logs nothing but why it ends."""
        file = self.directory / STATE
        interval = max(STATE_SECONDS, file.stat().st_size // STATE_RATE if file.exists() else 0)
        options = {
            "--host": HOST,
            "--port": self.port,
            "--chain-id": CHAIN_ID,
            "--accounts": 1,
            "--block-time": 1,
            "--slots-in-an-epoch": 2,
            "--state": STATE,
            "--state-interval": interval,
        }
        given = [str(part) for option in options.items() for part in option]
        return [self.binary, *given, "--prune-history", "--no-cors", "--quiet"]

    def ready(self) -> bool:
        """Say whether our child listens, which it does once it has loaded its state."""
        if not self.alive:
            return False
        try:
            sockets = psutil.Process(self.pid).net_connections(kind="tcp4")
        except psutil.Error:
            return False
        return any(each.status == psutil.CONN_LISTEN and each.laddr == (HOST, self.port) for each in sockets)

    def lock_files(self) -> list[Path]:
        """Return nothing: a port is free as soon as its process has ended."""
        return []


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as anvil does: a closed connection lingers
        try:
            candidate.bind((HOST, port))
        except (OSError, OverflowError):
            return False
        return True
