"""Blocks that go again: what stood in them counts no more, and comes back; nothing downstream hears too early."""

import random

import pytest

from confirmations.models import Log, Network, ScannedRange, Transaction
from confirmations.services import capturing, sending
from confirmations.states import Step
from jobs.models import Intervention
from tests.integration.jobs.conftest import events
from tests.world import World


def send(world: World, number: int = 1) -> list[object]:
    ids = world.submit(number)
    world.ask()
    world.send()
    return list(ids)


def send_again(world: World) -> None:
    """Let the bytes of what is in no block leave once more."""
    world.pass_time(sending.AGAIN_SECONDS + 1)
    world.watch()
    world.send()


def test_what_goes_before_it_is_final_leaves_once_more(world: World) -> None:
    (job,) = world.submit()
    world.ask()
    world.send()
    world.node.mine()
    world.read()
    assert Transaction.objects.get().step == Step.INCLUDED

    world.node.reorganise(1)
    world.node.mine()
    world.read()

    assert world.statuses([job]) == ["confirming"]
    assert Transaction.objects.get().step == Step.SENT
    assert len(events("tx.retracted")) == 1
    assert Log.objects.get().orphaned
    assert not events("job.confirmed")
    send_again(world)
    world.node.mine(3)
    world.read()
    assert world.statuses([job]) == ["confirmed"]
    assert len(world.node.logs(bytes(world.contract.address))) == 1


def test_what_goes_after_it_was_final_is_told_with_an_alarm(world: World) -> None:
    world.node.mine(5)
    (job,) = world.submit()
    world.settle()
    assert world.statuses([job]) == ["confirmed"]

    world.node.reorganise(5)
    world.node.mine()
    world.read()

    assert world.statuses([job]) == ["confirming"]
    assert world.standings([job]) == ["sent"]
    assert len(events("job.retracted")) == 1
    assert Intervention.objects.get(resolved_at=None).reason == "reorganised_beyond_finality"
    send_again(world)
    world.node.mine(3)
    world.read()
    assert world.statuses([job]) == ["confirmed"]


def test_the_ledger_says_only_what_was_read_of_this_chain(world: World) -> None:
    Network.objects.update(depth=6)
    world.node.mine(8)
    world.read()
    assert capturing.complete_to(world.contract) == world.node.head()

    world.node.reorganise(4)
    ancestor = world.node.head() - 4
    world.node.mine()
    world._reader.step() if world._reader else None

    assert capturing.complete_to(world.contract) == ancestor
    world.read()
    assert capturing.complete_to(world.contract) == world.node.head()
    assert ScannedRange.objects.count() == 1


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))])
def test_whatever_the_chain_does_what_counts_is_what_stands_on_it(world: World, seed: int) -> None:
    rounds = 200
    dice = random.Random(seed)
    Network.objects.update(depth=14)  # no reorganisation is deeper
    ids = []
    for number in range(rounds):
        match dice.randrange(5):
            case 0 | 1:
                ids += world.submit(dice.randint(1, 3))
                world.ask()
                world.send()
            case 2:
                world.node.mine(dice.randint(1, 4))
            case 3 if world.node.head() - world.contract.deploy_block > 13:
                world.node.reorganise(dice.randint(1, 12))
                world.node.mine()
            case _:
                send_again(world)
        if number % dice.randint(1, 5) == 0:  # a reader that lags
            world.read()
    for _ in range(40):
        world.read()
        world.ask()
        send_again(world)
        world.node.mine(5)
        if set(world.statuses(ids)) == {"confirmed"}:
            break
    world.node.mine(16)
    world.read()

    assert set(world.statuses(ids)) == {"confirmed"}
    on_chain = {(log["blockHash"], log["logIndex"]) for log in world.node.logs(bytes(world.contract.address))}
    live = {("0x" + bytes(log.block_hash).hex(), hex(log.log_index)) for log in Log.objects.filter(orphaned=False)}
    assert live == on_chain
    subjects = [log["topics"][1] for log in world.node.logs(bytes(world.contract.address))]
    assert len(subjects) == len(set(subjects)) == len(ids)
    nonces = sorted(Transaction.objects.values_list("nonce", flat=True))
    assert nonces == list(range(nonces[0], nonces[0] + len(nonces)))
