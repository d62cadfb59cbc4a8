"""What /metrics tells: counted in the database, from bounded labels, in few and cheap statements."""

from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from events import log
from events.log import NewEvent
from jobplatform import metrics
from jobs import figures, registry, tallies
from jobs.models import Canary, Doorbell, Intervention, Job, Tally, Timing, Worker
from jobs.pulse import Pulse
from tests.integration.jobs.conftest import JOBS, Make, kinds, make
from tests.integration.projects.conftest import Call, Tenant, call, ours

__all__ = ["call", "kinds", "make", "ours"]

pytestmark = pytest.mark.django_db


def samples(client: Client) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Value by name and sorted labels, of our own metrics."""
    text = client.get("/metrics").content.decode()
    return {
        (sample.name.removeprefix("jobplatform_"), tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("jobplatform_")
    }


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


def test_metrics_show_what_is_due_what_was_refused_and_who_is_there(client: Client, call: Call, make: Make) -> None:
    for _ in range(3):
        make()
    make(status="processed")
    call("POST", JOBS, {"kind": "<no such>"})
    worker = Worker.objects.create(name="w", host="h", pid=1, parent_pid=1, queues=["default", "x"], kinds=[])
    for number, answered in enumerate((worker.pk, None)):
        Doorbell.objects.create(
            id=UUID(int=number), kind="a.b", queue="x", expires_at="9999-01-01T00:00Z", answered_by=answered
        )
    Pulse("relay").round(0.25)
    Intervention.objects.create(id=uuid4(), subject_type="signer", subject_id="not a uuid", reason="nonce")

    found = samples(client)

    store_, x = (("kind", "parcel.store"), ("queue", "default")), (("queue", "x"),)
    assert found["jobs_due", store_] == 3
    assert found["jobs_due_age_seconds", store_] >= 0
    assert found["jobs_refused_total", (("code", "unknown_kind"),)] == 1
    assert [found[name, x] for name in ("slots", "slots_busy", "doorbells_in_flight")] == [1, 1, 2]
    assert found["doorbell_unanswered_seconds", x] >= 0
    assert found["relay_round_seconds", ()] == 0.25
    assert 0 <= found["relay_age_seconds", ()] < 60
    assert ("beat_age_seconds", ()) not in found
    assert abs(found["clock_skew_seconds", (("process", "relay"),)]) < 5
    assert (found["interventions_open", ()], found["lanes_blocked", ()]) == (1, 0)
    assert found["log_days_ahead", ()] == 14
    assert found["dead_rows", (("table", "jobs_job"),)] >= 0
    assert "no such" not in str(found)  # a client's text is no label


def test_a_lane_whose_first_job_is_blocked_is_counted_once(client: Client, make: Make) -> None:
    for lane in ("a", "a", "b", None):
        job_id = make(status="blocked", lane=lane)
        project = Job.objects.get(id=job_id).project_id
        Intervention.objects.create(
            id=uuid4(), project_id=project, subject_type="job", subject_id=str(job_id), reason="x"
        )

    found = samples(client)

    assert (found["interventions_open", ()], found["lanes_blocked", ()]) == (4, 2)


def test_the_labels_of_kinds_are_those_of_the_registry(client: Client, make: Make) -> None:
    make()
    Tally.objects.create(type="job.processed", kind="parcel.store", total=5)
    Tally.objects.create(type="job.processed", kind="gone.one", total=2)
    Tally.objects.create(type="job.processed", kind="gone.other", total=3)
    Timing.objects.create(kind="gone.one", measure="late", bucket=3, total=2, seconds=1)
    registry._kinds.pop("parcel.send")

    found = samples(client)

    done = {labels[0][1]: value for (name, labels), value in found.items() if name == "attempts_total"}
    assert done == {"parcel.store": 5, metrics.OTHER: 5}
    labels = {value for _, pairs in found for label, value in pairs if label == "kind"}
    assert labels <= {kind.name for kind in registry.kinds()} | {metrics.OTHER, ""}
    assert not any("project" in label for _, pairs in found for label, _ in pairs)


def settle(*events: NewEvent) -> None:
    """Append events; inside of one transaction nothing is settled, so they are put where they would be afterwards."""
    log.append(events)
    with connection.cursor() as cursor:
        cursor.execute("update events_event set position = 1")


def test_the_log_is_counted_once_in_slices(monkeypatch: pytest.MonkeyPatch, ours: Tenant) -> None:
    monkeypatch.setattr(tallies, "_COUNT", tallies._COUNT.replace("limit 5000", "limit 4"))
    monkeypatch.setattr(tallies, "SLICE", 4)
    new = [NewEvent(ours.project.id, "job.failed", ours.project.id, n, {"kind": "a.b"}) for n in range(10)]
    settle(*new, NewEvent(ours.project.id, "job.refused", ours.project.id, 1, {"kind": "evil", "code": "x"}))

    assert [tallies.count(most_slices=2), tallies.count(), tallies.count()] == [False, True, True]

    assert tallies.events() == {("job.failed", "a.b"): 10, ("job.refused", ""): 1}
    assert Tally.objects.count() == 3


def test_durations_waits_and_late_attempts_are_counted_exactly(client: Client, ours: Tenant, make: Make) -> None:
    kind = registry.get("parcel.store")
    registry._kinds[kind.name] = replace(kind, expect=0.1)
    job_id = make(status="processed", started_at="2026-01-01T00:00:07Z", due_at="2026-01-01T00:00:00Z")
    for seq, milliseconds in enumerate((0.4, 7.0, 7.5, 99.0, 101.0, 4_000_000.0)):
        data = {"kind": kind.name, "attempt": 1, "duration_ms": milliseconds}
        settle(NewEvent(ours.project.id, "job.processed" if not seq else "job.retrying", job_id, 10 + seq, data))
    settle(
        NewEvent(ours.project.id, "job.processed", job_id, 20, {"kind": kind.name, "attempt": 1}),  # by a person
        NewEvent(ours.project.id, "job.failed", uuid4(), 2, {"kind": "<evil>", "duration_ms": "x"}),
    )

    found = samples(client)

    def buckets(name: str) -> dict[str, float]:
        return {
            dict(labels)["le"]: value
            for (sample, labels), value in found.items()
            if sample == f"{name}_bucket" and dict(labels)["kind"] == kind.name
        }

    label = (("kind", kind.name),)
    durations = buckets("job_duration_seconds")
    assert len(durations) == len(tallies.BOUNDS) + 1
    assert [durations[le] for le in ("0.001", "0.005", "0.01", "0.05", "0.1", "0.25", "3600.0", "+Inf")] == [
        1, 1, 3, 3, 4, 5, 5, 6,
    ]  # fmt: skip
    assert found["job_duration_seconds_count", label] == 6
    assert found["job_duration_seconds_sum", label] == pytest.approx(4000.2149)
    waits = buckets("job_wait_seconds")
    assert [waits[le] for le in ("5.0", "10.0", "+Inf")] == [0, 1, 1]
    assert found["jobs_late_total", label] == 2
    assert found["job_expected_seconds", label] == 0.1
    assert samples(client)["job_duration_seconds_count", label] == 6  # and not again


def test_depth_is_counted_up_to_a_bound(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    make()
    row = Job.objects.get()
    for number in range(150):
        row.id = type(row.id)(int=number)
        row.save(force_insert=True)
    monkeypatch.setattr(figures, "_DEPTHS", figures._DEPTHS.replace("20000 /", "100 /"))

    assert [(depth.kind, depth.due) for depth in figures.depths()] == [("parcel.store", 100)]


def test_a_canary_is_shown_where_live_workers_serve_its_queue_and_nobody_paused_it(client: Client) -> None:
    Worker.objects.create(name="w", host="h", pid=1, parent_pid=1, queues=["default"], kinds=[])
    Canary.objects.create(queue="default", seconds=0.02)
    Canary.objects.create(queue="deserted", seconds=0.02)

    found = samples(client)

    assert {key: value for key, value in found.items() if key[0] == "canary_seconds"} == {
        ("canary_seconds", (("queue", "default"),)): 0.02
    }
    assert found["canary_age_seconds", (("queue", "default"),)] >= 0


def test_a_scrape_is_a_few_statements(client: Client, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    make()
    said = []
    execute = psycopg.Cursor.execute

    def heard(cursor: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        said.append(query)
        return execute(cursor, query, *args, **kwargs)

    client.get("/metrics")
    monkeypatch.setattr(psycopg.Cursor, "execute", heard)
    assert client.get("/metrics").status_code == 200

    assert 10 < len(said) + tallies.MOST_SLICES - 1 <= 27
