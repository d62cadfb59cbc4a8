"""What an operator decides about a blocked job: with a look ahead, a reason, once, and the way there."""

from uuid import uuid4

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from events.models import AuditRecord, Event
from jobs.models import Intervention, Job, Lane
from jobs.states import Gate, Status
from tests.integration.jobs.admin.conftest import Make
from tests.integration.jobs.admin.test_acts import address, fresh

STUCK = {"status": Status.BLOCKED, "attempt": 3, "error": {"code": "timeout", "message": "too slow"}}


@pytest.fixture
def blocked(make: Make) -> Job:
    """The first job of a lane; another one waits behind it."""
    job = make(lane="a", lane_no=1, **STUCK)
    make(lane="a", lane_no=2, gate=Gate.LANE)
    Intervention.objects.create(
        id=uuid4(),
        project_id=job.project_id,
        subject_type="job",
        subject_id=str(job.id),
        reason="attempts_exhausted",
        evidence={"error": STUCK["error"]},
        actions=["retry", "edit_and_retry", "resume", "skip", "supply"],
    )
    Lane.objects.create(project_id=job.project_id, lane="a", last_no=2)
    return job


@pytest.mark.parametrize(
    ("act", "given", "status", "action"),
    [
        ("resume", {}, Status.QUEUED, "resume"),
        ("skip", {}, Status.CANCELLED, "skip"),
        ("supply", {"output": '{"paid": true}'}, Status.PROCESSED, "supply"),
        ("retry", {}, Status.QUEUED, "resume"),
    ],
)
def test_a_decision_is_taken_once_and_kept(  # noqa: PLR0917 - a row of the table
    operator: Client, blocked: Job, act: str, given: dict[str, str], status: Status, action: str
) -> None:
    for _ in range(2):
        operator.post(address(blocked, act), {"reason": "the provider said so", **given})

    assert fresh(blocked).status == status
    asked = Intervention.objects.get()
    assert (asked.action, asked.resolved_by, asked.decision_reason) == (action, "user:olga", "the provider said so")
    assert [record.action for record in AuditRecord.objects.filter(subject_id=str(blocked.id))] == [f"job.{act}"]
    behind = Job.objects.get(lane_no=2)
    assert behind.gate == (Gate.LANE if status == Status.QUEUED else 0)


def test_the_page_of_an_act_tells_what_will_follow(operator: Client, blocked: Job) -> None:
    behind = Job.objects.get(lane_no=2)

    skip = operator.get(address(blocked, "skip")).content.decode()
    retry = operator.get(address(blocked, "retry")).content.decode()

    assert "The job will be cancelled" in skip
    assert f"1 waits behind it in the lane a; {behind.id} runs next." in skip
    assert "The job will be queued, at attempt 0" in retry
    assert "1 waits behind it in the lane a, until it has ended." in retry


@pytest.mark.parametrize(
    ("output", "complaint"),
    [("{", "This is not JSON"), ("null", "other than null"), ('"a\\u0000b"', "no NUL character"), ("", "required")],
)
def test_an_output_that_cannot_be_kept_is_refused_beside_its_field(
    operator: Client, blocked: Job, output: str, complaint: str
) -> None:
    answer = operator.post(address(blocked, "supply"), {"reason": "by hand", "output": output})

    assert complaint in answer.content.decode()
    assert fresh(blocked).status == Status.BLOCKED


def test_a_supplied_output_is_published(operator: Client, blocked: Job) -> None:
    operator.post(address(blocked, "supply"), {"reason": "by hand", "output": '{"paid": true}'})

    event = Event.objects.get(subject_id=blocked.id, type="job.processed")
    assert event.data["output"] == {"paid": True}
    assert fresh(blocked).output == {"paid": True}


def test_the_intervention_leads_to_what_may_be_decided(operator: Client, blocked: Job) -> None:
    asked = Intervention.objects.get()
    page = operator.get(reverse("admin:jobs_intervention_change", args=(asked.id,))).content.decode()

    for act in ("retry", "edit-and-retry", "resume", "skip", "supply"):
        assert address(blocked, act) in page

    operator.post(address(blocked, "skip"), {"reason": "withdrawn"})
    page = operator.get(reverse("admin:jobs_intervention_change", args=(asked.id,))).content.decode()
    assert "skip by user:olga" in page
    assert address(blocked, "skip") not in page


def test_only_a_blocked_job_is_decided(operator: Client, make: Make) -> None:
    job = make()

    answer = operator.post(address(job, "supply"), {"reason": "by hand", "output": "{}"})

    assert "there is nothing to supply" in " ".join(str(message) for message in get_messages(answer.wsgi_request))
    assert fresh(job).status == Status.QUEUED


def test_a_viewer_decides_nothing(viewer: Client, blocked: Job) -> None:
    for act in ("resume", "skip", "supply"):
        answer = viewer.post(address(blocked, act), {"reason": "by hand", "output": "{}"})
        assert answer.status_code == 403
    assert fresh(blocked).status == Status.BLOCKED


def test_the_page_of_the_first_job_of_a_lane_says_how_many_wait_behind_it(operator: Client, blocked: Job) -> None:
    behind = Job.objects.get(lane_no=2)
    first, second = (
        operator.get(reverse("admin:jobs_job_change", args=(job.id,))).content.decode() for job in (blocked, behind)
    )

    assert "1 behind it, the first since <time" in first
    assert f"{reverse('admin:jobs_job_changelist')}?q=a" in first
    assert "behind it" not in second
    assert "1 of its lane go before it; the first of them is blocked." in second
