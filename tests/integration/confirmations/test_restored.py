"""Tables that are older than the chain: what stands there already is not sent once more."""

import json
from typing import Any
from uuid import UUID

from confirmations.models import Confirmation, Log, Transaction
from confirmations.services import asking
from jobs.models import Intervention, Job
from tests.contracts.deliveries import PROJECT
from tests.world import World


def _done(job: UUID, number: int, output: Any) -> asking._Done:
    return asking._Done(
        PROJECT, job, "order.book", "single", None, payload=json.dumps({"number": number}), output=json.dumps(output)
    )


def test_a_log_that_nobody_asked_for_confirms_who_asks_later(world: World) -> None:
    ids = world.submit(2)
    world.settle()
    assert world.statuses(ids) == ["confirmed"] * 2
    sent = world.node.sent()
    Confirmation.objects.all().delete()
    Log.objects.all().delete()
    world.rewind()
    world.read()
    assert set(Log.objects.values_list("settled", flat=True)) == {True}  # final, and of no job that is known

    Job.objects.filter(id__in=ids).update(status="confirming", stage="confirm")
    asking.confirm([_done(job, number, {"booked": number}) for number, job in enumerate(sorted(ids))])
    world.node.mine(1)
    world.read()

    assert world.statuses(ids) == ["confirmed"] * 2
    world.send()
    assert world.node.sent() == sent
    assert Transaction.objects.count() == 2


def test_a_result_that_differs_from_what_stands_on_chain_is_a_question(world: World) -> None:
    (job,) = world.submit()
    world.settle()
    Confirmation.objects.all().delete()
    Log.objects.update(settled=True)

    Job.objects.filter(id=job).update(status="confirming", stage="confirm")
    asking.confirm([_done(job, 0, {"booked": "another"})])
    world.node.mine(1)
    world.read()

    assert world.statuses([job]) == ["confirming"]
    assert Intervention.objects.get(resolved_at=None).reason == "other_hash"
