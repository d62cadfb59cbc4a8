"""Redrives: the jobs that a filter named when it was planned run once more, as the plan says, each of them once."""

from collections import Counter
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from events.models import AuditRecord, Event
from jobs import registry, services
from jobs.models import Job
from reconciliation import selectors
from reconciliation.errors import InvalidPlan, PlanNotFound, WrongPlanStatus
from reconciliation.models import DeadLetter, Redrive, RedriveRow
from reconciliation.services import driving, plans
from reconciliation.services.plans import By
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.reconciliation.conftest import Shop, payments, shop

__all__ = ["payments", "shop"]

OTHER = UUID(int=8)
ME = By("user:olga", "because")


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at every step what came of jobs."""
    monkeypatch.setattr(driving, "SETTLE_EVERY", 0)


def states(row: Redrive) -> Counter[str]:
    return Counter(RedriveRow.objects.filter(redrive_id=row.id).values_list("state", flat=True))


def test_what_may_be_retried_runs_once_more_and_all_else_stays(shop: Shop) -> None:
    ids = shop.dead(5)
    others = shop.dead(2, error="reject") + shop.dead(1, project_id=OTHER)
    shop.up = True

    row = shop.drive(shop.plan())
    assert (row.status, row.frozen, row.redriven) == ("running", 5, 5)
    later = shop.submit(1, error="reject")
    shop.work()
    row = shop.drive(row)

    assert (row.status, row.recovered, row.failed, row.skipped) == ("done", 5, 0, 0)
    assert shop.statuses(ids) == ["processed"] * 5
    assert shop.statuses(others + later) == ["rejected", "rejected", "failed", "rejected"]
    assert states(row) == {"recovered": 5}
    event = Event.objects.get(subject_id=ids[0], type="job.redriven")
    assert event.data["actor"] == "tests"
    assert str(row.id) in event.data["reason"]
    ended = Event.objects.get(subject_id=row.id)
    assert (ended.type, ended.data["recovered"], ended.data["status"]) == ("redrive.ended", 5, "done")


@pytest.mark.parametrize(
    ("filter_", "chosen"),
    [
        ({"errors_allowed_to_retry": ["card_expired"]}, {"c"}),
        ({"errors_allowed_to_retry": ["card_expired", "provider_down"]}, {"a", "b", "c"}),
        ({"kind": "payment.refund"}, {"b"}),
        ({"status": "rejected"}, {"c"}),
        ({"stage": "process", "kind": "payment.make"}, {"a", "c"}),
        ({"stage": "confirm"}, set()),
        ({"metadata": {"order": "0"}}, {"a", "b", "c"}),
        ({"metadata": {"order": "1"}}, set()),
        ({"died_before": "2020-01-01T00:00:00Z"}, set()),
        ({"died_after": "2020-01-01T00:00:00Z", "most_deaths": 1}, {"a", "b", "c"}),
    ],
)
def test_a_filter_names_what_fits_all_of_it(shop: Shop, filter_: dict[str, Any], chosen: set[str]) -> None:
    ids = {"a": shop.dead()[0], "b": shop.dead(kind="payment.refund")[0], "c": shop.dead(error="reject")[0]}

    foreseen = selectors.foresee(PROJECT, filter_)
    row = shop.drive(shop.plan(filter=filter_, start=False))

    found = set(RedriveRow.objects.filter(redrive_id=row.id).values_list("job_id", flat=True))
    assert found == {ids[name] for name in chosen}
    assert (foreseen.matched, set(foreseen.samples), foreseen.more) == (len(chosen), found, False)
    assert sum(cause["number"] for cause in foreseen.causes) == len(chosen)


def test_the_fingerprint_of_one_error_and_the_ids_of_some_are_filters_too(shop: Shop) -> None:
    shop.dead(1, error="bug", message="currency")
    (wanted, *_) = shop.dead(2, error="bug", message="country")
    fingerprint = (Job.objects.get(id=wanted).error or {})["fingerprint"]

    assert selectors.foresee(PROJECT, {"errors_allowed_to_retry": [fingerprint]}).matched == 2
    assert selectors.foresee(PROJECT, {"ids": [str(wanted)]}).samples == [wanted]


def test_an_empty_filter_is_refused(shop: Shop) -> None:
    with pytest.raises(InvalidPlan) as refused:
        shop.plan(filter={})
    assert refused.value.code == "empty_filter"
    with pytest.raises(InvalidPlan):
        shop.plan(canary=5)


def test_two_plans_for_the_same_jobs_redrive_each_of_them_once(shop: Shop) -> None:
    ids = shop.dead(6)
    one, two = shop.plan(start=False), shop.plan(start=False)
    shop.drive(one)
    shop.drive(two)
    for row in (one, two):
        plans.start(row.id, PROJECT, ME)

    driving.step(one.id)
    shop.work()  # the provider is down still: they are dead letters again
    one, two = shop.drive(one), shop.drive(two)

    assert Event.objects.filter(type="job.redriven").count() == len(ids)
    assert (one.redriven, one.failed, one.status) == (6, 6, "done")
    assert (two.redriven, two.skipped, two.status) == (0, 6, "done")
    assert set(RedriveRow.objects.filter(redrive_id=two.id).values_list("why", flat=True)) == {"it has moved on"}


def test_a_canary_goes_first_and_the_others_stay_where_it_fails(shop: Shop) -> None:
    shop.dead(30)
    row = shop.drive(shop.plan(canary=4, stop_above=50.0))
    assert row.redriven == 4
    assert shop.drive(row).redriven == 4  # nothing is known of them yet

    shop.work()
    row = shop.drive(row)

    assert (row.status, row.redriven, row.failed) == ("stopped", 4, 4)
    assert row.status_reason == "more than 50 % of those known failed again"
    assert states(row) == {"failed": 4, "frozen": 26}
    assert Event.objects.get(subject_id=row.id).type == "redrive.stopped"
    assert Job.objects.filter(status="failed").count() == 30


def test_a_person_who_has_mended_it_starts_it_again(shop: Shop) -> None:
    shop.dead(12)
    row = shop.drive(shop.plan(canary=4, stop_above=25.0))
    shop.work()
    row = shop.drive(row)
    assert row.status == "stopped"

    shop.up = True
    plans.start(row.id, PROJECT, ME)
    row = shop.drive(row)
    assert row.redriven == 8  # another canary
    shop.work()
    row = shop.drive(row)
    shop.work()
    row = shop.drive(row)

    assert (row.status, row.recovered, row.failed) == ("done", 8, 4)


def test_when_too_many_fail_later_it_stops_then(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "SLICE", 10)
    shop.dead(60)
    shop.up = True
    row = shop.plan(canary=10, stop_above=20.0)
    shop.drive(row)
    shop.work()
    driving.step(row.id)
    shop.up = False
    shop.work()

    row = shop.drive(row)

    assert (row.status, row.redriven, row.recovered, row.failed) == ("stopped", 20, 10, 10)


def test_a_pace_is_kept_and_a_rest_makes_no_flood(shop: Shop) -> None:
    shop.dead(50)
    row = shop.drive(shop.plan(pace=5.0))
    assert row.redriven <= 1
    before = row.redriven

    Redrive.objects.filter(id=row.id).update(paced_at=row.created_at.replace(year=row.created_at.year - 1))
    row = shop.drive(row)

    assert row.redriven - before in {10, 11}  # two seconds of it


def test_paused_started_and_aborted(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "SLICE", 2)
    ids = shop.dead(8)
    row = shop.plan()
    for _ in range(2):
        driving.step(row.id)

    plans.pause(row.id, PROJECT, ME)
    assert driving.step(row.id) is None
    row.refresh_from_db()
    assert (row.status, row.status_reason, row.redriven) == ("paused", "because", 2)
    with pytest.raises(WrongPlanStatus):
        plans.pause(row.id, PROJECT, ME)
    plans.start(row.id, PROJECT, ME)
    driving.step(row.id)
    plans.abort(row.id, PROJECT, ME)
    row = shop.drive(row)

    assert (row.status, row.redriven) == ("aborted", 4)
    assert row.finished_at is not None
    assert Counter(shop.statuses(ids)) == {"queued": 4, "failed": 4}
    with pytest.raises(WrongPlanStatus):
        plans.start(row.id, PROJECT, ME)
    with pytest.raises(PlanNotFound):
        plans.abort(row.id, OTHER, ME)
    acts = AuditRecord.objects.filter(subject_id=str(row.id)).order_by("id").values_list("action", "actor")
    assert list(acts) == [
        ("redrive.plan", "tests"), ("redrive.pause", "user:olga"), ("redrive.start", "user:olga"),
        ("redrive.abort", "user:olga"),
    ]  # fmt: skip


def test_a_change_goes_with_them(shop: Shop) -> None:
    ids = shop.dead(2)
    change = {
        "payload": {"error": None, "message": "mended"}, "max_attempts": 7, "retry_delay": 3.0,
        "due_at": "2040-01-01T00:00:00Z",
    }  # fmt: skip

    row = shop.drive(shop.plan(change=change))

    jobs = list(Job.objects.filter(id__in=ids).order_by("id"))
    assert [job.payload for job in jobs] == [{"number": 0, "message": "mended"}, {"number": 1, "message": "mended"}]
    assert {(job.status, job.max_attempts, job.retry_delay, job.due_at.year) for job in jobs} == {
        ("queued", 7, 3.0, 2040)
    }
    kept = AuditRecord.objects.get(action="job.redrive", subject_id=str(ids[0]))
    assert kept.data["before"]["payload"] == {"number": 0, "error": "down"}
    assert row.redriven == 2


def test_what_does_not_fit_is_left_alone_with_the_reason(shop: Shop) -> None:
    good = shop.dead(1)
    row = shop.drive(shop.plan(change={"payload": {"number": "many"}}))

    found = RedriveRow.objects.get(redrive_id=row.id)
    assert (found.state, found.why) == ("skipped", "The payload does not fit payment.make.")
    assert shop.statuses(good) == ["failed"]
    assert (row.status, row.skipped) == ("done", 1)


def test_one_whose_unique_key_another_has_meanwhile_is_left_alone(shop: Shop) -> None:
    ids = shop.dead(2, kind="payment.once")
    services.submit(project_id=PROJECT, kind="payment.once", payload={"number": 1})

    row = shop.drive(shop.plan())

    assert Counter(shop.statuses(ids)) == {"queued": 1, "failed": 1}
    assert states(row) == {"redriven": 1, "skipped": 1}


def test_one_plan_for_all_projects(shop: Shop) -> None:
    shop.dead(2)
    shop.dead(3, project_id=OTHER)
    shop.up = True
    row = shop.drive(shop.plan(project_id=None))
    shop.work()
    row = shop.drive(row)

    assert (row.status, row.recovered) == ("done", 5)


def test_in_slices_it_is_the_same_set(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driving, "SCANNED", 4)
    monkeypatch.setattr(driving, "SETTLED", 3)
    monkeypatch.setattr(driving, "SLICE", 3)
    ids = shop.dead(11)
    shop.up = True
    row = shop.drive(shop.plan(filter={"metadata": {"order": "0"}}))
    shop.work()
    for _ in range(5):
        row = shop.drive(row)

    numbers = list(RedriveRow.objects.filter(redrive_id=row.id).order_by("number").values_list("number", flat=True))
    assert numbers == [1, 2, 3, 4, 5, 6]
    assert (row.status, row.frozen, row.recovered) == ("done", 6, 6)
    assert Counter(shop.statuses(ids)) == {"processed": 6, "failed": 5}


def run(kind: str) -> dict[str, int]:
    worker = Worker(registry.get(kind), "driver")
    return worker.run(worker.claim())


def test_its_own_job_does_it(shop: Shop) -> None:
    ids = shop.dead(3)
    shop.up = True
    row = shop.plan()
    run(plans.DRIVE)
    shop.work()
    Job.objects.filter(kind=plans.DRIVE).update(due_at="2020-01-01T00:00:00Z")
    services.wake_parked()
    run(plans.DRIVE)

    row.refresh_from_db()
    assert (row.status, row.recovered) == ("done", 3)
    assert shop.statuses(ids) == ["processed"] * 3
    assert Job.objects.get(kind=plans.DRIVE).status == "processed"


def test_what_runs_once_at_most_is_never_run_again_by_the_clock(shop: Shop) -> None:
    ids = shop.dead(1, kind="payment.wire")
    others = shop.dead(1)
    services.submit(
        project_id=UUID(int=0), kind="job.reconcile", payload={"errors_allowed_to_retry": ["provider_down"]}
    )
    run("job.reconcile")

    row = shop.drive(Redrive.objects.get())

    assert (row.redriven, row.skipped) == (1, 1)
    assert shop.statuses([*ids, *others]) == ["failed", "queued"]
    by_hand = shop.drive(shop.plan(filter={"ids": [str(ids[0])]}))
    assert (by_hand.redriven, shop.statuses(ids)) == (1, ["queued"])


def test_what_is_old_goes_and_what_stands_dead_stays(shop: Shop) -> None:
    ids = shop.dead(2)
    shop.up = True
    row = shop.drive(shop.plan(filter={"ids": [str(ids[0])]}))
    shop.work()
    row = shop.drive(row)
    shop.count()
    with connection.cursor() as cursor:
        cursor.execute("update reconciliation_redrive set finished_at = finished_at - interval '91 days'")
        cursor.execute("update reconciliation_deadletter set died_at = died_at - interval '91 days'")
        cursor.execute("update reconciliation_causehour set at = at - interval '91 days'")
    services.submit(project_id=UUID(int=0), kind="reconciliation.tidy", payload={})

    run("reconciliation.tidy")

    removed = Job.objects.get(kind="reconciliation.tidy").output
    assert {name: number for name, number in (removed or {}).items() if number} == {
        "redriven_jobs": 1, "redrives": 1, "hours": 1, "recovered": 1,
    }  # fmt: skip
    assert list(DeadLetter.objects.values_list("job_id", flat=True)) == [ids[1]]


def test_the_clock_plans_what_passes_by_itself(shop: Shop) -> None:
    shop.dead(2)
    worn = shop.dead(1)
    for _ in range(2):
        services.retry(project_id=PROJECT, job_id=worn[0], actor="tests")
        shop.work()
    shop.count()
    payload = {"errors_allowed_to_retry": ["provider_down"], "most_deaths": 2, "canary": 1}
    made = services.submit(project_id=UUID(int=0), kind="job.reconcile", payload=payload)

    assert run("job.reconcile") == {"done": 1}

    row = shop.drive(Redrive.objects.get())
    assert (row.id, row.project_id, row.frozen, row.canary) == (made, None, 2, 1)
