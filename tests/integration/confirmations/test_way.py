"""The way of a result to the chain and back, on a real node: sent, read, final; in the three modes."""

from confirmations import merkle
from confirmations.models import Anchor, Attempt, Confirmation, Log, Signer, Transaction
from confirmations.results import job_bytes
from confirmations.states import Duty, Step
from jobs.models import Intervention, Job
from tests.integration.jobs.conftest import events
from tests.world import World


def test_a_job_is_confirmed_when_its_event_is_final(world: World) -> None:
    (job,) = world.submit()
    assert world.statuses([job]) == ["confirming"]
    world.ask()
    world.send()
    assert [event["jobs"] for event in events("tx.submitted")] == [1]
    assert Transaction.objects.get().step == Step.SENT
    world.node.mine()
    world.read()
    assert (Transaction.objects.get().step, world.statuses([job])) == (Step.INCLUDED, ["confirming"])
    assert [event["block"] for event in events("tx.included")] == [world.node.head()]

    world.node.mine(2)
    world.read()

    assert (world.statuses([job]), world.standings([job])) == (["confirmed"], ["confirmed"])
    assert Transaction.objects.get().step == Step.FINAL
    (event,) = events("job.confirmed")
    tx = Transaction.objects.get()
    assert (event["mode"], event["network"], event["block"]) == ("single", 31337, tx.block_number)
    (log,) = world.node.logs(bytes(world.contract.address))
    assert bytes.fromhex(log["topics"][1][2:]) == job_bytes(job)
    assert bytes.fromhex(log["data"][2:]) == bytes(Confirmation.objects.get().result_hash)
    assert log["transactionHash"] == event["transaction"]


def test_a_batch_is_one_transaction_with_an_event_for_each(world: World) -> None:
    ids = world.submit(5, confirm="batch")
    world.contract.network.__class__.objects.update(batch_seconds=0)

    world.settle()

    assert world.statuses(ids) == ["confirmed"] * 5
    assert Transaction.objects.get().count == 5
    assert Log.objects.filter(settled=True).count() == 5


def test_an_anchor_confirms_all_leaves_of_its_root(world: World) -> None:
    ids = world.submit(5, confirm="anchor")
    world.contract.network.__class__.objects.update(anchor_seconds=0)

    world.settle()

    assert world.statuses(ids) == ["confirmed"] * 5
    anchor = Anchor.objects.get()
    tree = merkle.Tree(anchor.leaves, bytes(anchor.nodes))
    for confirmation in Confirmation.objects.all():
        start = merkle.leaf(job_bytes(confirmation.id), bytes(confirmation.result_hash))
        assert merkle.verify(bytes(anchor.root), start, merkle.proof(tree, confirmation.position or 0))


def test_many_jobs_have_their_nonces_without_a_hole(world: World) -> None:
    first = world.signer.next_nonce
    ids = world.submit(20)
    world.ask()
    world.send()
    assert Transaction.objects.count() == 16  # as many as one signer may have in flight
    world.settle()
    world.settle()

    assert world.statuses(ids) == ["confirmed"] * 20
    assert sorted(Transaction.objects.values_list("nonce", flat=True)) == list(range(first, first + 20))
    assert Attempt.objects.count() == 20
    assert world.node.nonce(bytes(world.signer.address)) == first + 20


def test_a_lane_goes_on_when_its_first_is_final(world: World) -> None:
    ids = world.submit(2, lane="a")
    assert world.statuses(ids) == ["confirming", "queued"]

    world.settle()

    assert world.statuses(ids) == ["confirmed", "queued"]
    assert Job.objects.get(id=ids[1]).gate == 0


def test_a_signer_whose_nonces_were_used_elsewhere_signs_nothing(world: World) -> None:
    Signer.objects.update(next_nonce=0)  # as in tables that were restored from a backup

    (job,) = world.submit()
    world.ask()
    world.send()

    assert (world.signer.duty, Transaction.objects.count()) == (Duty.HALTED, 0)
    assert Intervention.objects.get(resolved_at=None).reason == "foreign_nonce"
    assert world.statuses([job]) == ["confirming"]
    assert [event["duty"] for event in events("signer.paused")] == ["halted"]
