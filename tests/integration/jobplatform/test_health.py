"""What the monitoring asks: /healthz, /readyz, /metrics."""

from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test import Client

from events import log
from events.log import NewEvent
from jobplatform import health
from jobs import figures
from jobs.models import Job, Tally, Worker
from tests.integration.jobs.conftest import JOBS, Make, kinds, make
from tests.integration.projects.conftest import Call, Tenant, call, ours

__all__ = ["call", "kinds", "make", "ours"]


def test_health_asks_nobody(client: Client) -> None:
    answer = client.get("/healthz")  # pytest-django would refuse it the database

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_these_addresses_are_for_reading(client: Client, path: str) -> None:
    answer = client.post(path)

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET"


@pytest.mark.django_db
def test_a_migrated_database_is_ready_whoever_else_runs(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", False)
    alone = client.get("/readyz")
    Worker.objects.create(name="w", host="h", pid=1, parent_pid=1, queues=["default"], kinds=[])
    accompanied = client.get("/readyz")

    assert (alone.status_code, alone.json()["status"]) == (200, "ready")
    assert not alone.json()["checks"]["workers"]["ok"]
    assert accompanied.json()["checks"]["workers"]["live"] == 1
    assert accompanied.json()["checks"]["migrations"] == {"ok": True}


@pytest.mark.django_db
def test_a_missing_migration_is_not_ready(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", False)
    with connection.cursor() as cursor:
        cursor.execute("delete from django_migrations where id = (select max(id) from django_migrations)")

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["status"]) == (503, "not_ready")
    assert "not applied" in answer.json()["checks"]["migrations"]["detail"]


@pytest.mark.django_db
def test_a_database_that_is_away_is_not_ready(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        msg = "password=hunter2"
        raise DatabaseError(msg)

    monkeypatch.setattr(figures, "heard", away)

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["checks"]) == (
        503,
        {"database": {"ok": False, "detail": "DatabaseError"}},
    )


# ---------------------------------------------------------------------------------------------- metrics


def sample(text: str, line: str) -> float:
    """The value behind a name with its labels."""
    return next(float(found.rpartition(" ")[2]) for found in text.splitlines() if found.startswith(line + " "))


@pytest.mark.django_db
def test_metrics_are_for_this_machine_or_for_who_shows_the_token(client: Client, settings: Any) -> None:
    def status(**how: Any) -> int:
        return client.get("/metrics", **how).status_code

    assert status() == 200
    assert status(REMOTE_ADDR="10.0.0.7") == 401
    assert status(headers={"X-Forwarded-For": "127.0.0.1"}) == 401
    settings.METRICS_TOKEN = "t" * 20
    assert status() == 401
    assert status(headers={"Authorization": "Bearer wrong"}) == 401
    assert status(REMOTE_ADDR="10.0.0.7", headers={"Authorization": f"Bearer {'t' * 20}"}) == 200


@pytest.mark.django_db
def test_metrics_count_what_is_due_and_what_happened(client: Client, call: Call, make: Make) -> None:
    for _ in range(3):
        make()
    make(status="processed")
    call("POST", JOBS, {"kind": "<no such>"})
    Worker.objects.create(name="w", host="h", pid=1, parent_pid=1, queues=["default", "x"], kinds=[])

    text = client.get("/metrics").content.decode()

    assert sample(text, 'jobplatform_jobs_due{kind="parcel.store"}') == 3
    assert sample(text, 'jobplatform_jobs_due_age_seconds{kind="parcel.store"}') >= 0
    assert sample(text, 'jobplatform_jobs_refused_total{code="unknown_kind"}') == 1
    assert sample(text, 'jobplatform_workers_live{queue="x"}') == 1
    assert sample(text, "jobplatform_oldest_transaction_seconds") >= 0
    assert sample(text, 'jobplatform_dead_rows{table="jobs_job"}') >= 0
    assert "no such" not in text  # a client's text is no label


@pytest.mark.django_db
def test_the_log_is_counted_once_in_slices(monkeypatch: pytest.MonkeyPatch, ours: Tenant) -> None:
    # Inside of one transaction nothing is settled, so the rows are put where they would be afterwards.
    monkeypatch.setattr(figures, "_COUNT", figures._COUNT.replace("limit 20000", "limit 4"))
    monkeypatch.setattr(figures, "SLICE", 4)
    new = [NewEvent(ours.project.id, "job.failed", ours.project.id, n, {"kind": "a.b"}) for n in range(10)]
    log.append([*new, NewEvent(ours.project.id, "job.refused", ours.project.id, 1, {"kind": "evil", "code": "x"})])
    with connection.cursor() as cursor:
        cursor.execute("update events_event set position = 1")
    for _ in range(2):
        assert figures.count_events()

    assert figures.event_totals() == {("job.failed", "a.b"): 10, ("job.refused", ""): 1}
    assert Tally.objects.count() == 3


@pytest.mark.django_db
def test_depth_is_counted_up_to_a_bound(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    make()
    row = Job.objects.get()
    for number in range(150):
        row.id = type(row.id)(int=number)
        row.save(force_insert=True)
    monkeypatch.setattr(figures, "_DEPTHS", figures._DEPTHS.replace("200000 /", "1 /"))

    assert [(depth.kind, depth.due) for depth in figures.depths()] == [("parcel.store", 100)]
