"""What a node says of a transaction, or does not say: the same bytes again, others at the same nonce, or a person."""

from typing import Any

import pytest

from confirmations.models import Attempt, Network, Transaction
from confirmations.services import sending
from confirmations.states import Duty, Step
from jobs.models import Intervention, Job
from tests.integration.jobs.conftest import events
from tests.rpc_faults import Refuses, ReplyLost, too_many
from tests.rpc_proxy import RpcProxy
from tests.rpc_refusals import SENDING, Error
from tests.world import World, forget

SEND = "eth_sendRawTransaction"


def submitted(world: World, number: int = 1) -> list[Any]:
    ids = world.submit(number)
    world.ask()
    return list(ids)


def settle(world: World) -> None:
    """Let time pass and blocks come until all that can be final is."""
    for _ in range(4):
        world.pass_time(sending.AGAIN_SECONDS + 1)
        world.watch()
        world.send_quietly()
        world.node.mine(3)
        world.read()


def confirmed_once(world: World, ids: list[Any]) -> None:
    assert set(world.statuses(ids)) == {"confirmed"}
    told = [log["topics"][1] for log in world.node.logs(bytes(world.contract.address))]
    assert len(told) == len(set(told)) == len(ids)


def test_a_reply_that_is_lost_makes_no_second_transaction(world: World, proxy: RpcProxy) -> None:
    ids = submitted(world, 3)
    lost = proxy.on(ReplyLost(methods=SEND, times=1))

    world.send_quietly()

    assert lost.hits == 1
    before = list(Attempt.objects.order_by("id").values_list("raw", flat=True))
    settle(world)
    confirmed_once(world, ids)
    assert list(Attempt.objects.order_by("id").values_list("raw", flat=True)) == before
    assert Transaction.objects.count() == 3


@pytest.mark.parametrize("client", sorted(SENDING["already known"]))
def test_a_node_that_knows_it_has_taken_it(world: World, proxy: RpcProxy, client: str) -> None:
    ids = submitted(world)
    with proxy.having(Refuses(SENDING["already known"][client], methods=SEND, carried_out=True)):
        world.send()

    assert Transaction.objects.get().step == Step.SENT
    settle(world)
    confirmed_once(world, ids)


def test_a_nonce_that_is_too_low_because_we_used_it_is_fine(world: World, proxy: RpcProxy) -> None:
    ids = submitted(world)
    with proxy.having(ReplyLost(methods=SEND)):
        world.send_quietly()
    world.node.mine()

    settle(world)

    assert Attempt.objects.get().reply in {"nonce_too_low", "accepted"}
    confirmed_once(world, ids)


def test_too_low_an_offer_is_raised_by_an_eighth_at_the_same_nonce(world: World, proxy: RpcProxy) -> None:
    ids = submitted(world)
    with proxy.having(Refuses(SENDING["replacement underpriced"]["geth"], methods=SEND, times=1)):
        world.send()

    first, second = Attempt.objects.order_by("number")
    assert (first.state, second.state) == ("refused", "sent")
    assert second.fee * 8 >= first.fee * 9
    assert second.tip * 8 >= first.tip * 9
    assert Transaction.objects.count() == 1
    settle(world)
    confirmed_once(world, ids)


def test_a_node_that_refuses_every_offer_is_a_matter_for_a_person(world: World, proxy: RpcProxy) -> None:
    (job,) = submitted(world)
    with proxy.having(Refuses(SENDING["replacement underpriced"]["geth"], methods=SEND)):
        world.send()

    row = Transaction.objects.get()
    assert (row.step, row.reason) == (Step.STUCK, "refused_too_often")
    asked = Intervention.objects.get(resolved_at=None)
    assert (asked.subject_type, asked.reason) == ("transaction", "refused_too_often")
    assert asked.evidence["said"] == "replacement transaction underpriced"
    assert [event["reason"] for event in events("tx.stuck")] == ["refused_too_often"]
    assert world.statuses([job]) == ["confirming"]


