"""A real node of a chain for tests: anvil, with what a test does to it."""

import os
import socket
import subprocess
import urllib.request
from collections import Counter
from types import TracebackType
from typing import Any, Self

import orjson

from jobplatform import processes
from jobplatform.places import anvil_program

CHAIN_ID = 31337
HOST = "127.0.0.1"


class Anvil:
    """anvil on a free port. `block_seconds` None: blocks come when `mine` is called."""

    def __init__(self, *, block_seconds: float | None = None, chain_id: int = CHAIN_ID, options: tuple[str, ...] = ()):
        program = anvil_program()
        assert program is not None, "anvil is not installed: make dev"
        self.chain_id = chain_id
        self.port = _free_port()
        pace = ["--no-mining"] if block_seconds is None else ["--block-time", str(block_seconds)]
        self._command = [
            str(program), "--host", HOST, "--port", str(self.port), "--chain-id", str(chain_id), "--accounts", "1",
            "--slots-in-an-epoch", "2", "--order", "fifo", "--quiet", *pace, *options,
        ]  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """JSON-RPC over HTTP."""
        return f"http://{HOST}:{self.port}"

    @property
    def ws_url(self) -> str:
        """JSON-RPC over WebSocket."""
        return f"ws://{HOST}:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the node and wait until it answers."""
        self.process = subprocess.Popen(
            self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={"PATH": os.defpath}
        )
        processes.wait_until(self._answers, seconds=30)

    def end(self) -> None:
        """Ask it to end: with the option `--state` it writes down its blocks first. What waits for one is gone."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait()
            self.process = None

    def stop(self) -> None:
        """Kill it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _answers(self) -> bool:
        try:
            return int(self.call("eth_chainId"), 16) == self.chain_id
        except OSError:
            return False

    def call(self, method: str, *params: Any) -> Any:
        """Ask the node itself, past every proxy."""
        body = orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310 - http
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - http
            told = orjson.loads(answer.read())
        assert "error" not in told, (method, told["error"])
        return told["result"]

    def mine(self, blocks: int = 1) -> int:
        """Make blocks; returns the number of the last one."""
        self.call("anvil_mine", hex(blocks))
        return self.head()

    def head(self) -> int:
        """The number of the highest block."""
        return int(self.call("eth_blockNumber"), 16)

    def reorganise(self, depth: int) -> None:
        """Replace the last blocks by as many empty ones; their transactions are gone."""
        self.call("anvil_reorg", depth, [])

    def logs(self, contract: bytes) -> list[dict[str, Any]]:
        """All logs of a contract, as the node tells them now."""
        ask = {"address": "0x" + contract.hex(), "fromBlock": "0x0", "toBlock": "latest"}
        found: list[dict[str, Any]] = self.call("eth_getLogs", ask)
        return found

    def waiting(self) -> dict[str, Any]:
        """Its pool of transactions that are in no block."""
        found: dict[str, Any] = self.call("txpool_content")
        return found

    def sent(self) -> dict[str, int]:
        """How many transactions it has of each address, in blocks and in its pool."""
        senders = [
            one["from"]
            for number in range(self.head() + 1)
            for one in self.call("eth_getBlockByNumber", hex(number), True)["transactions"]
        ]
        for pool in self.waiting().values():
            senders += [address for address, ones in pool.items() for _ in ones]
        return dict(Counter(address.lower() for address in senders))

    def nonce(self, address: bytes) -> int:
        """What the chain expects of an address next."""
        return int(self.call("eth_getTransactionCount", "0x" + address.hex(), "latest"), 16)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
    return port
