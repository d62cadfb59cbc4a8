"""What the monitoring asks: /healthz, /readyz."""

import datetime as dt
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.db.models.functions import Now
from django.test import Client

from jobplatform import health
from jobs import figures, store, workers
from jobs.models import Pulse as Row
from jobs.models import Worker
from jobs.pulse import Pulse


def test_health_asks_nobody(client: Client) -> None:
    answer = client.get("/healthz")  # pytest-django would refuse it the database

    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_these_addresses_are_for_reading(client: Client, path: str) -> None:
    answer = client.post(path)

    assert (answer.status_code, answer.json()["code"]) == (405, "method_not_allowed")
    assert answer.headers["Allow"] == "GET"


@pytest.fixture
def relay(db: None) -> None:
    """A relay makes rounds; the broker and the migrations are looked at anew."""
    Pulse("relay").round(0.01)


@pytest.fixture(autouse=True)
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", False)
    monkeypatch.setattr(health, "_broker_asked", (float("-inf"), ""))


def older(role: str, seconds: float) -> None:
    Row.objects.filter(role=role).update(rounded_at=Now() - dt.timedelta(seconds=seconds))


@pytest.mark.usefixtures("relay")
def test_it_is_ready_with_a_relay_whether_or_not_there_is_a_worker(client: Client) -> None:
    alone = client.get("/readyz")
    Worker.objects.create(name="w", host="h", pid=1, parent_pid=1, queues=["default"], kinds=[])
    accompanied = client.get("/readyz")

    assert (alone.status_code, alone.json()["status"], alone.json()["reasons"]) == (200, "ready", [])
    assert {name: check["ok"] for name, check in alone.json()["checks"].items()} == dict.fromkeys(
        ("database", "migrations", "broker", "relay", "workers"), True
    )
    assert (accompanied.status_code, accompanied.json()["checks"]["workers"]["live"]) == (200, 1)


@pytest.mark.django_db
def test_without_a_relay_it_is_not_ready(client: Client) -> None:
    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["reasons"]) == (503, ["relay: None was ever seen."])


@pytest.mark.usefixtures("relay")
@pytest.mark.parametrize(("role", "seconds"), [("relay", 11), ("beat", 21)])
def test_who_makes_no_rounds_is_a_reason(client: Client, role: str, seconds: float) -> None:
    Pulse("beat").round(0.01)
    assert client.get("/readyz").status_code == 200
    older(role, seconds)

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["reasons"]) == (503, [f"{role}: No round for {seconds} s."])


@pytest.mark.usefixtures("relay")
def test_a_beat_that_was_stopped_in_order_is_not_missed_but_a_relay_is(client: Client) -> None:
    for role in ("beat", "relay"):
        pulse = Pulse(role)
        pulse.round(0.01)
        pulse.stop()
        older(role, 60)

    assert client.get("/readyz").json()["reasons"] == ["relay: No round for 60 s."]


@pytest.mark.usefixtures("relay")
def test_a_worker_that_lives_and_gets_nowhere_is_a_reason(client: Client) -> None:
    for number, quiet in enumerate((0.0, 19.0, 21.0, 300.0)):
        worker = Worker.objects.create(name="w", host="h", pid=number, parent_pid=1, queues=[], kinds=[])
        assert workers.beat(worker.pk, quiet=quiet, on=store.connection_of_django())
    Worker.objects.filter(pid=3).update(heartbeat_at=Now() - dt.timedelta(seconds=60))  # it is dead, and missed as such

    (reason,) = client.get("/readyz").json()["reasons"]
    (hidden,) = client.get("/readyz", REMOTE_ADDR="10.0.0.7").json()["reasons"]

    assert reason.startswith("workers: 1 of 3 make no progress: ")
    assert reason.endswith("(process 2 on h).")
    assert hidden == "workers: 1 of 3 make no progress."


@pytest.mark.usefixtures("relay")
def test_a_broker_that_is_away_is_a_reason(client: Client, settings: Any) -> None:
    settings.BROKER_URL = "redis://127.0.0.1:1/0"

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["reasons"]) == (503, ["broker: It does not answer."])


@pytest.mark.django_db
def test_a_missing_migration_is_not_ready(client: Client) -> None:
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

    monkeypatch.setattr(figures, "pulses", away)

    answer = client.get("/readyz")

    assert (answer.status_code, answer.json()["reasons"]) == (503, ["database: DatabaseError"])
