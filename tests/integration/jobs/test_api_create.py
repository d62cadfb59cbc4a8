"""POST /jobs: what is accepted, what is refused, and what the log says of both."""

import datetime as dt
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from pydantic import BaseModel

from jobs import Done, Run, Unique, handler
from jobs.extensions import Gate, Refusal, Registry, SubmitRequest
from jobs.models import Job
from jobs.models import Refusal as RefusalRow
from jobs.refusals import MOST_A_MINUTE
from tests.corpora.bad_json import BAD_JSON, GOOD_JSON, BadBody, within
from tests.integration.jobs.conftest import JOBS, Parcel, events
from tests.integration.projects.conftest import Call, Tenant

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kinds")]

SEND = {"kind": "parcel.send", "payload": {"parcel_id": "P-1"}}
Post = Callable[..., Any]


@pytest.fixture
def post(ours: Tenant) -> Post:
    """A POST of bytes as they are."""
    client = Client(raise_request_exception=False)

    def send(body: bytes, content_type: str = "application/json") -> Any:
        return client.generic("POST", JOBS, body, content_type=content_type, headers=ours.headers)

    return send


# ---------------------------------------------------------------------------------------------- accepted


def test_the_answer_is_the_job_as_it_is_read_afterwards(call: Call) -> None:
    options = {
        "priority": -3,
        "due_at": "2031-01-01T00:00:00+02:00",
        "max_attempts": 7,
        "retry_delay": 1.5,
        "timeout": 20,
        "metadata": {"order": "7", "deep": {"a": [1, None]}},
    }

    created = call("POST", JOBS, SEND | options)
    read = call("GET", created.headers["Location"])

    assert created.status_code == 202
    assert created.headers["Content-Type"] == "application/json"
    assert created.json() == read.json()
    assert created.json() | {"created_at": "", "id": "", "links": {}} == {
        "id": "",
        "kind": "parcel.send",
        "status": "queued",
        "stage": "process",
        "attempt": 0,
        "max_attempts": 7,
        "payload": {"parcel_id": "P-1"},
        "output": None,
        "quality": None,
        "error": None,
        "progress": None,
        "steps": {},
        "lane": None,
        "batch_id": None,
        "priority": -3,
        "metadata": {"order": "7", "deep": {"a": [1, None]}},
        "due_at": "2030-12-31T22:00:00Z",
        "created_at": "",
        "started_at": None,
        "finished_at": None,
        "cancel_requested": False,
        "awaiting": None,
        "confirmation": None,
        "links": {},
    }


def test_what_is_not_said_comes_from_the_kind(call: Call) -> None:
    sent = call("POST", JOBS, SEND).json()
    stored = call("POST", JOBS, {"kind": "parcel.store"}).json()

    assert (sent["max_attempts"], sent["priority"], sent["due_at"]) == (3, 0, sent["created_at"])
    assert (stored["max_attempts"], stored["priority"], stored["payload"]) == (5, 5, {})


def test_a_time_that_has_passed_means_now(call: Call) -> None:
    job = call("POST", JOBS, SEND | {"due_at": "2001-01-01T00:00:00Z"}).json()

    assert job["due_at"] == job["created_at"]


def test_the_job_and_its_event_are_one_fact(call: Call, ours: Tenant) -> None:
    job = call("POST", JOBS, SEND).json()

    (row,) = Job.objects.filter(id=UUID(job["id"]))
    found = call("GET", job["links"]["events"]).json()["results"]
    assert row.project_id == ours.project.id
    assert [(event["type"], event["seq"], event["data"]["kind"]) for event in found] == [
        ("job.queued", 1, "parcel.send")
    ]


