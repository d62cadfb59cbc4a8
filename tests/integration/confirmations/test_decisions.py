"""What only a person decides: each action does what its preview says, and the jobs go on."""

import json
from typing import Any

import pytest

from confirmations import registry, signing
from confirmations.encoding import Unsigned, signed
from confirmations.models import Attempt, Confirmation, Network, Transaction
from confirmations.states import Duty, Step
from jobs import interventions
from jobs.errors import InvalidOption
from jobs.extensions import Decision
from jobs.models import Intervention
from tests.integration.confirmations.test_answers import SEND, confirmed_once, settle, submitted
from tests.integration.jobs.conftest import events
from tests.rpc_faults import Refuses
from tests.rpc_proxy import RpcProxy
from tests.rpc_refusals import SENDING, Error
from tests.world import World

FATAL = Error(-32000, "transaction type not supported")


def asked() -> Intervention:
    return Intervention.objects.get(resolved_at=None)


def decide(action: str, payload: dict[str, Any] | None = None) -> dict[str, Any]:
    """Decide what is asked; returns what the preview said."""
    decision = Decision(action, "user:ada", "because", payload=payload)
    foreseen = dict(interventions.preview(asked(), decision))
    interventions.resolve(asked(), decision)
    return foreseen


def stuck(world: World, proxy: RpcProxy) -> list[Any]:
    ids = submitted(world)
    with proxy.having(Refuses(FATAL, methods=SEND)):
        world.send()
    assert Transaction.objects.get().step == Step.STUCK
    return ids


def sent_by_the_key(world: World, data: bytes, nonce: int | None = None) -> None:
    """Somebody else who has the signer's key sends something."""
    signer = world.signer
    key = signing.key_of(signer)
    account = world.node.nonce(bytes(signer.address)) if nonce is None else nonce
    call = Unsigned(
        chain_id=31337, nonce=account, tip=10**9, fee=10**11, gas=100_000, to=bytes(world.contract.address), data=data
    )
    world.node.call(SEND, "0x" + signed(call, key.sign(call.digest)).raw.hex())
    world.node.mine()


def test_what_is_stuck_is_tried_once_more(world: World, proxy: RpcProxy) -> None:
    ids = stuck(world, proxy)

    foreseen = decide("retry")

    row = Transaction.objects.get()
    assert foreseen["transaction"] == {"id": row.id, "nonce": row.nonce, "step": row.step}
    settle(world)
    confirmed_once(world, ids)


def test_a_person_offers_more(world: World, proxy: RpcProxy) -> None:
    ids = stuck(world, proxy)
    low = Decision("bump", "user:ada", "because", payload={"fee_gwei": 0, "tip_gwei": 0})
    with pytest.raises(InvalidOption) as refused:
        interventions.preview(asked(), low)
    assert refused.value.code == "fees_too_low"
    with pytest.raises(InvalidOption) as refused:
        interventions.resolve(asked(), Decision("bump", "user:ada", "because", payload={"fee_gwei": "much"}))
    assert refused.value.code == "invalid_fees"

    foreseen = decide("bump", {"fee_gwei": 30, "tip_gwei": 2})

    assert foreseen["transaction"]["offer"] == Transaction.objects.get().offer == {"tip": 2 * 10**9, "fee": 30 * 10**9}
    settle(world)
    assert Attempt.objects.order_by("number").values_list("fee", flat=True).last() == 30 * 10**9
    confirmed_once(world, ids)


def test_a_nonce_is_used_up_and_its_jobs_go_by_another(world: World, proxy: RpcProxy) -> None:
    ids = stuck(world, proxy)

    foreseen = decide("free")

    assert (foreseen["transaction"]["frees"], foreseen["jobs_that_wait_again"]) == (True, 1)
    settle(world)
    first, second = Transaction.objects.order_by("nonce")
    assert (first.step, second.step) == (Step.FREED, Step.FINAL)
    assert len(events("tx.freed")) == 1
    confirmed_once(world, ids)


