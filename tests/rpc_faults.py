"""What can go wrong between a client and a node: plain objects, switched on and off at `RpcProxy`.

Each may be limited to methods, to a number of times, and to calls of which `when` holds. A fault of a call strikes that
call alone, also within a batch; a fault of the request strikes it if one of its calls is meant, and counts once.
"""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import KW_ONLY, dataclass, field
from http import HTTPStatus
from typing import Any

import orjson

from tests.rpc_calls import Answer, Call, Exchange, HangUp, Reply
from tests.rpc_refusals import Error, Provider

LOGS = ("eth_getLogs",)


@dataclass(eq=False)
class Fault:
    """What all have in common. `times`: so often at most; None: as long as it is on. `hits`: so often until now."""

    _: KW_ONLY
    methods: str | Collection[str] = ()  # none: any
    times: int | None = None
    when: Callable[[Call], bool] = lambda call: True
    active: bool = field(default=False, init=False)
    hits: int = field(default=0, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def wants(self, call: Call) -> bool:
        """Whether the call is one of those that are meant."""
        methods = (self.methods,) if isinstance(self.methods, str) else self.methods
        return (not methods or call.method in methods) and self.when(call)

    def strikes(self, call: Call) -> bool:
        """Whether it happens to this call; counted."""
        if not self.wants(call):
            return False
        with self._lock:
            if not self.active or (self.times is not None and self.hits >= self.times):
                return False
            self.hits += 1
            return True

    def strikes_any(self, exchange: Exchange) -> bool:
        """Whether it happens to this request; counted once."""
        return any(self.strikes(call) for call in exchange.calls)

    def refuse(self, exchange: Exchange) -> Answer | None:
        """Before anything is forwarded: the answer to the request; None: it goes on. May raise `HangUp`."""
        return None

    def instead(self, call: Call, exchange: Exchange) -> Reply | None:
        """Before the call is forwarded: its reply; None: it is forwarded."""
        return None

    def change(self, call: Call, exchange: Exchange, reply: Reply) -> Reply | None:
        """After the node has replied: the reply that the client gets; None: none."""
        return reply

    def spoil(self, exchange: Exchange, answer: Answer) -> Answer:
        """After the node has done all: the answer that the client gets. May raise `HangUp`."""
        return answer


# ------------------------------------------------------------------------------------------------ the request
@dataclass(eq=False)
class RequestLost(Fault):
    """The connection is closed before the node hears of the request."""

    def refuse(self, exchange: Exchange) -> Answer | None:
        if self.strikes_any(exchange):
            raise HangUp
        return None


@dataclass(eq=False)
class ReplyLost(Fault):
    """The node has carried the request out; the connection is closed without an answer."""

    def spoil(self, exchange: Exchange, answer: Answer) -> Answer:
        if self.strikes_any(exchange):
            raise HangUp
        return answer


@dataclass(eq=False)
class Hang(Fault):
    """No answer until the fault is switched off. `carried_out`: the node has done it by then."""

    carried_out: bool = False

    def refuse(self, exchange: Exchange) -> Answer | None:
        if not self.carried_out and self.strikes_any(exchange):
            exchange.hold(self)
        return None

    def spoil(self, exchange: Exchange, answer: Answer) -> Answer:
        if self.carried_out and self.strikes_any(exchange):
            exchange.hold(self)
        return answer


@dataclass(eq=False)
class Answers(Fault):
    """The request is answered with these bytes. `carried_out`: the node has done it all the same."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    carried_out: bool = False

    def refuse(self, exchange: Exchange) -> Answer | None:
        return None if self.carried_out or not self.strikes_any(exchange) else self._answer

    def spoil(self, exchange: Exchange, answer: Answer) -> Answer:
        return self._answer if self.carried_out and self.strikes_any(exchange) else answer

    @property
    def _answer(self) -> Answer:
        return Answer(self.status, self.body, self.headers)


def too_many(retry_after: str | None = None, **limits: Any) -> Answers:
    """HTTP 429. `retry_after`: what the header says: seconds, or a date."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Answers(HTTPStatus.TOO_MANY_REQUESTS, b"Too Many Requests", headers, **limits)


def broken(status: int = HTTPStatus.BAD_GATEWAY, **limits: Any) -> Answers:
    """An error of the server, as a page."""
    page = f"<html><head><title>{status}</title></head><body><center><h1>{status}</h1></center></body></html>"
    return Answers(status, page.encode(), {"Content-Type": "text/html"}, **limits)


def malformed(**limits: Any) -> Answers:
    """What the node says breaks off within its JSON; the node has carried the request out."""
    return Answers(200, b'{"jsonrpc":"2.0","id":1,"resu', carried_out=True, **limits)


@dataclass(eq=False)
class OneError(Fault):
    """A batch is answered with one error in place of a list. Calls that come alone are not struck."""

    error: Error
    carried_out: bool = False

    def refuse(self, exchange: Exchange) -> Answer | None:
        return self._answer if exchange.batch and not self.carried_out and self.strikes_any(exchange) else None

    def spoil(self, exchange: Exchange, answer: Answer) -> Answer:
        return self._answer if exchange.batch and self.carried_out and self.strikes_any(exchange) else answer

    @property
    def _answer(self) -> Answer:
        return Answer(self.error.status, orjson.dumps({"jsonrpc": "2.0", "id": None, "error": self.error.told}))


# ------------------------------------------------------------------------------------------------ one call
@dataclass(eq=False)
class Refuses(Fault):
    """The call is refused. `carried_out`: the node has done it all the same."""

    error: Error
    carried_out: bool = False

    def instead(self, call: Call, exchange: Exchange) -> Reply | None:
        return None if self.carried_out or not self.strikes(call) else refused(self.error, exchange)

    def change(self, call: Call, exchange: Exchange, reply: Reply) -> Reply | None:
        return refused(self.error, exchange) if self.carried_out and self.strikes(call) else reply


@dataclass(eq=False)
class Rewrites(Fault):
    """The reply is another; `rewrite` gets the whole of it. None: there is none among those of a batch."""

    rewrite: Callable[[Reply], Reply | None]

    def change(self, call: Call, exchange: Exchange, reply: Reply) -> Reply | None:
        return self.rewrite(reply) if self.strikes(call) else reply


def no_result(**limits: Any) -> Rewrites:
    """A reply with neither result nor error."""
    return Rewrites(lambda reply: {"id": reply["id"], "jsonrpc": "2.0"}, **limits)


def wrong_id(request_id: Any, **limits: Any) -> Rewrites:
    """A reply to a question that nobody has asked."""
    return Rewrites(lambda reply: reply | {"id": request_id}, **limits)


def left_out(**limits: Any) -> Rewrites:
    """One reply of a batch is missing. A call that comes alone gets an answer of nothing."""
    return Rewrites(lambda reply: None, **limits)


def says(result: Any, **limits: Any) -> Rewrites:
    """A reply with this result."""
    return Rewrites(lambda reply: {"id": reply["id"], "jsonrpc": "2.0", "result": result}, **limits)


def wrong_chain(chain_id: int, **limits: Any) -> Rewrites:
    """The node is of another chain."""
    return says(hex(chain_id), methods="eth_chainId", **limits)


@dataclass(eq=False)
class OmitsLogs(Fault):
    """`eth_getLogs` answers as ever, and leaves out the logs of which `omitted` holds. Counts when there are such."""

    omitted: Callable[[Mapping[str, Any]], bool]
    _: KW_ONLY
    methods: str | Collection[str] = LOGS

    def change(self, call: Call, exchange: Exchange, reply: Reply) -> Reply | None:
        logs = reply.get("result")
        if not self.wants(call) or not isinstance(logs, list):
            return reply
        kept = [log for log in logs if not self.omitted(log)]
        return reply | {"result": kept} if len(kept) < len(logs) and self.strikes(call) else reply


@dataclass(eq=False)
class Capped(Fault):
    """`eth_getLogs` is refused as by this provider. Counts when it is."""

    provider: Provider
    _: KW_ONLY
    methods: str | Collection[str] = LOGS

    def change(self, call: Call, exchange: Exchange, reply: Reply) -> Reply | None:
        logs = reply.get("result")
        if not self.wants(call) or not isinstance(logs, list) or "blockHash" in call.params[0]:
            return reply
        asked = call.params[0]
        first, last = (number_of(asked.get(end, "latest"), exchange.head) for end in ("fromBlock", "toBlock"))
        error = self.provider(first, min(last, exchange.head), len(logs))
        return reply if error is None or not self.strikes(call) else refused(error, exchange)


def refused(error: Error, exchange: Exchange) -> Reply:
    """The reply of a refusal; its status of HTTP is that of the request where the call came alone."""
    if not exchange.batch:
        exchange.status = error.status
    return {"jsonrpc": "2.0", "error": error.told}


def number_of(block: str, head: int) -> int:
    """The number of a block that a client names. Whatever else is no number is taken for the head."""
    if block.startswith("0x"):
        return int(block, 16)
    return 0 if block == "earliest" else head