@pytest.mark.parametrize(
    "error", [SENDING["txpool full"]["geth"], Error(-32000, "the moon is full")], ids=["full", "unknown"]
)
def test_a_node_that_is_full_gets_the_same_bytes_later_and_nothing_new(
    world: World, proxy: RpcProxy, error: Error
) -> None:
    Network.objects.update(in_flight=2)
    ids = submitted(world, 4)
    with proxy.having(Refuses(error, methods=SEND)):
        world.send_quietly()

    assert Transaction.objects.count() == 2
    assert set(Transaction.objects.values_list("step", flat=True)) == {Step.SIGNED}
    raws = set(Attempt.objects.values_list("raw", flat=True))
    settle(world)
    assert raws <= set(Attempt.objects.values_list("raw", flat=True))
    confirmed_once(world, ids)


def test_a_node_that_wants_to_be_left_alone_is(world: World, proxy: RpcProxy) -> None:
    ids = submitted(world)
    with proxy.having(too_many("7")):
        world.send_quietly()

    job = Job.objects.get(kind="confirmation.send", status="queued")
    assert (job.error or {}).get("code") in {"node_refused", "node_busy"}
    forget()  # as if those seven seconds were over
    settle(world)
    confirmed_once(world, ids)


def test_a_signer_without_funds_rests_and_goes_on_by_itself(world: World, proxy: RpcProxy) -> None:
    ids = submitted(world)
    address = "0x" + bytes(world.signer.address).hex()
    with proxy.having(Refuses(SENDING["insufficient funds"]["geth"], methods=SEND)):
        world.send()
    assert (world.signer.duty, world.signer.reason) == (Duty.NO_FUNDS, "insufficient_funds")
    assert [event["duty"] for event in events("signer.paused")] == ["no_funds"]
    world.node.call("anvil_setBalance", address, "0x1")
    world.watch()
    assert world.signer.duty == Duty.NO_FUNDS

    world.node.call("anvil_setBalance", address, hex(10**20))
    settle(world)

    assert world.signer.duty == Duty.ACTIVE
    assert len(events("signer.resumed")) == 1
    confirmed_once(world, ids)


def test_what_no_node_ever_takes_is_a_matter_for_a_person(world: World, proxy: RpcProxy) -> None:
    (job,) = submitted(world)
    with proxy.having(Refuses(Error(-32000, "transaction type not supported"), methods=SEND)):
        world.send()

    assert Transaction.objects.get().reason == "refused_fatal"
    asked = Intervention.objects.get(resolved_at=None)
    assert asked.evidence["said"] == "transaction type not supported"
    assert world.statuses([job]) == ["confirming"]


def test_a_fee_spike_leaves_a_transaction_behind_and_a_higher_offer_follows_it(world: World) -> None:
    ids = submitted(world)
    world.send()
    world.node.call("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
    world.node.mine(2)
    assert Transaction.objects.get().step == Step.SENT

    world.pass_time(61)
    world.watch()
    world.send()

    first, second = Attempt.objects.order_by("number")
    assert second.fee > 40 * 10**9 > first.fee
    settle(world)
    confirmed_once(world, ids)
    assert Attempt.objects.get(state="mined").number == 2


def test_the_first_attempt_counts_too_if_it_is_the_one_that_is_mined(world: World, proxy: RpcProxy) -> None:
    ids = submitted(world)
    world.send()
    first = Attempt.objects.get()
    raw = "0x" + bytes(first.raw).hex()
    world.node.call("anvil_dropAllTransactions")
    world.node.call("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
    world.node.mine()
    world.pass_time(61)
    with proxy.having(Refuses(SENDING["txpool full"]["geth"], methods=SEND)):  # the second never arrives
        world.watch()
        world.send_quietly()
    assert Attempt.objects.count() == 2
    world.node.mine(80)  # fees fall by an eighth a block
    world.node.call(SEND, raw)
    world.node.mine(3)
    world.read()

    assert Attempt.objects.get(state="mined").number == 1
    confirmed_once(world, ids)


def test_beyond_the_cap_nothing_is_signed_until_fees_fall(world: World) -> None:
    Network.objects.update(fee_cap=10**9)
    world.node.call("anvil_setNextBlockBaseFeePerGas", hex(5 * 10**9))
    world.node.mine()
    ids = submitted(world)

    world.send_quietly()

    assert set(Transaction.objects.values_list("step", flat=True)) <= {Step.RESERVED}
    assert not Attempt.objects.exists()
    world.node.mine(60)
    settle(world)
    confirmed_once(world, ids)
