"""A tiny node for tests of what lies between a client and a node: it knows its blocks and logs, and what was sent to it."""

import contextlib
import json
import threading
from collections.abc import Callable
from typing import Any

from websockets.exceptions import ConnectionClosedError
from websockets.sync.server import ServerConnection, serve

from tests.integration.confirmations.test_gateway import Server

CHAIN = 31337
HEAD = 400
CONTRACT = f"0x{1:040x}"
SEND = "eth_sendRawTransaction"


class Chain:
    """A node at block `HEAD`: a log in every third block, and twenty in block 7. What is sent to it is `taken`."""

    def __init__(self) -> None:
        self.taken: list[str] = []
        self.server = Server()
        self.server.answer = self._answer
        self.server.http.RequestHandlerClass.disable_nagle_algorithm = True  # type: ignore[attr-defined]
        self.sockets = serve(self._talk, "127.0.0.1", 0)
        self.thread = threading.Thread(target=self.sockets.serve_forever)
        self.thread.start()
        self.socket_url = f"ws://127.0.0.1:{self.sockets.socket.getsockname()[1]}"

    def close(self) -> None:
        self.sockets.shutdown()
        self.thread.join()
        self.server.close()

    def _answer(self, asked: Any) -> tuple[int, dict[str, str], bytes]:
        told = [self._one(one) for one in reversed(asked)] if isinstance(asked, list) else self._one(asked)
        if told == []:
            told = {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "empty batch"}}
        return 200, {}, json.dumps(told).encode()

    def _one(self, asked: Any) -> dict[str, Any]:
        return {"jsonrpc": "2.0", "id": asked["id"], "result": METHODS[asked["method"]](self, *asked["params"])}

    def _talk(self, link: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosedError):
            for text in link:
                asked = json.loads(text)
                link.send(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": f"0x{asked['id']:x}{'ab' * 200}"}))

    def send(self, raw: str) -> str:
        self.taken.append(raw)
        return word(len(self.taken))

    def block(self, block: str, full: bool = False) -> dict[str, Any] | None:
        at = number(block)
        return {"number": hex(at), "hash": word(at), "parentHash": word(at - 1)} if at <= HEAD else None

    def logs(self, asked: dict[str, Any]) -> list[dict[str, Any]]:
        first, last = (number(asked[end]) for end in ("fromBlock", "toBlock"))
        found = [at for at in range(first, min(last, HEAD) + 1) for _ in range(20 if at == 7 else at % 3 == 0)]
        return [log(at, index) for index, at in enumerate(found)]


def number(block: str) -> int:
    return {"latest": HEAD, "safe": HEAD - 32, "finalized": HEAD - 64}.get(block) or int(block, 16)


def word(at: int) -> str:
    return f"0x{at + 1:064x}"


def log(at: int, index: int = 0) -> dict[str, Any]:
    where = {"blockNumber": hex(at), "blockHash": word(at), "logIndex": hex(index), "transactionHash": word(at)}
    return where | {"topics": [word(9)], "data": "0x", "address": CONTRACT}


METHODS: dict[str, Callable[..., Any]] = {
    "eth_chainId": lambda chain: hex(CHAIN),
    "eth_blockNumber": lambda chain: hex(HEAD),
    "eth_getBlockByNumber": Chain.block,
    "eth_getLogs": Chain.logs,
    "eth_getTransactionCount": lambda chain, address, block: "0x7",
    "eth_getTransactionReceipt": lambda chain, found: {"blockNumber": found, "status": "0x1"},
    "eth_getTransactionByHash": lambda chain, found: {"blockNumber": found, "blockHash": word(0), "nonce": "0x1"},
    SEND: Chain.send,
}
