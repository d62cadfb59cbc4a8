"""POST /jobs/batch: each job is looked at by itself, and all that fit are created at once."""

from typing import Any
from uuid import UUID

import pytest

from jobs.extensions import Gate, Registry
from jobs.models import Job
from tests.integration.jobs.conftest import JOBS, events
from tests.integration.jobs.test_api_create import SEND, closed
from tests.integration.projects.conftest import Call, Tenant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kinds")]

BATCH = f"{JOBS}/batch"
BAD = {"kind": "parcel.send", "payload": {"parcel_id": ""}}


def send(call: Call, *jobs: Any, **headers: str) -> Any:
    return call("POST", BATCH, {"jobs": list(jobs)}, **headers)


def test_the_answer_says_in_order_what_became_of_each(call: Call, ours: Tenant) -> None:
    answer = send(call, SEND, BAD, {"kind": "no.such"}, 7, SEND | {"lane": "a\n"}, {"kind": "parcel.store"})

    assert answer.status_code == 202
    UUID(answer.json()["batch_id"])
    shown = answer.json()["jobs"]
    assert [item.get("error", {}).get("code") for item in shown] == [
        None,
        "invalid_payload",
        "unknown_kind",
        "validation_error",
        "invalid_option",
        None,
    ]
    assert shown[1]["error"]["errors"][0]["field"] == "/payload/parcel_id"
    made = Job.objects.filter(project_id=ours.project.id).in_bulk()
    assert [made[UUID(item["id"])].kind for item in shown if "id" in item] == ["parcel.send", "parcel.store"]
    assert len(made) == 2


def test_options_are_those_of_one_job(call: Call) -> None:
    item = send(call, SEND | {"priority": 9, "metadata": {"a": "b"}, "due_at": "2031-01-01T00:00:00Z"}).json()["jobs"][
        0
    ]

    job = call("GET", f"{JOBS}/{item['id']}").json()
    assert (job["priority"], job["metadata"], job["due_at"]) == (9, {"a": "b"}, "2031-01-01T00:00:00Z")


def test_a_thousand_at_once_stand_in_the_log(call: Call) -> None:
    answer = send(call, *[SEND] * 1000)

    ids = {item["id"] for item in answer.json()["jobs"]}
    assert len(ids) == Job.objects.count() == 1000
    assert {str(event["subject_id"]) for event in events("job.queued")} == ids


@pytest.mark.parametrize(
    "body, status, code",
    [
        ({"jobs": [SEND] * 1001}, 422, "validation_error"),
        ({"jobs": []}, 422, "validation_error"),
        ({"jobs": {}}, 422, "validation_error"),
        ({}, 422, "validation_error"),
        ({"jobs": [SEND], "kind": "x"}, 422, "validation_error"),
        ([SEND], 422, "validation_error"),
    ],
)
def test_a_wrong_envelope_creates_nothing(call: Call, body: Any, status: int, code: str) -> None:
    answer = call("POST", BATCH, body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert not Job.objects.exists()


def test_where_nothing_fits_each_is_told_why(call: Call) -> None:
    answer = send(call, BAD, BAD)

    assert answer.status_code == 202
    assert [set(item) for item in answer.json()["jobs"]] == [{"error"}, {"error"}]
    assert not Job.objects.exists()


def test_refused_ones_are_counted_together(call: Call) -> None:
    send(call, *[BAD] * 30, *[{"kind": "no.such"}] * 20, SEND)

    found = {(event["code"], event["count"], event["seq"]) for event in events("job.refused")}
    assert found == {("invalid_payload", 30, 1), ("unknown_kind", 20, 1)}


def test_a_gate_closes_its_kind_alone(call: Call, gates: Registry[Gate]) -> None:
    gates.register("test", closed("project_suspended"))

    shown = send(call, SEND, {"kind": "parcel.store"}, SEND).json()["jobs"]

    assert [item.get("error", {}).get("code") for item in shown] == ["project_suspended", None, "project_suspended"]
    assert [event["count"] for event in events("job.refused")] == [2]


def test_unique_kinds_meet_within_a_batch(call: Call) -> None:
    once = {"kind": "parcel.once", "payload": {"parcel_id": "P-1"}}

    shown = send(call, once, SEND, once).json()["jobs"]

    assert shown[0] == shown[2]
    assert Job.objects.count() == 2


def test_the_same_key_gives_the_first_answer_again(call: Call) -> None:
    first = send(call, SEND, BAD, Idempotency_Key="b-1")
    again = send(call, SEND, BAD, Idempotency_Key="b-1")

    assert first.content == again.content
    assert Job.objects.count() == 1
    assert [event["count"] for event in events("job.refused")] == [1]