def test_a_key_that_is_used_elsewhere_stops_its_signer_until_somebody_has_looked(world: World) -> None:
    sent_by_the_key(world, registry.anchor(b"\1" * 32, 1))
    ids = submitted(world)
    world.watch()
    assert (world.signer.duty, asked().reason) == (Duty.HALTED, "foreign_nonce")
    world.send()
    assert not Transaction.objects.exists()

    foreseen = decide("resume")

    assert foreseen["signer"]["next_nonce"] == world.signer.next_nonce == world.node.nonce(bytes(world.signer.address))
    settle(world)
    assert set(world.statuses(ids)) == {"confirmed"}


def test_a_nonce_of_ours_that_somebody_else_used_costs_no_job(world: World, proxy: RpcProxy) -> None:
    ids = submitted(world)
    with proxy.having(Refuses(SENDING["txpool full"]["geth"], methods=SEND)):
        world.send_quietly()
    sent_by_the_key(world, registry.anchor(b"\1" * 32, 1))
    world.watch()
    assert world.signer.duty == Duty.ACTIVE  # one that is not final proves nothing
    world.node.mine(4)
    world.read()
    world.watch()

    assert (Transaction.objects.get().step, world.signer.duty) == (Step.FOREIGN, Duty.HALTED)
    assert world.standings(ids) == ["waiting"]
    decide("resume")
    settle(world)
    assert set(world.statuses(ids)) == {"confirmed"}


def test_another_result_for_the_same_job_is_a_matter_for_a_person(world: World) -> None:
    (job,) = submitted(world)
    sent_by_the_key(world, registry.confirm(job, b"\7" * 32))
    world.node.mine(3)
    world.read()

    found = asked()
    assert (found.subject_type, found.subject_id, found.reason) == ("confirmation", str(job), "other_hash")
    assert found.evidence["on_chain"] == "0x" + 64 // 2 * "07"
    assert world.statuses([job]) == ["confirming"]


def test_events_of_strangers_are_counted_and_say_nothing(world: World) -> None:
    (job,) = submitted(world)
    result = bytes(Confirmation.objects.get().result_hash)
    (stranger,) = world.node.call("eth_accounts")
    call = {"from": stranger, "to": str(world.contract), "data": "0x" + registry.confirm(job, result).hex()}
    world.node.call("eth_sendTransaction", call)
    world.node.mine(4)
    world.read()

    assert (world.contract.strangers, world.statuses([job])) == (1, ["confirming"])


def test_a_confirmation_by_somebody_else_counts_when_it_is_found_on_chain(world: World) -> None:
    (job,) = submitted(world)
    result = bytes(Confirmation.objects.get().result_hash)
    (stranger,) = world.node.call("eth_accounts")
    call = {"from": stranger, "to": str(world.contract), "data": "0x" + registry.confirm(job, result).hex()}
    tx_hash = world.node.call("eth_sendTransaction", call)
    sent_by_the_key(world, registry.confirm(job, b"\7" * 32))
    world.node.mine(3)
    world.read()
    assert asked().reason == "other_hash"

    foreseen = decide("external", {"transaction": tx_hash})

    assert foreseen["verified_by"]["transaction"] == tx_hash
    world.run("confirmation.verify")
    assert world.statuses([job]) == ["confirmed"]
    assert "0x" + bytes(Confirmation.objects.get().tx_hash or b"").hex() == tx_hash


def test_a_revert_that_is_final_is_told_and_may_be_skipped(world: World) -> None:
    Network.objects.update(bump_seconds=10**6)
    ids = submitted(world)
    world.node.call("anvil_setCode", str(world.contract), "0x5f5ffd")  # it refuses everything from now on
    world.send_with_gas(100_000)
    world.node.mine()
    world.watch()
    assert Transaction.objects.get().step == Step.SENT  # it may still be taken back
    world.node.mine(3)
    world.read()
    world.watch()

    assert (Transaction.objects.get().step, asked().reason) == (Step.REVERTED, "reverted")
    assert world.standings(ids) == ["blocked"]
    foreseen = decide("skip")
    assert foreseen["job"]["status"] == "processed"
    assert (world.statuses(ids), world.standings(ids)) == (["processed"], ["skipped"])
    assert json.loads(json.dumps(events("job.unconfirmed")[0], default=str))["reason"] == "because"
