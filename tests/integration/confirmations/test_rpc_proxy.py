"""The proxy between a client and a node: each fault comes about as it is named, and `Node` gives it its name."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
import urllib3
from websockets.exceptions import ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from confirmations.errors import NodeNonsense, NodeRefused, NodeUnreachable, WrongChain
from confirmations.gateway.node import Node
from confirmations.gateway.nodes import Nodes
from confirmations.ranges import Limit, Refusal, Span, hopeless, refusal_of
from tests import rpc_faults as faults
from tests.rpc_calls import UPGRADE, Moment
from tests.rpc_lag import Lag
from tests.rpc_node import CHAIN, CONTRACT, HEAD, SEND, Chain, log, word
from tests.rpc_proxy import RpcProxy
from tests.rpc_refusals import BATCH_TOO_LARGE, BEYOND_HEAD, PROVIDERS, RATE_LIMIT, SENDING, TIMEOUTS, Error, Provider

MOMENTS: tuple[Moment, ...] = ("asked", "done", "answered")


@pytest.fixture
def chain() -> Iterator[Chain]:
    chain = Chain()
    yield chain
    chain.close()


@pytest.fixture
def proxy(chain: Chain) -> Iterator[RpcProxy]:
    with RpcProxy(chain.server.url, socket_url=chain.socket_url) as proxy:
        yield proxy
    assert [thread.name for thread in threading.enumerate() if "rpc-" in thread.name] == []


@pytest.fixture
def node(proxy: RpcProxy) -> Node:
    return Node(proxy.url)


def logs_of(first: int | str, last: int | str) -> dict[str, Any]:
    return {"fromBlock": hex(first) if isinstance(first, int) else first, "toBlock": hex(last) if isinstance(last, int) else last}  # fmt: skip


# ------------------------------------------------------------------------------------------------ without faults
def test_a_proxy_without_faults_is_not_noticed(node: Node, proxy: RpcProxy) -> None:
    assert node.call("eth_chainId") == hex(CHAIN)
    assert node.batch([("eth_blockNumber", []), ("eth_getLogs", [logs_of(1, 3)])]) == [hex(HEAD), [log(3)]]
    assert Nodes([proxy.url], chain_id=CHAIN).head() == HEAD


def test_a_batch_of_nothing_is_what_the_node_says_of_it(node: Node) -> None:
    with pytest.raises(NodeRefused, match="empty batch"):
        node.batch([])


def test_each_call_is_in_the_log_with_its_moments(node: Node, proxy: RpcProxy) -> None:
    node.batch([(SEND, ["0x01"]), ("eth_chainId", []), (SEND, ["0x02"])])

    assert [(call.method, call.params) for call in proxy.calls.of()] == [(SEND, ["0x01"]), ("eth_chainId", []), (SEND, ["0x02"])]  # fmt: skip
    call = proxy.calls.wait_for(SEND, 2)
    assert call.params == ["0x02"]
    assert (call.asked_at or 0) <= (call.done_at or 0) <= (call.answered_at or 0)
    assert proxy.calls.wait_for(SEND, when=lambda call: call.params == ["0x02"]) is call


def test_who_waits_in_vain_is_told_what_did_come(node: Node, proxy: RpcProxy) -> None:
    node.call("eth_chainId")

    with pytest.raises(AssertionError, match=r"eth_chainId number 2 to be asked\. What came: eth_chainId"):
        proxy.calls.wait_for("eth_chainId", 2, moment="asked", seconds=0.01)


# ------------------------------------------------------------------------------------------------ connections
@pytest.mark.parametrize(
    ("fault", "moments"),
    [
        (faults.RequestLost(methods=SEND, times=1), {"asked"}),
        (faults.ReplyLost(methods=SEND, times=1), {"asked", "done"}),
    ],
    ids=["the request", "the reply"],
)
def test_what_is_lost_is_lost_once(
    chain: Chain, node: Node, proxy: RpcProxy, fault: faults.Fault, moments: set[Moment]
) -> None:
    proxy.on(fault)

    assert node.call("eth_chainId") == hex(CHAIN)
    with pytest.raises(NodeUnreachable):
        node.call(SEND, "0x01")
    node.call(SEND, "0x02")

    assert chain.taken == (["0x01", "0x02"] if "done" in moments else ["0x02"])
    assert {moment for moment in MOMENTS if proxy.calls.of(SEND)[0].at(moment) is not None} == moments
    assert fault.hits == 1


def test_a_batch_is_lost_as_a_whole(chain: Chain, node: Node, proxy: RpcProxy) -> None:
    proxy.on(faults.ReplyLost(methods=SEND))

    with pytest.raises(NodeUnreachable):
        node.batch([("eth_chainId", []), (SEND, ["0x01"])])

    assert chain.taken == ["0x01"]


def test_a_node_that_is_away_comes_back_on_the_same_port(node: Node, proxy: RpcProxy) -> None:
    assert node.call("eth_chainId") == hex(CHAIN)

    proxy.stop()
    for _ in range(2):
        with pytest.raises(NodeUnreachable):
            node.call("eth_chainId")
    with pytest.raises(NodeUnreachable, match="NewConnectionError"):
        Node(proxy.url).call("eth_chainId")

    proxy.start()
    assert node.call("eth_chainId") == hex(CHAIN)


@pytest.mark.parametrize("carried_out", [False, True])
def test_no_answer_until_it_is_let_go(chain: Chain, node: Node, proxy: RpcProxy, carried_out: bool) -> None:
    hang = proxy.on(faults.Hang(methods=SEND, carried_out=carried_out))
    answers: list[str] = []
    client = threading.Thread(target=lambda: answers.append(node.call(SEND, "0x01")))
    client.start()
    proxy.calls.wait_for(SEND, moment="done" if carried_out else "asked")
    assert (chain.taken, answers) == (["0x01"] * carried_out, [])

    proxy.off(hang)
    client.join()

    assert (chain.taken, answers) == (["0x01"], [word(1)])


def test_who_does_not_wait_is_unsure_whether_it_was_done(chain: Chain, proxy: RpcProxy) -> None:
    hurried = Node(proxy.url, timeout=urllib3.Timeout(connect=1, read=0.1))
    with proxy.having(faults.Hang()), pytest.raises(NodeUnreachable, match="ReadTimeoutError"):
        hurried.call(SEND, "0x01")

    proxy.calls.wait_for(SEND, moment="done")
    assert chain.taken == ["0x01"]


def test_what_hangs_is_cut_when_the_node_goes_away(chain: Chain, node: Node, proxy: RpcProxy) -> None:
    proxy.on(faults.Hang())
    errors: list[Exception] = []

    def ask() -> None:
        with pytest.raises(NodeUnreachable) as error:
            node.call(SEND, "0x01")
        errors.append(error.value)

    client = threading.Thread(target=ask)
    client.start()
    proxy.calls.wait_for(SEND, moment="asked")
    proxy.stop()
    client.join()

    assert (chain.taken, len(errors)) == ([], 1)


# ------------------------------------------------------------------------------------------------ a node that is behind
BEHIND: list[tuple[str, list[Any], Any]] = [
    ("eth_blockNumber", [], hex(380)),
    ("eth_getBlockByNumber", ["latest", False], 380),
    ("eth_getBlockByNumber", ["safe", False], 348),
    ("eth_getBlockByNumber", ["finalized", False], 316),
    ("eth_getBlockByNumber", [hex(380), False], 380),
    ("eth_getBlockByNumber", [hex(381), False], None),
    ("eth_getLogs", [logs_of(375, 381)], [log(375, 0), log(378, 1)]),
    ("eth_getLogs", [logs_of(375, "latest")], [log(375, 0), log(378, 1)]),
    ("eth_getLogs", [logs_of(381, HEAD)], []),
    ("eth_getTransactionReceipt", [hex(381)], None),
    ("eth_getTransactionReceipt", [hex(380)], {"blockNumber": hex(380), "status": "0x1"}),
    ("eth_getTransactionByHash", [hex(381)], {"blockNumber": None, "blockHash": None, "transactionIndex": None, "nonce": "0x1"}),
    ("eth_getTransactionCount", [CONTRACT, "latest"], "0x7"),
]  # fmt: skip


@pytest.mark.parametrize("lag", [Lag(20), Lag(at=380)], ids=["behind", "standing still"])
def test_a_node_that_is_behind_knows_nothing_of_what_came_later(node: Node, proxy: RpcProxy, lag: Lag) -> None:
    proxy.on(lag)

    told = node.batch([(method, params) for method, params, _ in BEHIND])

    for (method, _, expected), answer in zip(BEHIND, told, strict=True):
        found = int(answer["number"], 16) if method == "eth_getBlockByNumber" and answer else answer
        assert found == expected


def test_a_node_that_is_behind_is_not_read_and_one_that_says_otherwise_is_believed(proxy: RpcProxy) -> None:
    nodes = Nodes([proxy.url], chain_id=CHAIN)
    ask: list[tuple[str, list[Any]]] = [("eth_getLogs", [logs_of(399, HEAD)])]
    with proxy.having(Lag(20)), pytest.raises(NodeUnreachable, match="is at block 380, before 400"):
        nodes.read(ask, upto=HEAD)

    with proxy.having(Lag(20, methods="eth_getLogs")):  # a balancer swaps nodes within the request
        assert nodes.read(ask, upto=HEAD) == [[]]
    assert nodes.read(ask, upto=HEAD) == [[log(399)]]


def test_a_node_that_is_behind_may_say_so(node: Node, proxy: RpcProxy) -> None:
    proxy.on(Lag(20, beyond=BEYOND_HEAD))

    assert node.call("eth_getLogs", logs_of(378, 380)) == [log(378)]
    with pytest.raises(NodeRefused, match="beyond current head block"):
        node.call("eth_getLogs", logs_of(378, 381))


# ------------------------------------------------------------------------------------------------ logs
def test_logs_are_left_out_of_an_answer_that_looks_well(node: Node, proxy: RpcProxy) -> None:
    omits = proxy.on(faults.OmitsLogs(lambda log: log["blockNumber"] == hex(6), times=2))

    assert node.call("eth_getLogs", logs_of(1, 3)) == [log(3)]
    assert omits.hits == 0  # there was nothing to leave out
    assert [node.call("eth_getLogs", logs_of(4, 6)) for _ in range(3)] == [[], [], [log(6)]]


SMALL = {
    "alchemy": replace(PROVIDERS["alchemy"], logs=8, only_longer=4),
    "alchemy free": PROVIDERS["alchemy free"],
    "infura": replace(PROVIDERS["infura"], logs=20),
    "quicknode": replace(PROVIDERS["quicknode"], blocks=5),
    "geth": replace(PROVIDERS["geth"], blocks=50),
    "ankr": replace(PROVIDERS["ankr"], blocks=100, logs=22),
    "1rpc": replace(PROVIDERS["1rpc"], blocks=30),
}
"""Each provider, with limits that a chain of four hundred blocks meets."""


@pytest.mark.parametrize("provider", SMALL.values(), ids=SMALL)
def test_under_the_limits_of_any_provider_the_same_logs_are_read(
    node: Node, proxy: RpcProxy, provider: Provider
) -> None:
    everything = node.call("eth_getLogs", logs_of(0, HEAD))
    capped = proxy.on(faults.Capped(provider))
    span, begin, read = Span(), 0, []
    while begin <= HEAD:
        first, last = span.of(begin, HEAD)
        try:
            logs = node.call("eth_getLogs", logs_of(first, last))
        except NodeRefused as error:
            assert not hopeless(last - first + 1)
            span = span.refused(refusal_of(error.message, error.data), last - first + 1, 0.0)
            continue
        read += logs
        begin = last + 1
        span = span.answered(len(logs), last - first + 1, 0.0)

    assert capped.hits
    assert [item["blockNumber"] for item in read] == [item["blockNumber"] for item in everything]


@pytest.mark.parametrize(
    ("name", "asked", "code", "refusal"),
    [
        ("alchemy", (1, 4_000, 20_000), -32602, Refusal(Limit.RESULTS, 2_000)),
        ("alchemy free", (1, 11, 0), -32600, Refusal(Limit.BLOCKS, 10)),
        ("infura", (1, 1_000, 40_000), -32005, Refusal(Limit.RESULTS, 250)),
        ("quicknode", (1, 10_001, 0), -32614, Refusal(Limit.BLOCKS, 10_000)),
        ("geth", (1, 5_001, 0), -32602, Refusal(Limit.BLOCKS, 5_000)),
        ("ankr", (1, 3_001, 0), -32600, Refusal(Limit.BLOCKS)),
        ("ankr", (1, 3_000, 200_001), -32602, Refusal(Limit.RESULTS)),
        ("1rpc", (1, 1_001, 0), -32000, Refusal(Limit.BLOCKS, 1_000)),
    ],
)
def test_each_provider_says_it_in_its_own_words(
    name: str, asked: tuple[int, int, int], code: int, refusal: Refusal
) -> None:
    error = PROVIDERS[name](*asked)

    assert error is not None
    assert error.code == code
    assert refusal_of(error.message, error.data) == refusal
    assert PROVIDERS[name](1, 10, 1) is None


def test_a_refusal_comes_with_its_data_and_with_its_status_if_it_comes_alone(node: Node, proxy: RpcProxy) -> None:
    proxy.on(faults.Capped(SMALL["infura"]))
    proxy.on(faults.Capped(SMALL["quicknode"], when=lambda call: call.params[0]["fromBlock"] == "0x0"))

    with pytest.raises(NodeRefused) as refused:
        node.call("eth_getLogs", logs_of(1, 8))
    assert refused.value.data == {"from": "0x1", "limit": 20, "to": "0x7"}
    number, refusal = node.batch([("eth_blockNumber", []), ("eth_getLogs", [logs_of(0, 5)])])
    assert (number, refusal.number) == (hex(HEAD), -32614)
    asked = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [logs_of(0, 5)]}
    assert urllib3.request("POST", proxy.url, body=orjson.dumps(asked)).status == 413


@pytest.mark.parametrize("error", TIMEOUTS.values(), ids=TIMEOUTS)
def test_a_search_that_takes_too_long_is_a_limit_of_results(node: Node, proxy: RpcProxy, error: Error) -> None:
    proxy.on(faults.Refuses(error, methods="eth_getLogs"))

    with pytest.raises(NodeRefused) as refused:
        node.call("eth_getLogs", logs_of(1, 8))
    assert refusal_of(refused.value.message, refused.value.data).limit is Limit.RESULTS


# ------------------------------------------------------------------------------------------------ answers that are none
@pytest.mark.parametrize("retry_after", [None, "7"])
def test_who_asks_too_often_is_refused(chain: Chain, node: Node, proxy: RpcProxy, retry_after: str | None) -> None:
    proxy.on(faults.too_many(retry_after, methods=SEND, times=1))

    with pytest.raises(NodeRefused) as refused:
        node.batch([("eth_chainId", []), (SEND, ["0x01"])])

    assert (refused.value.number, refused.value.retry_after) == (429, retry_after and 7.0)
    assert chain.taken == []
    node.call(SEND, "0x01")


def test_who_asks_too_often_may_be_told_by_json_rpc_alone(node: Node, proxy: RpcProxy) -> None:
    proxy.on(faults.Refuses(RATE_LIMIT, methods="eth_blockNumber"))

    chain_id, refused = node.batch([("eth_chainId", []), ("eth_blockNumber", [])])

    assert chain_id == hex(CHAIN)
    assert (refused.number, refused.data) == (-32005, RATE_LIMIT.data)


@pytest.mark.parametrize("carried_out", [False, True])
@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_page_of_a_server_that_fails_is_no_answer(
    chain: Chain, node: Node, proxy: RpcProxy, status: int, carried_out: bool
) -> None:
    proxy.on(faults.broken(status, carried_out=carried_out))

    with pytest.raises(NodeUnreachable, match=str(status)):
        node.call(SEND, "0x01")
    assert chain.taken == ["0x01"] * carried_out


@pytest.mark.parametrize(
    "fault",
    [
        faults.malformed(),
        faults.no_result(),
        faults.wrong_id(4_000_000),
        faults.left_out(),
        faults.Answers(200, b"<html>"),
        faults.Answers(403, b"Forbidden"),
    ],
    ids=["malformed", "no result", "wrong id", "nothing", "a page", "forbidden"],
)
def test_what_is_no_answer_to_a_call_is_nonsense(
    chain: Chain, node: Node, proxy: RpcProxy, fault: faults.Fault
) -> None:
    proxy.on(fault)

    with pytest.raises(NodeNonsense):
        node.call("eth_chainId")


@pytest.mark.parametrize(
    "fault",
    [faults.no_result(methods=SEND), faults.wrong_id(4_000_000, methods=SEND), faults.left_out(methods=SEND)],
    ids=["no result", "wrong id", "missing"],
)
def test_one_of_many_is_nonsense_by_itself(chain: Chain, node: Node, proxy: RpcProxy, fault: faults.Fault) -> None:
    proxy.on(fault)

    before, struck, after = node.batch([("eth_chainId", []), (SEND, ["0x01"]), ("eth_blockNumber", [])])

    assert (before, after) == (hex(CHAIN), hex(HEAD))
    assert isinstance(struck, NodeNonsense)
    assert chain.taken == ["0x01"]


@pytest.mark.parametrize("carried_out", [False, True])
def test_a_batch_is_refused_with_one_error(chain: Chain, node: Node, proxy: RpcProxy, carried_out: bool) -> None:
    proxy.on(faults.OneError(BATCH_TOO_LARGE, carried_out=carried_out))

    with pytest.raises(NodeRefused, match="batch too large"):
        node.batch([("eth_chainId", []), (SEND, ["0x01"])])
    assert chain.taken == ["0x01"] * carried_out
    assert node.call("eth_chainId") == hex(CHAIN)


# ------------------------------------------------------------------------------------------------ what a node refuses
@pytest.mark.parametrize("carried_out", [False, True])
def test_one_transaction_of_many_is_refused(chain: Chain, node: Node, proxy: RpcProxy, carried_out: bool) -> None:
    error = SENDING["txpool full"]["geth"]
    proxy.on(faults.Refuses(error, carried_out=carried_out, methods=SEND, when=lambda call: call.params == ["0x02"]))

    answers = node.batch([(SEND, [raw]) for raw in ("0x01", "0x02", "0x03")])

    assert [isinstance(answer, NodeRefused) for answer in answers] == [False, True, False]
    assert sorted(chain.taken) == (["0x01", "0x02", "0x03"] if carried_out else ["0x01", "0x03"])


def test_every_refusal_arrives_as_it_is(node: Node, proxy: RpcProxy) -> None:
    for error in (error for said in SENDING.values() for error in said.values()):
        with proxy.having(faults.Refuses(error, methods=SEND)), pytest.raises(NodeRefused) as refused:
            node.call(SEND, "0x01")
        assert (refused.value.number, refused.value.message, refused.value.data) == (error.code, error.message, error.data)  # fmt: skip


def test_a_node_of_another_chain_is_found_out(proxy: RpcProxy) -> None:
    proxy.on(faults.wrong_chain(1))

    with pytest.raises(WrongChain, match="is of chain 1, not of 31337"):
        Nodes([proxy.url], chain_id=CHAIN).head()


def test_faults_are_combined_in_the_order_in_which_they_were_switched_on(node: Node, proxy: RpcProxy) -> None:
    odd = faults.OmitsLogs(lambda log: int(log["blockNumber"], 16) % 2 == 1)
    with proxy.having(Lag(20), odd, faults.Capped(replace(PROVIDERS["infura"], logs=1))):
        assert node.call("eth_getLogs", logs_of(375, 385)) == [log(378, 1)]
    with proxy.having(faults.says("0x1", methods="eth_chainId"), faults.says("0x2", methods="eth_chainId")):
        assert node.call("eth_chainId") == "0x2"
    assert len(node.call("eth_getLogs", logs_of(375, 385))) == 4


# ------------------------------------------------------------------------------------------------ sockets
@contextlib.contextmanager
def subscribed(url: str, *kinds: str) -> Iterator[ClientConnection]:
    with connect(url, proxy=None) as link:
        for at, kind in enumerate(kinds, 1):
            link.send(json.dumps({"jsonrpc": "2.0", "id": at, "method": "eth_subscribe", "params": [kind]}))
            link.recv(timeout=10)
        yield link


def test_a_log_is_pushed_to_who_has_subscribed_to_logs(proxy: RpcProxy) -> None:
    with subscribed(proxy.socket_url, "newHeads", "logs") as link, subscribed(proxy.socket_url, "newHeads"):
        assert proxy.push_log(log(5), removed=True) == 1

        told = json.loads(link.recv(timeout=10))
    assert told["method"] == "eth_subscription"
    assert told["params"] == {"subscription": f"0x2{'ab' * 200}", "result": log(5) | {"removed": True}}
    assert [call.params for call in proxy.calls.of("eth_subscribe")] == [["newHeads"], ["logs"], ["newHeads"]]


def test_a_long_message_is_pushed_whole(proxy: RpcProxy) -> None:
    with subscribed(proxy.socket_url, "logs") as link:
        proxy.push_log(log(5) | {"data": f"0x{'00' * 40_000}"})
        assert len(json.loads(link.recv(timeout=10))["params"]["result"]["data"]) == 80_002


def test_open_sockets_are_dropped_and_new_ones_may_be_opened(proxy: RpcProxy) -> None:
    with subscribed(proxy.socket_url, "logs") as first, subscribed(proxy.socket_url, "logs") as second:
        assert proxy.drop_sockets() == 2
        for link in (first, second):
            with pytest.raises(ConnectionClosedError):
                link.recv(timeout=10)

    with subscribed(proxy.socket_url, "logs"):
        assert proxy.push_log(log(5)) == 1


def test_sockets_end_with_the_node(proxy: RpcProxy) -> None:
    with subscribed(proxy.socket_url, "logs") as link:
        proxy.stop()
        with pytest.raises(ConnectionClosedError):
            link.recv(timeout=10)
        assert proxy.push_log(log(5)) == 0


def test_a_socket_is_refused_while_calls_are_answered(node: Node, proxy: RpcProxy) -> None:
    for fault, error in ((faults.Answers(503), InvalidStatus), (faults.RequestLost(), InvalidMessage)):
        fault.methods = UPGRADE
        with proxy.having(fault), pytest.raises(error), connect(proxy.socket_url, proxy=None):
            pass

    assert node.call("eth_chainId") == hex(CHAIN)
    assert len(proxy.calls.of(UPGRADE)) == 2
