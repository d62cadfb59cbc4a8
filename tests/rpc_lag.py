"""A node that is behind: what it says of blocks that it has not seen."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.rpc_calls import Call, Exchange, Reply
from tests.rpc_faults import Fault, number_of, refused
from tests.rpc_refusals import UNKNOWN_BLOCK, Error


@dataclass(eq=False)
class Lag(Fault):
    """The node is so many blocks behind, or stands still at the block `at`.

    `beyond`: how it refuses logs of blocks that it has not seen; None: it says that there are none. Limited to
    `eth_getLogs`, or to some calls by `when`, it is a balancer that asks two nodes for one client.
    """

    blocks: int = 0
    at: int | None = None
    beyond: Error | None = None

    def change(self, call: Call, exchange: Exchange, reply: Reply) -> Reply | None:
        view = _VIEWS.get(call.method)
        if view is None or "result" not in reply or not self.strikes(call):
            return reply
        behind = self.blocks if self.at is None else max(0, exchange.head - self.at)
        told = view(_Behind(exchange, call.method, call.params, behind, self.beyond), reply["result"])
        return refused(told, exchange) if isinstance(told, Error) else reply | {"result": told}


@dataclass(frozen=True, slots=True)
class _Behind:
    """A call as a node sees it that is `behind`. Each method is given what the node says that is not."""

    exchange: Exchange
    method: str
    params: list[Any]
    behind: int
    beyond: Error | None

    @property
    def head(self) -> int:
        return max(0, self.exchange.head - self.behind)

    def number(self, result: Any) -> Any:
        return hex(self.head)

    def block(self, result: Any) -> Any:
        """By its number, or as `latest`, `safe` or `finalized`."""
        asked, *rest = self.params
        if asked.startswith("0x"):
            return None if int(asked, 16) > self.head else result
        if asked in ("safe", "finalized"):
            found = self.exchange.ask("eth_getBlockByNumber", asked, False)
            if found is None:
                return None
            number = max(0, int(found["number"], 16) - self.behind)
        else:
            number = number_of(asked, self.head)
        return self.exchange.ask(self.method, hex(number), *rest)

    def seen(self, result: Any) -> Any:
        """A block or a receipt, by a hash."""
        number = result and result.get("number", result.get("blockNumber"))
        return None if number and int(number, 16) > self.head else result

    def transaction(self, result: Any) -> Any:
        """One of a block that it has not seen waits for a block."""
        if result and self.seen(result) is None:
            return result | {"blockHash": None, "blockNumber": None, "transactionIndex": None}
        return result

    def logs(self, result: Any) -> Any:
        asked = self.params[0]
        if "blockHash" in asked:
            return UNKNOWN_BLOCK if any(int(log["blockNumber"], 16) > self.head for log in result) else result
        ends = {end: number_of(asked.get(end, "latest"), self.head) for end in ("fromBlock", "toBlock")}
        if ends["toBlock"] > self.head and self.beyond is not None:
            return self.beyond
        if ends["fromBlock"] > self.head:
            return []
        return self.exchange.ask("eth_getLogs", asked | {end: hex(min(at, self.head)) for end, at in ends.items()})


_VIEWS: dict[str, Callable[[_Behind, Any], Any]] = {
    "eth_blockNumber": _Behind.number,
    "eth_getBlockByNumber": _Behind.block,
    "eth_getBlockReceipts": _Behind.block,
    "eth_getBlockByHash": _Behind.seen,
    "eth_getTransactionReceipt": _Behind.seen,
    "eth_getTransactionByHash": _Behind.transaction,
    "eth_getLogs": _Behind.logs,
}
"""What is not here a node that is behind answers as any other."""
