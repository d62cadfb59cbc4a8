"""POST /job-events: what other systems report stands in the project's log."""

from typing import Any

import pytest
from django.db import connection

from events.models import Event
from events.services import LARGEST_DATA, report
from projects import services
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["call", "ours", "theirs"]

pytestmark = pytest.mark.django_db

JOB_EVENTS, EVENTS = "/api/v1/job-events", "/api/v1/events"
ARRIVED: dict[str, Any] = {"type": "payment.arrived", "subject": "order-7", "data": {"amount": 12.5}}


def test_an_event_is_reported_and_found(call: Call, ours: Tenant) -> None:
    answer = call("POST", JOB_EVENTS, ARRIVED)

    assert answer.status_code == 201
    event = answer.json()
    assert event | {"id": "", "occurred_at": "", "subject_id": ""} == {
        "id": "",
        "type": "payment.arrived",
        "seq": 1,
        "occurred_at": "",
        "subject_id": "",
        "project_id": str(ours.project.id),
        "topics": ["job_events"],
        "data": {"subject": "order-7", "data": {"amount": 12.5}},
    }
    for query in ("", "?type=payment.arrived", f"?subject_id={event['subject_id']}"):
        assert call("GET", f"{EVENTS}{query}").json()["results"] == [event]


def test_events_of_one_subject_are_counted_whatever_their_type(call: Call, theirs: Tenant) -> None:
    told = [
        call("POST", JOB_EVENTS, {"type": name, "subject": subject}).json()
        for name, subject in (("order.paid", "7"), ("order.sent", "7"), ("order.paid", "8"), ("order.paid", ""))
    ]
    other = call("POST", JOB_EVENTS, {"type": "order.paid", "subject": "7"}, key=theirs.text).json()

    assert [event["seq"] for event in told] == [1, 2, 1, 1]
    assert len({event["subject_id"] for event in [*told, other]}) == 4


def test_the_same_id_is_told_once(call: Call, theirs: Tenant) -> None:
    first = call("POST", JOB_EVENTS, ARRIVED | {"id": "pay-1"})
    again = call("POST", JOB_EVENTS, ARRIVED | {"id": "pay-1"})
    keyed = call("POST", JOB_EVENTS, ARRIVED | {"id": "pay-1"}, Idempotency_Key="another")
    other = call("POST", JOB_EVENTS, ARRIVED | {"id": "pay-1"}, key=theirs.text)

    assert [answer.status_code for answer in (first, again, keyed, other)] == [201] * 4
    assert again.content == first.content == keyed.content
    assert first.json()["data"]["id"] == "pay-1"
    assert Event.objects.filter(type="payment.arrived").count() == 2
    assert other.json()["project_id"] == str(theirs.project.id)


def test_an_id_that_was_given_to_something_else_is_refused(call: Call) -> None:
    call("POST", JOB_EVENTS, ARRIVED | {"id": "pay-1"})
    answer = call("POST", JOB_EVENTS, ARRIVED | {"id": "pay-1", "subject": "order-8"})

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Event.objects.filter(type="payment.arrived").count() == 1


def test_a_request_that_is_sent_again_with_its_key_is_told_once(call: Call) -> None:
    first, again = (call("POST", JOB_EVENTS, ARRIVED, Idempotency_Key="k-1") for _ in range(2))

    assert (again.content, again.headers["Idempotency-Replayed"]) == (first.content, "true")
    assert Event.objects.filter(type="payment.arrived").count() == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"type": "job.processed"}, "reserved_event_type"),
        ({"type": "job.invented"}, "reserved_event_type"),
        ({"type": "webhook.delivered"}, "reserved_event_type"),
        ({"type": "payment"}, "invalid_event_type"),
        ({"type": "Payment.Arrived"}, "invalid_event_type"),
        ({"type": "payment..arrived"}, "invalid_event_type"),
        ({"type": "payment.arrived\n"}, "invalid_event_type"),
        ({"type": ""}, "validation_error"),
        ({"type": f"payment.{'a' * 100}"}, "validation_error"),
        ({"type": None}, "validation_error"),
        ({"subject": "a\nb"}, "invalid_subject"),
        ({"subject": "a" * 201}, "validation_error"),
        ({"subject": 7}, "validation_error"),
        ({"data": []}, "validation_error"),
        ({"data": {"a": "b" * LARGEST_DATA}}, "data_too_large"),
        ({"id": "with space"}, "validation_error"),
        ({"id": ""}, "validation_error"),
        ({"project_id": "x"}, "validation_error"),
    ],
)
def test_what_does_not_fit_is_refused_and_not_told(call: Call, changes: dict[str, Any], code: str) -> None:
    answer = call("POST", JOB_EVENTS, ARRIVED | changes)

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert not Event.objects.filter(type__startswith="payment").exists()


def test_a_key_without_the_scope_reports_nothing(call: Call, ours: Tenant) -> None:
    key = services.issue_key(project_id=ours.project.id, name="r", scopes_asked=["events:read"], actor="system").text
    answer = call("POST", JOB_EVENTS, ARRIVED, key=key)

    assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")


@pytest.mark.parametrize("name", ["job.lost", "Payment", "payment.", "payment", "a..b"])
def test_a_type_that_nobody_can_report_is_no_filter(call: Call, name: str) -> None:
    answer = call("GET", f"{EVENTS}?type={name}")

    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_event_type")


def test_who_reports_about_one_subject_waits_for_one_another(ours: Tenant) -> None:
    report(project_id=ours.project.id, event_type="order.paid", subject="7")
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()")
        assert cursor.fetchone() == (1,)


@pytest.mark.parametrize("data", [{"a": "\0"}, {"\0": 1}, {"a": [{"b": "\0"}]}, {"a": "\ud800"}, {"a": object()}])
def test_a_handler_is_told_what_the_log_cannot_hold(ours: Tenant, data: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"NUL|JSON") as raised:
        report(project_id=ours.project.id, event_type="order.paid", data=data)

    assert getattr(raised.value, "code", "") == "invalid_data"
