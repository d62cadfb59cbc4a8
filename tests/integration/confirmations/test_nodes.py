"""Several nodes: who is asked, who rests, and that a range is read from one that has seen it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from confirmations.errors import NodeError, NodeNonsense, NodeRefused, NodeUnreachable, WrongChain
from confirmations.gateway.nodes import LONGEST_REST, Behind, Nodes
from tests.integration.confirmations.test_gateway import Server

CHAIN = 31337


class Chain:
    """A node that is at some block, and answers each question with its own name."""

    def __init__(self, name: str, head: int = 100, chain_id: int = CHAIN) -> None:
        self.name, self.head, self.chain_id = name, head, chain_id
        self.status = 200
        self.headers: dict[str, str] = {}
        self.error: dict[str, Any] | None = None
        self.server = Server()
        self.server.answer = self._answer

    def _answer(self, asked: Any) -> tuple[int, dict[str, str], bytes]:
        if self.status != 200:
            return self.status, self.headers, b"{}" if self.status == 429 else b"busy"
        replies = [self._one(one) for one in asked] if isinstance(asked, list) else self._one(asked)
        return 200, {}, json.dumps(replies).encode()

    def _one(self, asked: Any) -> dict[str, Any]:
        reply = {"jsonrpc": "2.0", "id": asked["id"]}
        if asked["method"] == "eth_chainId":
            return reply | {"result": hex(self.chain_id)}
        if asked["method"] == "eth_blockNumber":
            return reply | {"result": hex(self.head) if self.head >= 0 else "soon"}
        if self.error is not None:
            return reply | {"error": self.error}
        return reply | {"result": self.name}

    @property
    def questions(self) -> list[str]:
        """The methods of all that it was asked, but for its chain."""
        asked = [one for part in self.server.asked for one in (part if isinstance(part, list) else [part])]
        return [one["method"] for one in asked if one["method"] != "eth_chainId"]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def chains() -> Iterator[list[Chain]]:
    made = [Chain("first"), Chain("second")]
    yield made
    for chain in made:
        chain.server.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nodes(chains: list[Chain], clock: Clock) -> Nodes:
    return Nodes([chain.server.url for chain in chains], chain_id=CHAIN, clock=clock)


LOGS: list[tuple[str, list[Any]]] = [("eth_getLogs", [{}])]


def test_the_first_is_asked_as_long_as_it_answers(nodes: Nodes, chains: list[Chain]) -> None:
    assert [nodes.call("eth_getCode") for _ in range(3)] == ["first"] * 3
    assert nodes.batch(LOGS) == ["first"]
    assert chains[1].server.asked == []


@pytest.mark.parametrize("status", [500, 429])
def test_one_that_fails_rests_longer_each_time_and_the_next_is_asked(
    nodes: Nodes, chains: list[Chain], clock: Clock, status: int
) -> None:
    chains[0].status = status
    assert nodes.call("eth_getCode") == "second"
    asked = len(chains[0].server.asked)
    assert nodes.call("eth_getCode") == "second"
    assert len(chains[0].server.asked) == asked  # it rests

    for rest in (1, 2, 4):
        clock.now += rest
        assert nodes.call("eth_getCode") == "second"
        asked += 1
        assert len(chains[0].server.asked) == asked
    assert nodes.health()[0][1].failures == 4

    chains[0].status = 200
    clock.now += 8
    assert nodes.call("eth_getCode") == "first"
    assert nodes.health()[0][1].failures == 0


def test_who_says_when_to_come_back_is_asked_then(nodes: Nodes, chains: list[Chain], clock: Clock) -> None:
    nodes.call("eth_getCode")
    chains[0].status, chains[0].headers = 429, {"Retry-After": "20"}
    assert nodes.call("eth_getCode") == "second"
    chains[0].status = 200

    clock.now += 19
    assert nodes.call("eth_getCode") == "second"
    clock.now += 1
    assert nodes.call("eth_getCode") == "first"


def test_when_all_rest_the_one_that_has_rested_longest_is_asked(
    nodes: Nodes, chains: list[Chain], clock: Clock
) -> None:
    for chain in chains:
        chain.status = 500
    with pytest.raises(NodeUnreachable):
        nodes.call("eth_getCode")
    chains[0].status = 200

    assert nodes.call("eth_getCode") == "first"


def test_no_rest_is_longer_than_a_minute(nodes: Nodes, chains: list[Chain], clock: Clock) -> None:
    for chain in chains:
        chain.status = 500
    for _ in range(20):
        clock.now += LONGEST_REST
        with pytest.raises(NodeError):
            nodes.call("eth_getCode")

    assert max(health.rests_until - clock.now for _, health in nodes.health()) == LONGEST_REST


def test_a_refusal_is_an_answer_and_no_reason_to_ask_another(nodes: Nodes, chains: list[Chain]) -> None:
    chains[0].error = {"code": -32000, "message": "nonce too low"}

    with pytest.raises(NodeRefused, match="nonce too low"):
        nodes.call("eth_sendRawTransaction", "0x")

    assert chains[1].server.asked == []
    assert nodes.health()[0][1].failures == 0


@pytest.mark.parametrize(
    "error",
    [
        {"code": -32005, "message": "daily request count exceeded, request rate limited"},
        {"code": -32002, "message": "request timed out"},
        {"code": -32601, "message": "the method does not exist"},
        {"code": -32603, "message": "internal error"},
    ],
    ids=lambda error: str(error["code"]),
)
def test_a_refusal_that_is_about_the_node_is_no_answer(
    nodes: Nodes, chains: list[Chain], error: dict[str, Any]
) -> None:
    nodes.call("eth_getCode")
    chains[0].error = error

    assert nodes.call("eth_getCode") == "second"
    assert nodes.batch(LOGS) == ["second"]
    assert nodes.health()[0][1].failures == 1


def test_too_many_results_are_about_the_question(nodes: Nodes, chains: list[Chain]) -> None:
    nodes.call("eth_getCode")
    chains[0].error = {"code": -32005, "message": "query returned more than 10000 results"}

    with pytest.raises(NodeRefused, match="10000 results"):
        nodes.call("eth_getLogs")

    assert nodes.health()[0][1].failures == 0


def test_a_node_that_says_when_is_left_alone_even_if_it_is_the_only_one(chains: list[Chain], clock: Clock) -> None:
    alone = Nodes([chains[0].server.url], chain_id=CHAIN, clock=clock)
    alone.call("eth_getCode")
    chains[0].status, chains[0].headers = 429, {"Retry-After": "20"}
    with pytest.raises(NodeRefused):
        alone.call("eth_getCode")
    asked = len(chains[0].server.asked)
    chains[0].status = 200

    with pytest.raises(NodeRefused, match="left alone") as refused:
        alone.call("eth_getCode")

    assert (refused.value.retry_after, len(chains[0].server.asked)) == (20, asked)
    clock.now += 20
    assert alone.call("eth_getCode") == "first"


def test_a_range_that_a_node_has_not_seen_is_asked_of_another(nodes: Nodes, chains: list[Chain]) -> None:
    nodes.call("eth_getCode")
    chains[0].error = {"code": -32602, "message": "block range extends beyond current head block"}

    assert nodes.read(LOGS, upto=1) == ["second"]
    assert nodes.health()[0][1].failures == 0


def test_a_node_of_another_chain_is_never_asked_anything_else(nodes: Nodes, chains: list[Chain], clock: Clock) -> None:
    chains[0].chain_id = 1

    assert nodes.call("eth_getCode") == "second"

    assert chains[0].questions == []
    assert "is of chain 1, not of 31337" in nodes.health()[0][1].said
    chains[0].chain_id = CHAIN  # somebody has put it right
    clock.now += 1
    assert nodes.call("eth_getCode") == "first"


def test_if_all_are_of_another_chain_that_is_said(nodes: Nodes, chains: list[Chain]) -> None:
    for chain in chains:
        chain.chain_id = 1

    with pytest.raises(WrongChain):
        nodes.call("eth_getCode")


# ------------------------------------------------------------------------------------------------ reading of blocks
def test_a_range_is_read_from_a_node_that_has_seen_its_end(nodes: Nodes, chains: list[Chain]) -> None:
    """One that has not would say that nothing happened there."""
    chains[0].head = 99

    assert nodes.read(LOGS, upto=100) == ["second"]
    assert nodes.read(LOGS, upto=99) == ["first"]
    assert nodes.health()[0][1].failures == 0


def test_the_head_is_asked_in_the_same_request(nodes: Nodes, chains: list[Chain]) -> None:
    nodes.read(LOGS, upto=100)

    assert chains[0].questions == ["eth_blockNumber", "eth_getLogs"]
    assert len(chains[0].server.asked) == 2  # the chain, once, and this


def test_what_no_node_has_seen_is_not_read(nodes: Nodes, chains: list[Chain]) -> None:
    with pytest.raises(Behind, match="is at block 100, before 101"):
        nodes.read(LOGS, upto=101)


def test_a_head_that_is_no_number_is_nonsense(nodes: Nodes, chains: list[Chain]) -> None:
    chains[0].head = -1

    assert nodes.head() == 100
    assert nodes.health()[0][1].failures == 1
    chains[1].head = -1
    with pytest.raises(NodeNonsense):
        nodes.head()


def test_a_network_without_a_node_is_none() -> None:
    with pytest.raises(ValueError, match="without a node"):
        Nodes([], chain_id=1)
