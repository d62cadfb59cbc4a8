"""What an operator does to jobs: only with the permission, with a reason, once, and with an audit record."""

import json
from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from events.models import AuditRecord, Event
from jobs.models import Job
from jobs.states import Status
from tests.integration.jobs.admin.conftest import THEIRS, Make

DEAD = {"status": Status.FAILED, "attempt": 3, "error": {"code": "timeout", "message": "too slow"}}


def address(job: Job, act: str) -> str:
    return reverse(f"admin:jobs_job_{act}", args=(job.id,))


def fresh(job: Job) -> Job:
    return Job.objects.get(project_id=job.project_id, id=job.id)


def said(answer: Any) -> str:
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def test_a_waiting_job_is_cancelled_with_a_reason(operator: Client, make: Make) -> None:
    job = make()

    answer = operator.post(address(job, "cancel"), {"reason": "ordered twice"})

    assert answer.headers["Location"] == reverse("admin:jobs_job_change", args=(job.id,))
    assert fresh(job).status == Status.CANCELLED
    record = AuditRecord.objects.get(subject_id=str(job.id))
    assert (record.action, record.actor, record.reason) == ("job.cancel", "user:olga", "ordered twice")
    assert record.project_id == job.project_id


def test_a_running_job_is_asked_to_stop(operator: Client, make: Make) -> None:
    job = make(status=Status.PROCESSING, claim_no=1, claimed_by=1)

    answer = operator.post(address(job, "cancel"), {"reason": "not needed"})

    assert (fresh(job).status, fresh(job).cancel_requested) == (Status.PROCESSING, True)
    assert "was asked to stop" in said(answer)


@pytest.mark.parametrize("status", [Status.FAILED, Status.REJECTED, Status.CANCELLED, Status.BLOCKED])
def test_an_ended_or_blocked_job_is_queued_again(operator: Client, make: Make, status: Status) -> None:
    job = make(**DEAD | {"status": status})

    operator.post(address(job, "retry"), {"reason": "the provider is back"})

    assert (fresh(job).status, fresh(job).attempt, fresh(job).error) == (Status.QUEUED, 0, None)
    assert AuditRecord.objects.get(subject_id=str(job.id)).action == "job.retry"


def test_a_second_click_does_nothing(operator: Client, make: Make) -> None:
    job = make(**DEAD)

    answers = [operator.post(address(job, "retry"), {"reason": "again"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [302, 302]
    assert "there is nothing to retry" in said(answers[1])
    assert Event.objects.filter(subject_id=job.id, type="job.redriven").count() == 1
    assert AuditRecord.objects.filter(subject_id=str(job.id)).count() == 1


def test_a_payload_is_edited_and_the_job_retried(operator: Client, make: Make) -> None:
    job = make(**DEAD)
    shown = operator.get(address(job, "edit-and-retry")).content.decode()

    operator.post(
        address(job, "edit-and-retry"),
        {"payload": json.dumps({"order_id": "o-2", "amount": 5}), "reason": "wrong order"},
    )

    assert "&quot;order_id&quot;: &quot;o-1&quot;" in shown
    assert fresh(job).payload == {"order_id": "o-2", "amount": 5}
    assert fresh(job).status == Status.QUEUED
    record = AuditRecord.objects.get(subject_id=str(job.id))
    assert record.action == "job.edit_and_retry"
    assert record.data["before"]["payload"]["order_id"] == "o-1"


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        ("{", "This is not JSON"),
        ("[1]", "The payload is a JSON object"),
        ('{"order_id": "o", "order_id": "p"}', "a name occurs twice"),
        ('{"order_id": NaN}', "NaN is not a JSON value"),
        ('{"amount": "many"}', "amount: "),
        ('{"amount": 1}', "order_id: Field required"),
        ('{"order_id": "\\u0000"}', "NUL"),
        ('{"order_id": "\\ud800"}', "payload"),
        ("[" * 5_000 + "]" * 5_000, "This is nested too deeply"),
        ("", "This field is required"),
    ],
    ids=lambda value: value[:24],
)
def test_a_payload_that_does_not_fit_is_refused_beside_its_field(
    operator: Client, make: Make, payload: str, complaint: str
) -> None:
    job = make(**DEAD)

    answer = operator.post(address(job, "edit-and-retry"), {"payload": payload, "reason": "wrong order"})

    assert answer.status_code == 200
    assert complaint in " ".join(answer.context["form"].errors.get("payload", []))
    assert fresh(job).payload == job.payload
    assert fresh(job).status == Status.FAILED


@pytest.mark.parametrize("act", ["cancel", "retry", "edit-and-retry"])
@pytest.mark.parametrize("reason", ["", "  ", "x", "y" * 501])
def test_without_a_proper_reason_nothing_is_done(operator: Client, make: Make, act: str, reason: str) -> None:
    job = make(**DEAD | {"status": Status.BLOCKED})

    answer = operator.post(address(job, act), {"reason": reason, "payload": '{"order_id": "o-2"}'})

    assert answer.status_code == 200
    assert answer.context["form"].errors["reason"]
    assert fresh(job).status == Status.BLOCKED
    assert not AuditRecord.objects.filter(subject_id=str(job.id)).exists()


@pytest.mark.parametrize("act", ["cancel", "retry", "edit-and-retry"])
def test_a_look_does_nothing(operator: Client, make: Make, act: str) -> None:
    job = make(**DEAD | {"status": Status.BLOCKED})

    assert operator.get(address(job, act)).status_code == 200
    assert fresh(job).status == Status.BLOCKED


@pytest.mark.parametrize("act", ["cancel", "retry", "edit-and-retry"])
def test_a_viewer_may_not_act(viewer: Client, make: Make, act: str) -> None:
    job = make(**DEAD | {"status": Status.BLOCKED})

    answers = [viewer.get(address(job, act)), viewer.post(address(job, act), {"reason": "because"})]

    assert [answer.status_code for answer in answers] == [403, 403]
    assert fresh(job).status == Status.BLOCKED


def test_each_act_has_a_permission_of_its_own(stranger: Client, make: Make) -> None:
    from django.contrib.auth.models import Permission, User

    user = User.objects.get(username="stan")
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_job", "retry_job"]))
    job = make(**DEAD | {"status": Status.BLOCKED})

    answers = {act: stranger.get(address(job, act)).status_code for act in ("cancel", "retry", "edit-and-retry")}

    assert answers == {"cancel": 403, "retry": 200, "edit-and-retry": 403}


def test_only_what_can_be_done_is_offered(operator: Client, viewer: Client, make: Make) -> None:
    done, waiting, dead = make(status=Status.PROCESSED), make(), make(**DEAD)

    def offered(client: Client, job: Job) -> list[str]:
        answer = client.get(reverse("admin:jobs_job_change", args=(job.id,)))
        return [act.name for act in answer.context["acts"]]

    assert [offered(operator, job) for job in (done, waiting, dead)] == [[], ["cancel"], ["retry", "edit-and-retry"]]
    assert [offered(viewer, job) for job in (done, waiting, dead)] == [[], [], []]


def test_a_form_from_elsewhere_is_refused(make: Make) -> None:
    from django.contrib.auth.models import User

    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_superuser("root"))
    job = make()

    assert client.post(address(job, "cancel"), {"reason": "a trap"}).status_code == 403
    assert fresh(job).status == Status.QUEUED


