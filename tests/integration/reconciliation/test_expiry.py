"""Dead letters are kept as long as their kind says: for good where it says nothing, and never gone unseen."""

import dataclasses
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from events.models import Event
from jobs import batches, registry, services
from jobs.errors import RegistrationError
from jobs.models import Attempt, Job
from jobs.registry import handler
from jobs.services import JobRequest
from reconciliation import invariants, selectors
from reconciliation.models import DeadLetter
from reconciliation.services import expiry
from tests.contracts.deliveries import PROJECT
from tests.integration.reconciliation.conftest import Pay, Shop


def keep(days: float | None, kind: str = "payment.make") -> None:
    registry._kinds[kind] = dataclasses.replace(registry.get(kind), keep_dead=days)


def age(ids: list[UUID], days: float) -> None:
    with connection.cursor() as cursor:
        for table, column, key in (
            ("jobs_job", "finished_at", "id"),
            ("reconciliation_deadletter", "died_at", "job_id"),
        ):
            cursor.execute(
                f"update {table} set {column} = {column} - %s * interval '1 day' where {key} = any(%s)", [days, ids]
            )


def test_what_is_older_than_its_kind_says_goes_with_its_attempts_and_an_event_tells(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expiry, "SLICE", 2)
    old, young = shop.dead(5), shop.dead(2)
    others = shop.dead(2, kind="payment.refund")
    age([*old, *others], 31)
    keep(30)

    assert expiry.expire() == 5
    assert set(Job.objects.values_list("id", flat=True)) == {*young, *others}
    assert set(DeadLetter.objects.values_list("job_id", flat=True)) == {*young, *others}
    assert not Attempt.objects.filter(job_id__in=old).exists()
    assert selectors.standing()[1] == 4
    told = Event.objects.filter(type="deadletters.expired")
    assert sum(event.data["count"] for event in told) == 5
    assert {(event.project_id, event.data["kind"]) for event in told} == {(PROJECT, "payment.make")}
    assert expiry.expire() == 0
    left = invariants.look()
    assert {name: number for name, number in left.items() if number} == {}


def test_a_kind_that_says_nothing_keeps_its_dead_letters_for_good(shop: Shop) -> None:
    age(shop.dead(2), 4000)
    assert expiry.expire() == 0
    assert Job.objects.count() == 2


def test_what_is_redriven_or_of_a_batch_that_has_not_ended_stays(shop: Shop) -> None:
    keep(30)
    requests = [JobRequest("payment.make", {"error": "down"}), JobRequest("payment.refund", {})]
    batches.create(project_id=PROJECT, requests=requests)
    (again,) = shop.dead(1)
    dead = list(Job.objects.filter(status="failed").values_list("id", flat=True))
    age(dead, 31)
    services.retry(project_id=PROJECT, job_id=again, actor="tests")

    assert expiry.expire() == 0
    assert Job.objects.filter(id__in=dead).count() == len(dead) == 2


@pytest.mark.parametrize("days", [0, -1, float("nan")])
def test_it_is_kept_for_some_time(days: float) -> None:
    def pay(_job: Any) -> None:
        """Nothing."""

    with pytest.raises(RegistrationError):
        handler("payment.never", payload=Pay, keep_dead=days)(pay)  # type: ignore[arg-type]