def test_a_unique_kind_answers_with_the_job_that_there_is(call: Call) -> None:
    first = call("POST", JOBS, {"kind": "parcel.once", "payload": {"parcel_id": "P-1"}})
    again = call("POST", JOBS, {"kind": "parcel.once", "payload": {"parcel_id": "P-1", "weight": 2}})
    other = call("POST", JOBS, {"kind": "parcel.once", "payload": {"parcel_id": "P-2"}})

    assert [answer.status_code for answer in (first, again, other)] == [202, 200, 202]
    assert first.json() == again.json()
    assert other.json()["id"] != first.json()["id"]


def test_payloads_that_are_the_same_to_the_handler_have_the_same_key(call: Call) -> None:
    @handler("parcel.weigh", payload=Parcel, unique=Unique())
    def weigh(_job: Run[Parcel]) -> Done:
        return Done()

    same = [{"parcel_id": "P-1"}, {"parcel_id": "P-1", "weight": 1}, {"weight": "1.0", "parcel_id": "P-1"}]

    answers = [call("POST", JOBS, {"kind": "parcel.weigh", "payload": payload}) for payload in same]

    assert [answer.status_code for answer in answers] == [202, 200, 200]
    assert Job.objects.filter(kind="parcel.weigh").count() == 1


@pytest.mark.parametrize("value", GOOD_JSON, ids=lambda value: value[:30].decode(errors="replace"))
def test_what_is_odd_and_fine_is_kept(call: Call, post: Post, value: bytes) -> None:
    nested = value.count(b"[[[[") > 3
    body = b'{"kind": "parcel.store", "payload": {"value": %s}}' % value

    answer = post(body)

    if nested and not value.startswith(b'{"a": "['):
        assert (answer.status_code, answer.json()["code"]) == (400, "too_deep")  # two levels deeper than alone
    else:
        assert answer.status_code == 202
        assert call("GET", answer.json()["links"]["self"]).json()["payload"].keys() == {"value"}


