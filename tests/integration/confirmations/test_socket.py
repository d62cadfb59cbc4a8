"""The socket of a node: a doorbell that may break at any time, and never raises."""

from collections.abc import Iterator

import pytest

from confirmations.gateway.socket import Doorbell
from tests.anvil import Anvil
from tests.rpc_proxy import RpcProxy


@pytest.fixture(scope="module")
def node() -> Iterator[Anvil]:
    with Anvil() as anvil:
        yield anvil


@pytest.fixture
def proxy(node: Anvil) -> Iterator[RpcProxy]:
    with RpcProxy(node.url, socket_url=node.ws_url) as proxy:
        yield proxy


def test_it_rings_when_there_is_a_block_and_tells_of_logs(node: Anvil, proxy: RpcProxy, settings: object) -> None:
    settings.RPC_WS_URL = proxy.socket_url  # type: ignore[attr-defined]
    told = {
        "blockNumber": "0x1",
        "blockHash": "0x" + 64 * "a",
        "logIndex": "0x0",
        "transactionHash": "0x" + 64 * "b",
        "topics": ["0x" + 64 * "c"],
        "data": "0x",
    }
    with Doorbell(bytes(20)) as bell:
        assert not bell.wait(0.01)  # it opens
        proxy.calls.wait_for("eth_subscribe", 2, moment="answered")
        proxy.push_log(told)
        proxy.push_log(told, removed=True)
        node.mine()
        assert bell.wait(10)
        assert [removed for _, removed in bell.take()] == [False, True]
        assert not bell.told


def test_a_socket_that_breaks_or_never_opens_only_waits(proxy: RpcProxy, settings: object) -> None:
    settings.RPC_WS_URL = proxy.socket_url  # type: ignore[attr-defined]
    with Doorbell(bytes(20)) as bell:
        bell.wait(0.01)
        proxy.drop_sockets()
        assert not bell.wait(0.01)
        proxy.stop()
        assert not bell.wait(0.01)
    settings.RPC_WS_URL = ""  # type: ignore[attr-defined]
    with Doorbell(bytes(20)) as bell:
        assert not bell.wait(0.01)