def test_a_job_that_is_not_there_is_not_found(operator: Client) -> None:
    assert operator.get(f"/admin/jobs/job/{THEIRS}/cancel/").status_code == 404
    assert operator.get("/admin/jobs/job/nonsense/cancel/").status_code in {302, 404}


# ------------------------------------------------------------------------------------------------ several at once
def select(client: Client, action: str, jobs: list[Job]) -> Any:
    chosen = {"action": action, "_selected_action": [str(job.id) for job in jobs]}
    return client.post(reverse("admin:jobs_job_changelist"), chosen, follow=True)


def test_selected_jobs_are_retried_with_one_reason(operator: Client, make: Make) -> None:
    jobs = [make(**DEAD), make(project=THEIRS, **DEAD), make()]

    asked = select(operator, "retry_selected", jobs)
    answer = operator.post(asked.redirect_chain[-1][0], {"reason": "the provider is back"})

    assert [fresh(job).status for job in jobs] == [Status.QUEUED] * 3
    assert AuditRecord.objects.filter(action="job.retry", reason="the provider is back").count() == 2
    assert "2 jobs were queued again" in said(answer)
    assert "1 left as they are" in said(answer)


def test_selected_jobs_are_cancelled_only_with_a_reason(operator: Client, make: Make) -> None:
    jobs = [make(), make()]

    asked = select(operator, "cancel_selected", jobs)
    operator.post(asked.redirect_chain[-1][0], {"reason": ""})
    before = [fresh(job).status for job in jobs]
    operator.post(asked.redirect_chain[-1][0], {"reason": "ordered twice"})

    assert before == [Status.QUEUED] * 2
    assert [fresh(job).status for job in jobs] == [Status.CANCELLED] * 2


def test_a_viewer_cannot_act_on_a_selection(viewer: Client, make: Make) -> None:
    job = make()
    form = reverse("admin:jobs_job_act_on_selected", args=("cancel",)) + f"?ids={job.id}"

    select(viewer, "cancel_selected", [job])

    assert viewer.post(form, {"reason": "because"}).status_code == 403
    assert fresh(job).status == Status.QUEUED


def test_a_payload_is_never_edited_for_several(operator: Client, make: Make) -> None:
    form = reverse("admin:jobs_job_act_on_selected", args=("edit-and-retry",))

    assert operator.get(f"{form}?ids={make(**DEAD).id}").status_code == 404


# ------------------------------------------------------------------------------------------------ nothing else
@pytest.mark.parametrize("page", ["add", "delete"])
def test_jobs_are_neither_added_nor_deleted(make: Make, page: str) -> None:
    from django.contrib.auth.models import User

    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    job = make()
    path = reverse("admin:jobs_job_add") if page == "add" else reverse("admin:jobs_job_delete", args=(job.id,))

    assert [client.get(path).status_code, client.post(path, {"post": "yes"}).status_code] == [403, 403]
    assert fresh(job).status == Status.QUEUED


def test_a_post_to_the_page_of_a_job_changes_nothing(operator: Client, make: Make) -> None:
    job = make()

    operator.post(reverse("admin:jobs_job_change", args=(job.id,)), {"status": "processed", "payload": "{}"})

    assert (fresh(job).status, fresh(job).payload) == (Status.QUEUED, job.payload)
