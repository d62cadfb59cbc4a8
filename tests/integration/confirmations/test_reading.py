"""What can be wrong with what is read: nodes that lag, leave out, cut off, or talk nonsense; readers that come too late."""

from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest

from confirmations import selectors
from confirmations.errors import LeaseLost, NodeError, NodeNonsense, WrongChain
from confirmations.gateway.chain import Chain, chain
from confirmations.handlers import capture
from confirmations.handlers.capture import Reader
from confirmations.models import Contract, Log, ScannedRange
from confirmations.services import capturing
from jobs.models import Intervention
from tests.anvil import CHAIN_ID
from tests.rpc_faults import Capped, OmitsLogs, malformed, wrong_chain
from tests.rpc_lag import Lag
from tests.rpc_proxy import RpcProxy
from tests.rpc_refusals import PROVIDERS
from tests.world import World, forget


def in_a_block(world: World, number: int = 1) -> list[Any]:
    ids = world.submit(number)
    world.ask()
    world.send()
    world.node.mine()
    return list(ids)


def test_a_node_that_lags_delays_and_takes_nothing_back(world: World, proxy: RpcProxy) -> None:
    ids = in_a_block(world)
    world.node.mine(5)
    world.read()
    assert world.statuses(ids) == ["confirmed"]
    world.node.mine(30)
    world.read()

    with proxy.having(Lag(20)):
        world.node.mine(3)
        world.read_quietly()

    assert world.statuses(ids) == ["confirmed"]
    assert not Log.objects.filter(orphaned=True).exists()
    world.read()
    assert capturing.complete_to(world.contract) == world.node.head()


def test_logs_that_a_node_leaves_out_are_found_when_blocks_are_read_once_more(world: World, proxy: RpcProxy) -> None:
    ids = in_a_block(world, 2)
    world.node.mine(5)
    with proxy.having(OmitsLogs(lambda log: log["logIndex"] == "0x0")):
        world.read()
    assert sorted(world.statuses(ids)) == ["confirmed", "confirming"]

    world.call("confirmation.replay")
    world.run("confirmation.replay")
    world.read()

    assert world.statuses(ids) == ["confirmed"] * 2
    assert world.contract.sweep_misses == 1
    assert Log.objects.filter(source="sweep").count() == 1
    assert Intervention.objects.get(resolved_at=None).reason == "logs_were_missed"
    world.call("confirmation.replay")
    world.run("confirmation.replay")
    assert world.contract.sweep_misses == 1


@pytest.mark.parametrize("provider", sorted(PROVIDERS))
def test_whatever_a_provider_lets_one_read_all_of_it_is_read(world: World, proxy: RpcProxy, provider: str) -> None:
    found = PROVIDERS[provider]
    limits = replace(found, blocks=found.blocks and 5, logs=found.logs and 3, only_longer=min(found.only_longer, 1))
    ids = []
    for _ in range(4):
        ids += in_a_block(world, 2)
        world.node.mine(4)

    with proxy.having(Capped(limits)):
        world.read()

    assert set(world.statuses(ids)) == {"confirmed"}
    assert Log.objects.count() == 8
    line = ScannedRange.objects.get()
    assert (line.first, line.last) == (world.contract.deploy_block, world.node.head())


def test_nonsense_moves_nothing(world: World, proxy: RpcProxy) -> None:
    ids = in_a_block(world)
    world.node.mine(3)
    before = world.contract.next_block
    with proxy.having(malformed()), pytest.raises(NodeNonsense):
        world.read()

    assert world.contract.next_block == before
    forget()
    world.reopen()
    world.read()
    assert world.statuses(ids) == ["confirmed"]


def test_a_node_of_another_chain_is_not_believed(world: World, proxy: RpcProxy) -> None:
    ids = in_a_block(world)
    world.node.mine(3)
    forget()  # of which chain a node is, is asked once
    with proxy.having(wrong_chain(1)):
        with pytest.raises(WrongChain) as refused:
            world.read()
        assert refused.value.code == "wrong_chain"
        world.watch_quietly()
    assert world.statuses(ids) == ["confirming"]
    assert not Intervention.objects.exists()

    forget()
    world.reopen()
    world.read()
    assert world.statuses(ids) == ["confirmed"]


def test_nothing_is_sent_where_there_is_no_contract(world: World) -> None:
    Contract.objects.update(address=b"\1" * 20)
    ids = world.submit()
    world.ask()
    world.send_quietly()

    assert world.statuses(ids) == ["confirming"]
    assert not Log.objects.exists()
    assert (world.sender().error or {}).get("code") == "no_contract"


def test_one_reader_at_a_time_and_who_was_too_slow_writes_nothing(world: World) -> None:
    ids = in_a_block(world)
    world.node.mine(3)
    contract = world.contract
    slow, fast = uuid4(), uuid4()
    first = capturing.take(contract.id, slow)
    assert first is not None
    assert capturing.take(contract.id, fast) is None
    late = Reader(contract.id, first)
    Contract.objects.update(lease_until="2020-01-01T00:00:00Z")

    second = capturing.take(contract.id, fast)

    assert second == first + 1
    with pytest.raises(LeaseLost):
        late.step()
    assert (world.contract.next_block, Log.objects.count()) == (contract.next_block, 0)
    Reader(contract.id, second).step()
    assert world.statuses(ids) == ["confirmed"]


def test_a_node_that_was_away_is_read_on_from_where_it_was(world: World, proxy: RpcProxy) -> None:
    ids = in_a_block(world)
    proxy.stop()
    with pytest.raises(NodeError):
        world.read()
    proxy.start()
    forget()
    world.reopen()
    world.node.mine(3)

    world.read()

    assert world.statuses(ids) == ["confirmed"]


def test_what_a_socket_tells_twice_or_takes_back_is_one_row_and_decides_nothing(world: World) -> None:
    ids = in_a_block(world)
    head = world.node.head()
    told, _ = capture.ours(
        world_chain().page(bytes(world.contract.address), head, head, [head]).logs,
        selectors.signers_of(world.contract.network_id),
    )
    for _ in range(2):
        capturing.pushed(world.contract.id, told)
    assert Log.objects.get().source == "socket"
    assert world.statuses(ids) == ["confirming"]
    capturing.pushed(world.contract.id, [], told)
    assert Log.objects.get().orphaned

    world.node.mine(3)
    world.read()

    assert not Log.objects.get().orphaned  # the range that was read has it
    assert world.statuses(ids) == ["confirmed"]


def test_a_block_that_a_socket_told_of_and_that_is_gone_leaves_an_orphan(world: World) -> None:
    in_a_block(world)
    head = world.node.head()
    told, _ = capture.ours(
        world_chain().page(bytes(world.contract.address), head, head, [head]).logs,
        selectors.signers_of(world.contract.network_id),
    )
    capturing.pushed(world.contract.id, [replace(one, block_hash=b"\1" * 32) for one in told])
    world.node.mine(3)
    world.read()

    assert sorted(Log.objects.values_list("orphaned", flat=True)) == [False, True]
    assert Log.objects.get(orphaned=True).block_hash == b"\1" * 32


def world_chain() -> Chain:
    return chain(CHAIN_ID)
