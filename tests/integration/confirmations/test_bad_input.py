"""What is wrong with a node, a contract or a key: a code says what, the job waits, and goes on when it was put right."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from confirmations import signing
from confirmations.models import Attempt, Network, Signer, Transaction
from confirmations.states import Duty, Step
from jobs.models import Intervention, Job
from tests.integration.confirmations.test_answers import SEND, confirmed_once, settle, submitted
from tests.integration.jobs.conftest import events
from tests.rpc_faults import Fault, broken, malformed, no_result, says, wrong_chain
from tests.rpc_proxy import RpcProxy
from tests.world import World, forget

# ---------------------------------------------------------------------------------------------- nodes
NODES: dict[str, tuple[Callable[[], Fault], str]] = {
    "of another chain": (lambda: wrong_chain(1), "wrong_chain"),
    "a chain without a number": (lambda: says("mainnet", methods="eth_chainId"), "node_nonsense"),
    "a nonce that is no number": (lambda: says("many", methods="eth_getTransactionCount"), "node_nonsense"),
    "fees in no form": (lambda: says({"baseFeePerGas": "high"}, methods="eth_feeHistory"), "node_nonsense"),
    "code that is none": (lambda: says(17, methods="eth_getCode"), "node_nonsense"),
    "an estimate that is none": (lambda: says([], methods="eth_estimateGas"), "node_nonsense"),
    "JSON that breaks off, and it was taken": (lambda: malformed(methods=SEND), "node_nonsense"),
    "no hash, and it was taken": (lambda: says("0x12", methods=SEND), "node_nonsense"),
    "no result, and it was taken": (lambda: no_result(methods=SEND), "node_nonsense"),
    "a page, and it was taken": (lambda: broken(methods=SEND, carried_out=True), "node_unreachable"),
}
"""What a node says, and the code of the job that sends."""


def waits_for(world: World, code: str, ids: list[UUID]) -> None:
    sender = Job.objects.get(kind="confirmation.send", status="queued")
    assert (sender.error or {})["code"] == code
    assert sender.attempt <= 1, "waiting costs no attempt"
    assert set(world.statuses(ids)) == {"confirming"}


@pytest.mark.parametrize("what", NODES)
def test_a_node_that_talks_nonsense_holds_jobs_up_and_nothing_more(world: World, proxy: RpcProxy, what: str) -> None:
    fault, code = NODES[what]
    ids = submitted(world, 2)
    with proxy.having(fault()):
        world.send_quietly()
        waits_for(world, code, ids)
        world.pass_time(31)
        world.watch_quietly()
        world.send_quietly()
    assert not Intervention.objects.exists()

    forget()  # of which chain a node is, is asked again when it has rested
    settle(world)
    confirmed_once(world, ids)
    assert len(events("job.confirmed")) == len(ids)
    assert not Attempt.objects.filter(number__gt=1).exists()


# ---------------------------------------------------------------------------------------------- contracts
def test_nothing_is_signed_for_another_contract_at_the_address(world: World) -> None:
    address = str(world.contract)
    ours = world.node.call("eth_getCode", address, "latest")
    world.node.call("anvil_setCode", address, "0x6000")
    ids = submitted(world, 2)
    world.send_quietly()

    waits_for(world, "no_contract", ids)
    assert "another contract" in (world.sender().error or {})["message"]
    assert not Transaction.objects.exists()

    world.node.call("anvil_setCode", address, ours)
    settle(world)
    confirmed_once(world, ids)


# ---------------------------------------------------------------------------------------------- the signer
def test_a_signer_that_a_real_node_calls_poor_rests_and_its_bytes_leave_when_it_is_paid(world: World) -> None:
    address = "0x" + bytes(world.signer.address).hex()
    world.node.call("anvil_setBalance", address, "0x0")
    ids = submitted(world, 2)
    world.send()

    assert (world.signer.duty, world.signer.reason) == (Duty.NO_FUNDS, "insufficient_funds")
    assert set(world.statuses(ids)) == {"confirming"}
    before = set(Attempt.objects.values_list("hash", flat=True))
    world.node.call("anvil_setBalance", address, hex(10**20))
    settle(world)

    confirmed_once(world, ids)
    assert set(Attempt.objects.values_list("hash", flat=True)) == before


def test_a_signer_whose_key_is_that_of_another_address_broadcasts_nothing(world: World) -> None:
    own = bytes(world.signer.address)
    Signer.objects.update(address=b"\7" * 20, next_nonce=0)
    ids = submitted(world, 1)
    world.send_quietly()

    waits_for(world, "key_unreadable", ids)
    assert "is not that of" in (world.sender().error or {})["message"]
    assert not Attempt.objects.exists()
    assert world.node.waiting()["pending"] == {}

    Signer.objects.update(address=own)
    Transaction.objects.update(nonce=world.node.nonce(own))
    Signer.objects.update(next_nonce=world.node.nonce(own) + 1)
    forget()
    settle(world)
    confirmed_once(world, ids)


def test_a_transaction_of_another_chain_than_its_bounds_is_never_signed(world: World) -> None:
    bounds = signing.bounds_of(world.signer.network_id)
    path = world.keystore / signing.BOUNDS
    told = path.read_text()
    path.write_text(told.replace(f'"{bounds.chain_id}"', '"1"'))
    ids = submitted(world, 1)
    world.send_quietly()

    waits_for(world, "key_refuses", ids)
    assert not Attempt.objects.exists()
    path.write_text(told)
    settle(world)
    confirmed_once(world, ids)


# ---------------------------------------------------------------------------------------------- and afterwards
def test_what_worked_before_a_reorganisation_and_is_refused_after_it_is_told_as_refused(world: World) -> None:
    Network.objects.update(bump_seconds=10**6)
    ids = submitted(world, 1)
    world.send()
    world.node.mine()
    world.read()
    assert Transaction.objects.get().step == Step.INCLUDED
    world.node.reorganise(1)
    world.node.call("anvil_setCode", str(world.contract), "0x5f5ffd")  # it refuses everything from now on
    world.node.mine()
    world.read()
    assert len(events("tx.retracted")) == 1

    world.pass_time(31)
    world.watch()
    world.send_with_gas(100_000)
    world.node.mine(4)
    world.read()
    world.watch()

    assert Transaction.objects.get().step == Step.REVERTED
    asked: Any = Intervention.objects.get(resolved_at=None)
    assert (asked.subject_type, asked.reason) == ("confirmation", "reverted")
    assert (world.statuses(ids), world.standings(ids)) == (["confirming"], ["blocked"])
    assert not events("job.confirmed")
