"""Several nodes of one network: which of them is asked, and which rests.

A node that fails rests, twice as long each time. What may be asked of any node goes to the first that answers, in the
order of the URLs. What is read of blocks is not: nodes behind one another answer the same question differently, and one
that has not seen a block says that nothing happened in it. So a range is read from *one* node, whose own head is far
enough, and a node that a provider's proxy may swap beneath us is asked for its head in the same request.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

from confirmations.errors import BatchRefused, NodeError, NodeNonsense, NodeRefused, NodeUnreachable, WrongChain
from confirmations.gateway.node import SERVER_ERROR, TOO_MANY, Call, Node, number
from confirmations.ranges import is_beyond_head

FIRST_REST = 1.0  # seconds
LONGEST_REST = 60.0

T = TypeVar("T")


@dataclass(slots=True)
class Health:
    """How a node has answered lately. Moments are seconds of the clock of `Nodes`."""

    failures: int = 0  # in a row
    rests_until: float = 0.0
    asked_until: float = 0.0  # when it said itself that it may be asked again
    head: int | None = None
    head_at: float = 0.0
    chain_id: int | None = None
    said: str = ""  # the last error


class Nodes:
    """The nodes of one network, by their URLs, the preferred one first. Safe to be shared by threads."""

    def __init__(
        self, urls: Sequence[str], *, chain_id: int, clock: Callable[[], float] = time.monotonic, **options: Any
    ) -> None:
        """`chain_id`: what each has to be of; asked once of each. `options`: those of `Node`."""
        if not urls:
            message = "a network without a node"
            raise ValueError(message)
        self.chain_id = chain_id
        self._nodes = [Node(url, **options) for url in urls]
        self._health = [Health() for _ in self._nodes]
        self._clock = clock
        self._lock = threading.Lock()

    def health(self) -> list[tuple[str, Health]]:
        """Each node's name (without what may be secret in its URL) and how it is."""
        return [(node.name, health) for node, health in zip(self._nodes, self._health, strict=True)]

    def call(self, method: str, *params: Any) -> Any:
        """Ask the first node that answers. For what may be asked twice.

        Raises:
            NodeRefused: a node has answered, with an error: another would too.
            NodeError: none answered; the last one's error.
        """
        return self._any(lambda node: node.call(method, *params))

    def batch(self, calls: Sequence[Call]) -> list[Any]:
        """Ask many things of the first node that answers. As `call`, and as `Node.batch`."""
        return self._any(lambda node: node.batch(calls))

    def read(self, calls: Sequence[Call], *, upto: int) -> list[Any]:
        """Ask many things about blocks up to `upto` of one node that has seen that block by the same request's answer.

        Raises:
            NodeUnreachable: no node that answers is so far.
            NodeError: none answered.
        """

        def ask(node: Node, health: Health) -> list[Any]:
            head, *answers = node.batch([("eth_blockNumber", []), *calls])
            self._seen(health, head)
            if health.head is None or health.head < upto:
                message = f"{node.name} is at block {health.head}, before {upto}"
                raise Behind(message)
            if any(isinstance(item, NodeRefused) and is_beyond_head(item.message) for item in answers):
                message = f"{node.name} has not seen block {upto} everywhere"
                raise Behind(message)
            return answers

        return self._each(ask)

    def head(self) -> int:
        """The highest block that a node knows of; of the first one that answers. Raises `NodeError`."""

        def ask(node: Node, health: Health) -> int:
            self._seen(health, node.call("eth_blockNumber"))
            assert health.head is not None  # noqa: S101 - seen just now
            return health.head

        return self._each(ask)

    # -- who is asked

    def _any(self, ask: Callable[[Node], T]) -> T:
        return self._each(lambda node, _health: ask(node))

    def _each(self, ask: Callable[[Node, Health], T]) -> T:
        last: NodeError = NodeUnreachable("every node rests")
        fallback: list[T] = []
        for node, health in self._order():
            try:
                self._check_chain(node, health)
                answer = ask(node, health)
            except Behind as error:  # it is well, and not far enough: no reason to rest
                last = error
                continue
            except NodeRefused as error:
                if not of_the_node(error):
                    self._well(health)
                    raise
                self._failed(health, error, error.retry_after)
                last = error
            except NodeError as error:
                self._failed(health, error, None)
                last = error
            else:
                refused = [item for item in answer if of_the_node(item)] if isinstance(answer, list) else []
                if not refused:
                    self._well(health)
                    return answer
                self._failed(health, refused[0], refused[0].retry_after)
                fallback.append(answer)
        if fallback:
            return fallback[0]
        raise last

    def _order(self) -> list[tuple[Node, Health]]:
        """Those that do not rest, in their order; if all do, the one whose rest ends first.

        Raises `NodeRefused`: each has said itself that it is not to be asked yet.
        """
        pairs = list(zip(self._nodes, self._health, strict=True))
        now = self._clock()
        with self._lock:
            awake = [pair for pair in pairs if pair[1].rests_until <= now]
            if awake:
                return awake
            free = [pair for pair in pairs if pair[1].asked_until <= now]
            if not free:
                left = min(pair[1].asked_until for pair in pairs) - now
                raise NodeRefused(TOO_MANY, "every node asks to be left alone for now", retry_after=left)
            return [min(free, key=lambda pair: pair[1].rests_until)]

    def _check_chain(self, node: Node, health: Health) -> None:
        if health.chain_id is None:
            try:
                health.chain_id = number(node.call("eth_chainId"))
            except NodeRefused as error:  # it answers what was asked here, and nothing else
                if of_the_node(error):
                    raise
                message = f"{node.name} does not say of which chain it is: {error.message[:200]}"
                raise NodeNonsense(message) from None
        if health.chain_id != self.chain_id:
            message = f"{node.name} is of chain {health.chain_id}, not of {self.chain_id}"
            health.chain_id = None  # asked anew when it has rested: somebody may have put it right
            raise WrongChain(message)

    # -- how they are

    def _seen(self, health: Health, head: Any) -> None:
        if isinstance(head, NodeError):
            raise head
        height = number(head)
        with self._lock:
            health.head, health.head_at = height, self._clock()

    def _well(self, health: Health) -> None:
        with self._lock:
            health.failures, health.rests_until, health.said = 0, 0.0, ""

    def _failed(self, health: Health, error: NodeError, retry_after: float | None) -> None:
        with self._lock:
            rest = min(LONGEST_REST, FIRST_REST * 2 ** min(health.failures, 16))
            health.failures += 1
            health.rests_until = self._clock() + max(rest, min(retry_after or 0.0, LONGEST_REST))
            if retry_after is not None:
                health.asked_until = self._clock() + min(retry_after, LONGEST_REST)
            health.chain_id = None  # asked anew: it may be another one by now
            health.said = str(error)[:300]


_OF_THE_NODE = frozenset({401, 402, 403, 404, 405, TOO_MANY, -32601, -32603, -32002, -32007, -32097})
_LIMITED = -32005
_LIMITED_WORDS = ("rate", "too many requests", "capacity", "per second", "request limit", "quota")


def of_the_node(error: object) -> TypeGuard[NodeRefused]:
    """Whether a refusal says something of the node (it is tired, closed, broken), and nothing of what was asked."""
    if not isinstance(error, NodeRefused):
        return False
    if isinstance(error, BatchRefused):
        return False
    if error.number in _OF_THE_NODE or (error.number or 0) >= SERVER_ERROR:
        return True
    said = error.message.lower()
    return error.number == _LIMITED and any(words in said for words in _LIMITED_WORDS)


class Behind(NodeUnreachable):
    """No node that answers has seen the block that is asked about."""

    code = "node_behind"
