"""What the API says of a job that waits for an event, and how a person wakes it."""

from typing import Any

import pytest
from django.test import Client

from events.models import AuditRecord
from jobs import awaiting
from jobs.models import Awaited, Job
from tests.integration.jobs.conftest import JOBS, Make, kinds, make
from tests.integration.jobs.waiting_kinds import parked, run, waiting
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["call", "kinds", "make", "ours", "theirs", "waiting"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("waiting")]


@pytest.fixture
def job(ours: Tenant) -> str:
    """A job that waits."""
    return str(parked(project_id=ours.project.id))


def test_a_job_shows_what_it_waits_for(call: Call, job: str) -> None:
    shown = call("GET", f"{JOBS}/{job}").json()

    assert shown["awaiting"] == {"type": "payment.arrived", "subject": "order-7", "until": shown["due_at"]}
    for query in ("", "?status=parked"):
        (listed,) = call("GET", f"{JOBS}{query}").json()["results"]
        assert listed == shown


def test_it_is_explained(call: Call, job: str) -> None:
    why = call("GET", f"{JOBS}/{job}/explain").json()

    assert why["code"] == "waits_for_event"
    assert "payment.arrived about order-7, until 20" in why["detail"]
    assert (why["facts"]["event"], why["facts"]["event_subject"]) == ("payment.arrived", "order-7")


def test_a_job_that_is_parked_until_a_time_waits_for_nothing_else(call: Call, make: Make) -> None:
    job = make(status="parked")

    assert call("GET", f"{JOBS}/{job}").json()["awaiting"] is None
    assert call("GET", f"{JOBS}/{job}/explain").json()["code"] == "parked"


def test_a_person_resumes_it_with_data(call: Call, job: str) -> None:
    answer = call("POST", f"{JOBS}/{job}/resume", {"reason": "they called", "data": {"amount": 1}})
    assert (answer.status_code, answer.json()["status"], answer.json()["awaiting"]) == (200, "queued", None)
    assert not Awaited.objects.exists()
    run()

    shown = call("GET", f"{JOBS}/{job}").json()
    assert shown["output"] == {"type": awaiting.RESUMED, "subject": job, "data": {"amount": 1}}
    (record,) = AuditRecord.objects.filter(subject_id=job, action="job.resume")
    assert record.reason == "they called"
    again = call("POST", f"{JOBS}/{job}/resume")
    assert (again.status_code, again.json()["code"]) == (409, "wrong_status")


def test_a_job_that_is_parked_until_a_time_is_resumed_as_well(call: Call, make: Make) -> None:
    job = make(status="parked")

    assert call("POST", f"{JOBS}/{job}/resume").json()["status"] == "queued"


@pytest.mark.parametrize("data", [{"a": "b" * 70_000}])
def test_data_that_is_too_large_wakes_nobody(call: Call, job: str, data: dict[str, Any]) -> None:
    answer = call("POST", f"{JOBS}/{job}/resume", {"data": data})

    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_data")
    assert Job.objects.get(id=job).status == "parked"


def test_a_blocked_job_takes_no_data(call: Call, make: Make) -> None:
    answer = call("POST", f"{JOBS}/{make(status='blocked')}/resume", {"data": {}})

    assert (answer.status_code, answer.json()["code"]) == (422, "data_not_allowed")


def test_a_cancelled_job_waits_no_more(call: Call, job: str) -> None:
    assert call("POST", f"{JOBS}/{job}/cancel").json()["awaiting"] is None
    assert not Awaited.objects.exists()


def test_another_tenant_cannot_wake_it(call: Call, theirs: Tenant, job: str) -> None:
    assert call("POST", f"{JOBS}/{job}/resume", key=theirs.text).status_code == 404
    assert Job.objects.get(id=job).status == "parked"


def test_an_operator_wakes_it_in_the_admin(admin_client: Client, job: str) -> None:
    page = admin_client.get(f"/admin/jobs/job/{job}/change/")
    assert b"payment.arrived" in page.content
    assert b"../wake/" in page.content
    assert b"It waits for the event payment.arrived about order-7" in page.content

    wrong = admin_client.post(f"/admin/jobs/job/{job}/wake/", {"given": "[]", "reason": "because"})
    assert b"The data are a JSON object" in wrong.content
    admin_client.post(f"/admin/jobs/job/{job}/wake/", {"given": '{"amount": 2}', "reason": "because"})
    run()
    assert Job.objects.get(id=job).output == {"type": awaiting.RESUMED, "subject": job, "data": {"amount": 2}}