# ---------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "body, status, code, field",
    [
        ({}, 422, "validation_error", "/kind"),
        ([], 422, "validation_error", ""),
        ({"kind": 7}, 422, "validation_error", "/kind"),
        ({"kind": ""}, 422, "validation_error", "/kind"),
        ({"kind": "k" * 101}, 422, "validation_error", "/kind"),
        (SEND | {"extra": 1}, 422, "validation_error", "/extra"),
        (SEND | {"payload": []}, 422, "validation_error", "/payload"),
        (SEND | {"payload": None}, 422, "validation_error", "/payload"),
        (SEND | {"priority": 101}, 422, "validation_error", "/priority"),
        (SEND | {"priority": "1"}, 422, "validation_error", "/priority"),
        (SEND | {"priority": True}, 422, "validation_error", "/priority"),
        (SEND | {"max_attempts": 0}, 422, "validation_error", "/max_attempts"),
        (SEND | {"retry_delay": -1}, 422, "validation_error", "/retry_delay"),
        (SEND | {"timeout": 0}, 422, "validation_error", "/timeout"),
        (SEND | {"due_at": "tomorrow"}, 422, "validation_error", "/due_at"),
        (SEND | {"due_at": 1790000000}, 422, "validation_error", "/due_at"),
        (SEND | {"due_at": "2026-11-22T06:00:00"}, 422, "validation_error", "/due_at"),
        (SEND | {"due_at": "9999-12-31T23:59:59-23:59"}, 422, "validation_error", "/due_at"),
        (SEND | {"due_at": "0001-01-01T00:00:00+23:59"}, 422, "validation_error", "/due_at"),
        (SEND | {"metadata": {"a": "x" * 17_000}}, 422, "validation_error", "/metadata"),
        (SEND | {"confirm": "maybe"}, 422, "validation_error", "/confirm"),
        (SEND | {"confirm": "single"}, 422, "confirm_not_available", "/confirm"),
        (SEND | {"lane": "customer\n1"}, 422, "invalid_option", "/lane"),
        ({"kind": "no.such"}, 422, "unknown_kind", "/kind"),
        ({"kind": "parcel.burn", "payload": {"parcel_id": "1"}}, 422, "unknown_kind", "/kind"),
        ({"kind": "parcel.send"}, 422, "invalid_payload", "/payload/parcel_id"),
        ({"kind": "parcel.send", "payload": {"parcel_id": ""}}, 422, "invalid_payload", "/payload/parcel_id"),
        (SEND | {"payload": {"parcel_id": "1", "weight": "heavy"}}, 422, "invalid_payload", "/payload/weight"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(call: Call, body: Any, status: int, code: str, field: str) -> None:
    answer = call("POST", JOBS, body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert not Job.objects.exists()


def test_a_hidden_kind_is_as_unknown_as_none(call: Call) -> None:
    hidden = call("POST", JOBS, {"kind": "parcel.burn", "payload": {"parcel_id": "1"}})
    unknown = call("POST", JOBS, {"kind": "parcel.none", "payload": {"parcel_id": "1"}})

    assert hidden.json() == unknown.json()


def test_a_refusal_repeats_nothing_of_what_was_sent(call: Call) -> None:
    answer = call("POST", JOBS, SEND | {"payload": {"parcel_id": 5, "hunter2": "hunter2"}, "priority": "hunter2"})

    assert answer.status_code == 422
    assert b"hunter2" not in answer.content


@pytest.mark.parametrize("bad", BAD_JSON, ids=str)
def test_no_bad_body_makes_a_job(post: Post, bad: BadBody) -> None:
    answer = post(bad.body, bad.content_type)

    assert (answer.status_code, answer.json()["code"]) == (bad.status, bad.code)
    assert not Job.objects.exists()


@pytest.mark.parametrize("bad", [bad for bad in BAD_JSON if bad.is_value], ids=str)
def test_no_bad_payload_makes_a_job(post: Post, bad: BadBody) -> None:
    body = within(bad, b'{"kind": "parcel.store", "payload": {"value": %s}}').body

    answer = post(body)

    assert (answer.status_code, answer.json()["code"]) == (bad.status, bad.code)
    assert not Job.objects.exists()


def test_a_body_beyond_a_mebibyte_is_refused(call: Call) -> None:
    answer = call("POST", JOBS, {"kind": "parcel.store", "payload": {"text": "x" * 1024 * 1024}})

    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


# ---------------------------------------------------------------------------------------------- gates


def closed(code: str, *, kind: str = "parcel.send") -> Gate:
    def gate(request: SubmitRequest) -> Refusal | None:
        return Refusal(code, "Not now.") if request.kind == kind else None

    return gate


@pytest.mark.parametrize("code, status", [("project_suspended", 403), ("quota_exceeded", 429)])
def test_a_gate_refuses_with_its_own_code(call: Call, gates: Registry[Gate], code: str, status: int) -> None:
    gates.register("test", closed(code))

    refused = call("POST", JOBS, SEND)
    passed = call("POST", JOBS, {"kind": "parcel.store"})

    assert (refused.status_code, refused.json()["code"], passed.status_code) == (status, code, 202)
    assert [event["code"] for event in events("job.refused")] == [code]


# ---------------------------------------------------------------------------------------------- told to the log


def test_a_refused_creation_is_told_to_the_log(call: Call, ours: Tenant) -> None:
    call("POST", JOBS, {"kind": "no.such"})
    call("POST", JOBS, SEND | {"payload": {}})
    call("POST", JOBS, {"kind": 7})

    found = [(event["kind"], event["code"], event["count"]) for event in events("job.refused")]
    assert found == [
        ("no.such", "unknown_kind", 1),
        ("parcel.send", "invalid_payload", 1),
        ("", "validation_error", 1),
    ]
    shown = call("GET", "/api/v1/events?type=job.refused").json()["results"]
    assert [event["topics"] for event in shown] == [["status", "metrics"]] * 3
    assert {event["project_id"] for event in shown} == {str(ours.project.id)}


def test_refusals_beyond_ten_a_minute_are_counted_in_the_next_event(call: Call) -> None:
    for _ in range(MOST_A_MINUTE + 5):
        call("POST", JOBS, {"kind": "no.such"})
    assert len(events("job.refused")) == MOST_A_MINUTE

    RefusalRow.objects.update(window_began=dt.datetime.now(dt.UTC) - dt.timedelta(minutes=2))
    call("POST", JOBS, {"kind": "no.such"})

    found = events("job.refused")
    assert [event["count"] for event in found] == [1] * MOST_A_MINUTE + [6]
    assert [event["seq"] for event in found] == list(range(1, MOST_A_MINUTE + 2))
    assert len({event["subject_id"] for event in found}) == 1
    assert RefusalRow.objects.get().total == MOST_A_MINUTE + 6


def test_refusals_of_one_tenant_do_not_use_up_those_of_another(call: Call, theirs: Tenant) -> None:
    for _ in range(MOST_A_MINUTE + 1):
        call("POST", JOBS, {"kind": "no.such"})
    call("POST", JOBS, {"kind": "no.such"}, key=theirs.text)
    call("POST", JOBS, SEND | {"payload": {}})

    assert len(events("job.refused")) == MOST_A_MINUTE + 2


@pytest.mark.parametrize("headers, status", [({}, 401), ({"Authorization": "Bearer nonsense"}, 401)])
def test_a_stranger_is_not_told_to_the_log(client: Client, headers: dict[str, str], status: int) -> None:
    answer = client.post(JOBS, b"{}", content_type="application/json", headers=headers)

    assert answer.status_code == status
    assert not RefusalRow.objects.exists()


# ---------------------------------------------------------------------------------------------- again


def test_the_same_key_gives_the_first_answer_again(call: Call) -> None:
    first = call("POST", JOBS, SEND, Idempotency_Key="a-1")
    again = call("POST", JOBS, SEND, Idempotency_Key='"a-1"')
    other = call("POST", JOBS, SEND | {"priority": 1}, Idempotency_Key="a-1")

    assert (first.status_code, first.content) == (again.status_code, again.content)
    assert first.headers["Location"] == again.headers["Location"]
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert Job.objects.count() == 1


def test_a_refusal_is_not_kept_under_its_key(call: Call) -> None:
    refused = call("POST", JOBS, {"kind": "parcel.send"}, Idempotency_Key="a-1")
    accepted = call("POST", JOBS, SEND, Idempotency_Key="a-1")

    assert (refused.status_code, accepted.status_code) == (422, 202)


def test_a_malformed_key_is_refused(call: Call) -> None:
    answer = call("POST", JOBS, SEND, Idempotency_Key='"open')

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert not Job.objects.exists()


def test_a_unique_kind_takes_a_number_of_any_length(call: Call) -> None:
    class Counted(BaseModel):
        number: int

    @handler("parcel.count", payload=Counted, unique=Unique())
    def count(_job: Run[Counted]) -> Done:
        return Done()

    large, other = str(10**300 + 1), str(10**300 + 2)
    answers = [call("POST", JOBS, {"kind": "parcel.count", "payload": {"number": n}}) for n in (large, large, other)]
    many = call("POST", f"{JOBS}/batch", {"jobs": [{"kind": "parcel.count", "payload": {"number": large}}]})

    assert [answer.status_code for answer in answers] == [202, 200, 202]
    assert [job["id"] for job in many.json()["jobs"]] == [answers[0].json()["id"]]
    assert call("POST", f"{JOBS}/{answers[0].json()['id']}/cancel").status_code == 200
    assert call("POST", f"{JOBS}/{answers[0].json()['id']}/retry").status_code == 200


def test_a_large_batch_of_a_unique_kind_takes_few_locks(call: Call) -> None:
    jobs = [{"kind": "parcel.once", "payload": {"parcel_id": str(n)}} for n in range(200)]

    assert call("POST", f"{JOBS}/batch", {"jobs": jobs}).status_code == 202

    with connection.cursor() as cur:
        cur.execute("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
        assert cur.fetchone() == (1,)
