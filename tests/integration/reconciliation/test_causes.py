"""Dead letters by cause: what is counted is what stands in the jobs, whatever happens to them."""

from collections import Counter
from uuid import UUID

import pytest
from django.db import connection

from jobs import services
from jobs.models import Job
from reconciliation import selectors
from reconciliation.errors import CauseNotFound
from reconciliation.models import Cause, DeadLetter
from reconciliation.selectors import CauseRow
from tests.contracts.deliveries import PROJECT
from tests.integration.reconciliation.conftest import Shop, payments, shop

__all__ = ["payments", "shop"]

OTHER = UUID(int=8)


def causes(project_id: UUID | None = PROJECT) -> list[CauseRow]:
    return selectors.causes(project_id, limit=100)


def truth() -> Counter[tuple[UUID, str, str]]:
    dead = Job.objects.filter(status__in=("failed", "rejected"))
    return Counter((job.project_id, (job.error or {})["fingerprint"], job.kind) for job in dead)


def counted() -> Counter[tuple[UUID, str, str]]:
    rows = Cause.objects.filter(dead__gt=0)
    return Counter({(row.project_id, row.fingerprint, row.kind): row.dead for row in rows})


def test_errors_that_differ_in_ids_and_numbers_are_one_cause(shop: Shop) -> None:
    down = shop.dead(7)
    shop.dead(3, kind="payment.refund")
    shop.dead(2, error="reject")
    shop.dead(1, error="bug", message="currency")

    found = {row.code: row for row in causes()}

    assert {code: row.dead for code, row in found.items()} == {"provider_down": 10, "card_expired": 2, "key_error": 1}
    assert found["provider_down"].kinds == {"payment.make": 7, "payment.refund": 3}
    assert found["provider_down"].hours[-1] + found["provider_down"].hours[-2] == 10
    assert len(found["provider_down"].hours) == 24
    assert found["provider_down"].message.startswith("No answer from 10.0.0.")
    assert found["provider_down"].first_at <= found["provider_down"].last_at
    assert found["provider_down"].projects == [PROJECT]
    assert set(
        DeadLetter.objects.filter(kind="payment.make", code="provider_down").values_list("job_id", flat=True)
    ) == set(down)
    assert counted() == truth()


def test_each_project_sees_its_own(shop: Shop) -> None:
    shop.dead(2)
    shop.dead(3, project_id=OTHER)

    assert [row.dead for row in causes()] == [2]
    assert [row.dead for row in causes(OTHER)] == [3]
    (everybody,) = causes(None)
    assert (everybody.dead, everybody.kinds, set(everybody.projects)) == (5, {"payment.make": 5}, {PROJECT, OTHER})
    with pytest.raises(CauseNotFound):
        selectors.cause(UUID(int=9), everybody.fingerprint)


def test_who_runs_again_is_none_and_who_dies_again_is_one(shop: Shop) -> None:
    ids = shop.dead(5)
    for job_id in ids[:3]:
        services.retry(project_id=PROJECT, job_id=job_id, actor="tests")
    shop.count()
    assert [row.dead for row in causes()] == [2]

    shop.work()
    shop.count()
    assert [(row.dead, row.total) for row in causes()] == [(5, 8)]
    assert Counter(DeadLetter.objects.values_list("deaths", flat=True)) == {2: 3, 1: 2}

    shop.up = True
    for job_id in ids:
        services.retry(project_id=PROJECT, job_id=job_id, actor="tests")
    shop.work()
    shop.count()
    assert causes() == []
    assert counted() == truth() == Counter()
    assert Cause.objects.get().total == 8


def test_what_happens_between_two_looks_is_counted_as_what_it_came_to(shop: Shop) -> None:
    ids = shop.submit(3, error="down")
    shop.work()
    for job_id in ids:
        services.retry(project_id=PROJECT, job_id=job_id, actor="tests")
    Job.objects.filter(id=ids[0]).update(payload={"error": "reject", "number": 0})
    shop.work()
    services.retry(project_id=PROJECT, job_id=ids[2], actor="tests")

    shop.count()

    assert {row.code: (row.dead, row.total) for row in causes()} == {"provider_down": (1, 5), "card_expired": (1, 1)}
    assert counted() == truth()


def test_another_error_the_second_time_is_another_cause(shop: Shop) -> None:
    (job_id,) = shop.dead()
    services.retry(
        project_id=PROJECT, job_id=job_id, actor="tests", payload={"error": "bug", "message": "currency", "number": 0}
    )
    shop.work()
    shop.count()

    assert {row.code: row.dead for row in causes()} == {"key_error": 1}
    assert counted() == truth()


def test_a_page_of_causes_leads_to_the_next(shop: Shop) -> None:
    for letter in "abcde":
        shop.dead(1, error="bug", message=letter)
    first = selectors.causes(PROJECT, limit=2)
    second = selectors.causes(PROJECT, after=(first[-1].last_at, first[-1].fingerprint), limit=2)
    back = selectors.causes(PROJECT, after=(second[0].last_at, second[0].fingerprint), descending=False, limit=2)

    assert [row.message for row in [*first, *second]] == ["'e'", "'d'", "'c'", "'b'"]
    assert [row.message for row in back] == ["'d'", "'e'"]


def test_a_counter_that_was_put_back_changes_nothing(shop: Shop) -> None:
    shop.dead(3)
    before = counted()
    with connection.cursor() as cursor:
        cursor.execute("update events_consumer set position = 0, last_id = 0 where name = 'dead_letters'")
    shop.count()

    assert counted() == before == truth()
