"""Settings of kinds: how a process learns of them, and what they change for its jobs."""

from typing import Any
from uuid import UUID

import pytest
import structlog

from events.models import AuditRecord
from jobs import registry, services, store, tuning, workers
from jobs.errors import InvalidOption, SettingsChanged, UnknownKind
from jobs.models import Attempt, Job, KindSettings
from jobs.tuning import Settings
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.tuned import tunable
from tests.integration.projects.conftest import Call, Tenant, call, ours

__all__ = ["call", "ours", "tunable"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tunable")]

WHY = "the other side is slow"


def change(kind: str = "deed.do", *, version: int | None = None, **settings: Any) -> KindSettings:
    return tuning.change(kind=kind, settings=Settings(**settings), actor="user:olga", reason=WHY, version=version)


def submit(deed: str = "", **options: Any) -> UUID:
    return services.submit(project_id=PROJECT, kind="deed.do", payload={"deed": deed}, **options)


def run_one() -> None:
    """As a pump does: look, claim, run."""
    tuning.refresh()
    worker = Worker(registry.get("deed.do"), "one")
    worker.run(list(worker.claim()))


# ------------------------------------------------------------------------------------------------ learning
def test_a_change_rules_at_the_next_look() -> None:
    change(timeout=4.0, priority=7)

    assert tuning.refresh()
    assert (registry.get("deed.do").timeout, registry.get("deed.do").priority) == (4, 7)
    assert registry.get("deed.other").timeout == 300


def test_between_two_looks_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    tuning.refresh()
    KindSettings.objects.create(kind="deed.do", timeout=4.0, version=1, updated_by="another process", reason="x")

    assert [tuning.refresh() for _ in range(100)] == [False] * 100
    assert registry.get("deed.do").timeout == 10

    monkeypatch.setattr(tuning, "_look_at", 0.0)
    assert tuning.refresh()
    assert registry.get("deed.do").timeout == 4


def test_looking_again_changes_nothing_while_nothing_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    change(timeout=4.0)
    tuning.refresh()
    kind = registry.get("deed.do")
    monkeypatch.setattr(tuning, "_look_at", 0.0)

    assert not tuning.refresh()

    assert registry.get("deed.do") is kind
    assert tuning._look_at > 0


def test_a_reset_is_the_code_again_in_this_process_and_a_row_that_stays() -> None:
    declared = registry.get("deed.do")
    change(timeout=4.0)
    tuning.refresh()
    change()
    tuning.refresh()

    assert registry.get("deed.do") is declared
    assert KindSettings.objects.get().version == 2


def test_versions_rise_over_all_kinds() -> None:
    versions = [change(timeout=4.0).version, change("deed.other", timeout=4.0).version, change(timeout=5.0).version]

    assert versions == [1, 2, 3]


def test_a_row_that_does_not_fit_the_code_any_more_is_ignored_with_a_warning() -> None:
    KindSettings.objects.create(kind="deed.do", cap=1.0, timeout=4.0, version=1, updated_by="x", reason="x")
    KindSettings.objects.create(kind="deed.once", max_attempts=5, version=2, updated_by="x", reason="x")
    KindSettings.objects.create(kind="deed.other", timeout=4.0, version=3, updated_by="x", reason="x")
    KindSettings.objects.create(kind="deed.gone", timeout=4.0, version=4, updated_by="x", reason="x")

    with structlog.testing.capture_logs() as lines:
        assert tuning.refresh()

    assert registry.get("deed.do").timeout == 10
    assert registry.get("deed.once").retry.max_attempts == 1
    assert registry.get("deed.other").timeout == 4
    assert [(line["event"], line["details"].split(":")[0]) for line in lines] == [
        ("settings ignored", "deed.do"), ("settings ignored", "deed.once"),
    ]  # fmt: skip


# ------------------------------------------------------------------------------------------------ by hand
def test_a_change_is_audited_with_before_and_after() -> None:
    change(max_attempts=5)
    change(max_attempts=6, cap=90.0)
    change()

    found = AuditRecord.objects.filter(subject_type="kind", subject_id="deed.do").order_by("id")
    assert [(row.action, row.actor, row.reason, row.data) for row in found] == [
        ("kind.tune", "user:olga", WHY, {"before": {}, "after": {"max_attempts": 5}, "version": 1}),
        (
            "kind.tune", "user:olga", WHY,
            {"before": {"max_attempts": 5}, "after": {"max_attempts": 6, "cap": 90.0}, "version": 2},
        ),
        ("kind.reset", "user:olga", WHY, {"before": {"max_attempts": 6, "cap": 90.0}, "after": {}, "version": 3}),
    ]  # fmt: skip


def test_what_cannot_be_changes_nothing() -> None:
    with pytest.raises(InvalidOption):
        change(cap=1.0)
    with pytest.raises(InvalidOption):
        change("deed.once", max_attempts=2)
    with pytest.raises(UnknownKind):
        change("deed.gone", timeout=1.0)
    with pytest.raises(InvalidOption, match="already"):
        change()

    assert not KindSettings.objects.exists()
    assert not AuditRecord.objects.filter(subject_type="kind").exists()


def test_of_two_people_the_second_is_told() -> None:
    change(timeout=4.0, version=0)

    with pytest.raises(SettingsChanged):
        change(timeout=5.0, version=0)
    assert KindSettings.objects.get().timeout == 4
    assert change(timeout=5.0, version=1).version == 2


# ------------------------------------------------------------------------------------------------ effects
def test_a_failed_attempt_is_judged_by_what_is_set() -> None:
    job = submit("fail")
    change(max_attempts=1)

    run_one()

    assert Job.objects.get(id=job).status == "failed"


def test_a_delay_is_what_is_set() -> None:
    job = submit("fail")
    change(first=3000.0, cap=3000.0)
    before = store.now()

    run_one()

    row = Job.objects.get(id=job)
    assert row.status == "queued"
    assert 2990 < (row.due_at - before).total_seconds() < 3060


def test_what_a_job_says_of_itself_stands_above_the_settings() -> None:
    job = submit("fail", max_attempts=2, retry_delay=0)
    change(max_attempts=1, first=3000.0, cap=3000.0)

    run_one()
    after_one = Job.objects.get(id=job).status
    run_one()

    assert (after_one, Job.objects.get(id=job).status) == ("queued", "failed")


def test_a_job_without_a_priority_gets_the_one_that_is_set() -> None:
    change(priority=42)
    tuning.refresh()

    assert Job.objects.get(id=submit()).priority == 42
    assert Job.objects.get(id=submit(priority=1)).priority == 1


def test_whoever_takes_back_the_jobs_of_the_dead_judges_by_what_is_set() -> None:
    """The relay and a worker's parent learn of a change where they rescue, and ask nothing otherwise."""
    job = submit()
    worker = Worker(registry.get("deed.do"), "dead")
    (claimed,) = worker.claim()
    change(max_attempts=1)

    workers.rescue(worker.id, started=(claimed.id, claimed.claim_no), seen=True)

    assert Job.objects.get(id=job).status == "failed"
    assert Attempt.objects.filter(job_id=job, error__code="worker_died").exists()


def test_the_api_shows_what_rules(call: Call, ours: Tenant) -> None:
    change(max_attempts=8, first=1.0, factor=3.0, cap=30.0, timeout=4.0, batch=9, expect=2.0, priority=3)

    shown = call("GET", "/api/v1/kinds/deed.do").json()

    assert shown["retry"] == {"max_attempts": 8, "first": 1, "factor": 3, "cap": 30}
    assert [shown[name] for name in ("timeout", "batch", "expect", "priority")] == [4, 9, 2, 3]
    made = call("POST", "/api/v1/jobs", {"kind": "deed.do", "payload": {}}).json()
    assert (made["max_attempts"], made["priority"]) == (8, 3)
    listed = {row["name"]: row for row in call("GET", "/api/v1/kinds?limit=200").json()["results"]}
    assert (listed["deed.do"]["timeout"], listed["deed.other"]["timeout"]) == (4, 300)


def test_many_jobs_of_one_request_are_seen_by_one_look(call: Call, ours: Tenant) -> None:
    change(priority=5)

    call("POST", "/api/v1/jobs/batch", {"jobs": [{"kind": "deed.do", "payload": {}}] * 3})

    assert list(Job.objects.values_list("priority", flat=True)) == [5, 5, 5]
