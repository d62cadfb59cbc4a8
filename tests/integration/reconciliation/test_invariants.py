"""What stands between two states is found; what can be put right is put right, once, and a healthy platform has none."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from jobs import extensions, interventions, lanes, registry, services
from jobs.extensions import Decision
from jobs.models import Intervention, Job
from reconciliation import invariants
from reconciliation.models import Cause, DeadLetter, Finding
from reconciliation.services import plans
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.reconciliation.conftest import Shop, payments, shop

__all__ = ["payments", "shop"]

OURS = (
    "job.without_doorbell", "job.of_dead_worker", "lane.stuck", "job.blocked_unasked", "confirmation.missing",
    "confirmation.not_told", "dead_letter.uncounted", "dead_letter.counted_in_vain", "redrive.forgotten",
)  # fmt: skip


def execute(statement: str, *params: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)


def left() -> dict[str, int]:
    return {name: number for name, number in invariants.look().items() if number}


def seen() -> set[str]:
    """What is found, before anything is put right."""
    return {name for name, invariant in extensions.invariants if invariants.found(invariant)}


def test_a_healthy_platform_has_none(shop: Shop) -> None:
    shop.dead(3)
    shop.submit(2)
    shop.drive(shop.plan(start=False))

    assert seen() == set()
    assert left() == {}
    assert set(OURS) <= set(Finding.objects.values_list("name", flat=True))
    assert Finding.objects.exclude(number=0).count() == Finding.objects.exclude(repaired=0).count() == 0


def lost_doorbell(shop: Shop) -> None:
    shop.submit(1)
    execute("update jobs_job set due_at = now() - interval '5 minutes'")
    execute("update jobs_shelf set low_due_at = '9999-01-01'")


def blocked_unasked(shop: Shop) -> None:
    (job_id,) = shop.submit(1)
    Job.objects.filter(id=job_id).update(status="blocked", error={"code": "bad_outcome"})


def uncounted(shop: Shop) -> None:
    shop.dead(2)
    DeadLetter.objects.all().delete()
    Cause.objects.all().delete()


def counted_in_vain(shop: Shop) -> None:
    shop.dead(2)
    Job.objects.filter(status="failed").update(status="processed")


def forgotten_redrive(shop: Shop) -> None:
    shop.dead(1)
    row = shop.plan()
    Job.objects.filter(kind=plans.DRIVE).delete()
    execute("update reconciliation_redrive set created_at = now() - interval '5 minutes' where id = %s", row.id)


def stuck_lane(shop: Shop) -> None:
    for number in range(2):
        services.submit(project_id=PROJECT, kind="payment.make", payload={"number": number}, lane="a")
    Job.objects.filter(lane="a").update(gate=1, created_at="2020-01-01T00:00:00Z")


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lost_doorbell, "job.without_doorbell"),
        (blocked_unasked, "job.blocked_unasked"),
        (uncounted, "dead_letter.uncounted"),
        (counted_in_vain, "dead_letter.counted_in_vain"),
        (forgotten_redrive, "redrive.forgotten"),
        (stuck_lane, "lane.stuck"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_be_put_right_is(shop: Shop, spoil: Callable[[Shop], None], name: str) -> None:
    spoil(shop)
    assert seen() == {name}

    assert left() == {}

    found = Finding.objects.get(name=name)
    assert (found.number, found.since) == (0, None)
    assert found.repaired > 0
    before = found.repaired
    assert left() == {}
    assert Finding.objects.get(name=name).repaired == before


def test_what_was_dead_before_anybody_counted_comes_in_as_it_is(shop: Shop) -> None:
    shop.dead(3)
    shop.dead(2, error="reject")
    shop.submit(1)
    shop.count()  # what has the very place in the log that was read last may have more to be read
    before = set(Cause.objects.values_list("fingerprint", "kind", "code", "dead"))
    uncounted_before = set(DeadLetter.objects.values_list("job_id", "code", "status", "kind", "stage", "seq"))
    DeadLetter.objects.all().delete()
    Cause.objects.all().delete()

    invariants.look()

    assert set(Cause.objects.values_list("fingerprint", "kind", "code", "dead")) == before
    assert set(DeadLetter.objects.values_list("job_id", "code", "status", "kind", "stage", "seq")) == uncounted_before


def test_somebody_can_decide_about_a_blocked_job_that_nobody_had_asked_about(shop: Shop) -> None:
    blocked_unasked(shop)
    invariants.look()
    asked = Intervention.objects.get(resolved_at=None)

    interventions.resolve(asked, Decision("retry", "user:olga", "looked at"))

    assert Job.objects.get(id=UUID(asked.subject_id)).status == "queued"


def test_who_owns_a_job_and_is_dead_is_told_until_somebody_takes_it_back(shop: Shop) -> None:
    shop.submit(1)
    worker = Worker(registry.get("payment.make"), "one")
    worker.claim()
    execute("update jobs_worker set heartbeat_at = now() - interval '10 minutes'")

    assert left() == {"job.of_dead_worker": 1}
    first = Finding.objects.get(name="job.of_dead_worker")
    assert first.samples[0]["project_id"] == str(PROJECT)
    assert left() == {"job.of_dead_worker": 1}
    assert Finding.objects.get(name="job.of_dead_worker").since == first.since
    execute("update jobs_worker set heartbeat_at = now()")
    assert left() == {}


def test_lanes_that_move_are_none(shop: Shop) -> None:
    ids = [
        services.submit(project_id=PROJECT, kind="payment.make", payload={"number": number}, lane="a")
        for number in range(3)
    ]
    shop.work()
    lanes.sweep()

    assert left() == {}
    assert shop.statuses(ids) == ["processed"] * 3
