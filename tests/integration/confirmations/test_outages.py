"""A node that is killed, one that is far behind another, and a socket that is dead: all of it only takes longer."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from confirmations.handlers import capture
from confirmations.models import Contract, Log, Transaction
from confirmations.services import capturing
from confirmations.states import Step
from jobs import registry, services
from jobs.models import Intervention, Job
from tests.anvil import Anvil
from tests.contracts.deliveries import Worker
from tests.integration.confirmations.test_answers import SEND, confirmed_once, settle, submitted
from tests.integration.jobs.conftest import events
from tests.rpc_calls import UPGRADE, Call, Exchange, Reply
from tests.rpc_faults import ReplyLost, RequestLost, says
from tests.rpc_lag import Lag
from tests.rpc_proxy import RpcProxy
from tests.world import World, forget


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Anvil]:
    """A node that writes its blocks down as it ends."""
    with Anvil(options=("--state", str(tmp_path / "state.json"))) as anvil:
        yield anvil


def as_it_should_be(world: World, ids: list[Any]) -> None:
    confirmed_once(world, ids)
    assert len(events("job.confirmed")) == len(ids)
    nonces = list(Transaction.objects.order_by("nonce").values_list("nonce", flat=True))
    assert nonces == list(range(nonces[0], world.node.nonce(bytes(world.signer.address))))
    assert not Intervention.objects.exists()


# ---------------------------------------------------------------------------------------------- a node is killed
def test_a_node_that_comes_back_without_its_pool_is_told_again(world: World, proxy: RpcProxy) -> None:
    ids = submitted(world, 2)
    world.send()
    ids += submitted(world, 2)
    with proxy.having(ReplyLost(methods=SEND)):  # taken, and nobody heard of it
        world.send_quietly()
    assert len(world.node.waiting()["pending"]) == 1
    world.node.end()

    ids += submitted(world, 2)
    for _ in range(3):
        world.pass_time(31)
        world.send_quietly()
        world.watch_quietly()
        world.read_quietly()
    sender = Job.objects.get(kind="confirmation.send", status="queued")
    assert (sender.error or {})["code"] == "node_unreachable"
    assert set(world.statuses(ids)) == {"confirming"}

    world.node.start()
    assert world.node.waiting()["pending"] == {}
    settle(world)
    as_it_should_be(world, ids)


def test_a_node_that_was_killed_and_lost_its_last_blocks_is_followed_back(world: World) -> None:
    world.node.mine(3)
    early = submitted(world, 1)
    world.settle()
    assert world.statuses(early) == ["confirmed"]
    world.node.end()  # what it has by now is what it will come back with
    world.node.start()
    ids = submitted(world, 3)
    world.send()
    world.node.mine()
    world.read()
    assert set(Transaction.objects.exclude(step="final").values_list("step", flat=True)) == {Step.INCLUDED}
    read = world.contract.next_block

    world.node.stop()
    world.node.start()
    world.read_quietly()
    assert world.contract.next_block == read  # a node that is behind takes nothing back
    world.node.mine()
    world.read()

    assert len(events("tx.retracted")) == len(ids)
    assert world.contract.next_block == world.node.head() + 1
    settle(world)
    as_it_should_be(world, early + ids)
    assert Log.objects.filter(orphaned=True).count() == len(ids)


# ---------------------------------------------------------------------------------------------- a node is far behind
@dataclass(eq=False)
class Balancer(Lag):
    """Two nodes behind one address: who asks for a nonce gets the one that is at the head, all others the other one."""

    def change(self, call: Call, exchange: Exchange, reply: Reply) -> Reply | None:
        if any(each.method == "eth_getTransactionCount" for each in exchange.calls):
            return reply
        return super().change(call, exchange, reply)


def watched(world: World, times: int) -> None:
    """Let blocks and half minutes pass, in which everybody does what they find to do."""
    for _ in range(times):
        world.node.mine()
        world.pass_time(31)
        world.watch_quietly()
        world.send_quietly()
        world.read_quietly()


def test_a_node_twenty_blocks_behind_does_not_make_our_own_nonce_somebody_elses(world: World, proxy: RpcProxy) -> None:
    world.node.mine(30)
    world.read()
    ids = submitted(world, 2)
    world.send()
    world.node.mine()

    with proxy.having(Balancer(20)):
        watched(world, 10)

        assert world.statuses(ids) == ["confirming"] * 2
        assert Transaction.objects.count() == 2
        watched(world, 15)  # by now the other one has them too
        assert world.statuses(ids) == ["confirmed"] * 2
    as_it_should_be(world, ids)


def test_a_receipt_that_nobody_has_for_minutes_while_nobody_reads_makes_no_second_transaction(
    world: World, proxy: RpcProxy
) -> None:
    ids = submitted(world, 2)
    world.send()

    with proxy.having(says(None, methods="eth_getTransactionReceipt")):
        for _ in range(10):
            world.node.mine()
            world.pass_time(31)
            world.watch()
            world.send_quietly()
    assert Transaction.objects.count() == 2
    world.read()

    as_it_should_be(world, ids)


@pytest.mark.parametrize("read", [True, False], ids=["read", "never read"])
def test_what_was_seen_before_a_reorganisation_says_nothing_of_what_came_after_it(
    world: World, proxy: RpcProxy, *, read: bool
) -> None:
    ids = submitted(world, 1)
    world.send()
    world.node.mine()
    unknown = says(None, methods="eth_getTransactionReceipt")
    with proxy.having(unknown):
        world.watch()
    if read:
        world.read()
    world.node.reorganise(1)
    world.node.mine(5)
    world.read()
    assert len(events("tx.retracted")) == read

    world.pass_time(31)
    world.watch()
    world.send()
    world.node.mine()
    with proxy.having(unknown):
        world.watch()

    settle(world)
    as_it_should_be(world, ids)


# ---------------------------------------------------------------------------------------------- the socket is dead
@pytest.fixture
def sockets(world: World, settings: Any) -> Iterator[RpcProxy]:
    """The node, and its socket, by way of a proxy."""
    with RpcProxy(world.node.url, socket_url=world.node.ws_url) as proxy:
        settings.RPC_URLS, settings.RPC_WS_URL = [proxy.url], proxy.socket_url
        forget()
        yield proxy


def while_reading(act: Callable[[], object]) -> None:
    """Let the job that reads have one slice, while something happens."""
    happens = threading.Thread(target=act)
    worker = Worker(registry.get("confirmation.capture"), "reader")
    services.wake_parked()
    claimed = worker.claim()
    assert len(claimed) == 1
    happens.start()
    try:
        assert worker.run(list(claimed)) == {"parked": 1}
    finally:
        happens.join()


def test_with_a_socket_that_is_dead_for_an_hour_all_is_confirmed_by_asking(
    world: World, sockets: RpcProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(capture, "SLICE_SECONDS", 1.5)
    world.call("confirmation.ensure_capture")
    world.run("confirmation.ensure_capture")
    refused = RequestLost(methods=UPGRADE)

    def dies() -> None:
        sockets.calls.wait_for("eth_subscribe", 2)
        sockets.on(refused)
        assert sockets.drop_sockets() == 1
        world.node.mine(3)

    def is_dead() -> None:
        asked = len(sockets.calls.of("eth_blockNumber", moment="answered"))
        sockets.calls.wait_for("eth_blockNumber", asked + 2)  # it has looked and found nothing, and looks again
        world.node.mine(3)

    ids: list[UUID] = []
    for act in (dies, is_dead, is_dead):
        ids += submitted(world, 2)
        world.send()
        while_reading(act)
        assert set(world.statuses(ids)) == {"confirmed"}
        world.pass_time(1200)

    assert refused.hits > 0
    assert Contract.objects.get().lease_no == 3
    assert capturing.complete_to(world.contract) == world.node.head()
    as_it_should_be(world, ids)
