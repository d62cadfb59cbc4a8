"""The pages of the engine: who may see them, what they say, and what of a shelf can be changed."""

import datetime as dt
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from events.models import AuditRecord
from ingestion.models import Message
from jobs.admin.workers import state_of
from jobs.models import Attempt, Intervention, Job, Shelf, Worker
from jobs.states import Status
from projects import services as project_services
from tests.corpora.markup import text_of
from tests.integration.jobs.admin.conftest import OURS, Make

LISTS = [
    "job",
    "job/attempts",
    "worker",
    "shelf",
    "pause",
    "intervention",
    "limitkey",
    "limitrule",
    "kindsettings",
    "bulkact",
    "jobbatch",
]


def worker(**columns: object) -> Worker:
    given = {
        "name": "worker@host",
        "host": "host",
        "pid": 7,
        "parent_pid": 6,
        "queues": ["default"],
        "kinds": ["shop.pay"],
    }
    return Worker.objects.create(**given | columns)


def page_of(client: Client, job: Job) -> str:
    answer = client.get(f"/admin/jobs/job/{job.id}/change/")
    assert answer.status_code == 200
    return answer.content.decode()


# ------------------------------------------------------------------------------------------------ who may see
@pytest.mark.parametrize("path", ["", *(f"jobs/{name}/" for name in LISTS)])
def test_a_viewer_sees_every_list(viewer: Client, make: Make, path: str) -> None:
    make()
    worker()

    assert viewer.get(f"/admin/{path}").status_code == 200


@pytest.mark.parametrize("path", [f"jobs/{name}/" for name in LISTS])
def test_staff_without_permission_sees_none(stranger: Client, path: str) -> None:
    assert stranger.get(f"/admin/{path}").status_code == 403


def test_staff_without_permission_sees_no_job(stranger: Client, make: Make) -> None:
    job = make()

    assert stranger.get(f"/admin/jobs/job/{job.id}/change/").status_code == 403
    assert "Ask for the group" in stranger.get("/admin/").content.decode()


def test_whoever_is_not_of_the_staff_is_sent_to_the_login(db: None) -> None:
    client = Client()
    client.force_login(User.objects.create_user("customer"))

    assert client.get("/admin/jobs/job/").headers["Location"].startswith("/admin/login/")


@pytest.mark.parametrize("path", ["job", "worker", "intervention"])
def test_an_operator_may_neither_add_nor_delete(operator: Client, make: Make, path: str) -> None:
    make()

    assert operator.get(f"/admin/jobs/{path}/add/").status_code == 403


# ------------------------------------------------------------------------------------------------ the page of a job
def test_the_page_tells_the_story_of_a_job(viewer: Client, make: Make) -> None:
    project = project_services.create_project(name="Northwind", actor="system")
    job = make(
        project=project.id,
        payload={"order_id": "o-42"},
        metadata={"region": "eu"},
        status=Status.FAILED,
        attempt=3,
        error={"code": "timeout", "message": "The provider did not answer.", "retryable": True, "fingerprint": "ab12"},
        progress={"done": 2, "total": 4, "note": "half of it"},
    )
    now = timezone.now()
    Attempt.objects.create(
        job_id=job.id, project_id=job.project_id, claim_no=3, attempt=3, stage="process", outcome="failed",
        started_at=now, ended_at=now + dt.timedelta(seconds=1.5), worker_id=worker().pk, error=job.error,
        log=[{"at": 1_700_000_000.5, "message": "asking the provider", "order": "o-42"}],
    )  # fmt: skip

    text = text_of(page_of(viewer, job))

    for part in (
        "shop.pay", str(job.id), "failed", "Northwind", "3 of 3", "timeout", "The provider did not answer.", "50 %",
        "half of it", '"order_id": "o-42"', '"region": "eu"', "worker@host (7)", "1.50 s", "22:13:20.500",
        "asking the provider", '{"order": "o-42"}', "job.queued", "Timeline", "Queued",
    ):  # fmt: skip
        assert part in text, part


def test_a_late_job_is_marked(viewer: Client, make: Make) -> None:
    now = timezone.now()
    late = make(status=Status.PROCESSED, started_at=now - dt.timedelta(seconds=3), finished_at=now)

    assert "3.00 s (late)" in text_of(page_of(viewer, late))
    assert "3.00 s late" in text_of(viewer.get("/admin/jobs/job/").content.decode())


@pytest.mark.parametrize(
    ("status", "looked_up"), [(Status.PROCESSING, True), (Status.QUEUED, True), (Status.FAILED, False)]
)
def test_the_page_of_a_living_job_is_looked_up_again(
    viewer: Client, make: Make, status: Status, looked_up: bool
) -> None:
    job = make(status=status, claimed_by=1 if status == Status.PROCESSING else None)

    assert ('hx-trigger="every 2s"' in page_of(viewer, job)) == looked_up


def test_a_job_that_no_worker_knows_is_explained(viewer: Client, make: Make) -> None:
    assert "No live worker knows the kind shop.pay" in text_of(page_of(viewer, make()))


def test_a_job_on_a_paused_shelf_is_explained(viewer: Client, make: Make) -> None:
    job = make()
    Shelf.objects.update(paused=True)

    assert "are paused" in text_of(page_of(viewer, job))


def test_interventions_and_acts_stand_on_the_page(operator: Client, make: Make) -> None:
    job = make(status=Status.BLOCKED)
    row = Intervention.objects.create(id=UUID(int=3), subject_type="job", subject_id=str(job.id), reason="Which order?")
    operator.post(f"/admin/jobs/job/{job.id}/retry/", {"reason": "the second one"})

    page = page_of(operator, job)

    assert f"/admin/jobs/intervention/{row.pk}/change/" in page
    assert "Which order?" in page
    assert "the second one" in text_of(page)
    assert "user:olga" in page


def test_the_job_of_a_message_leads_to_the_message(viewer: Client, make: Make) -> None:
    job = make(kind="message.process")
    Message.objects.create(
        id=job.id, project_id=job.project_id, company_id=UUID(int=1), message_id=UUID(int=2), message_time=timezone.now(),
        size=2, body_sha256=b"0" * 32, body=b"{}",
    )  # fmt: skip

    assert f"/admin/ingestion/message/{job.id}/change/" in page_of(viewer, job)


def test_a_job_whose_events_are_gone_still_has_a_page(viewer: Client, make: Make) -> None:
    from django.db import connection

    job = make(status=Status.PROCESSED)
    with connection.cursor() as cursor:
        cursor.execute("delete from events_event")

    assert "The log does not go back that far." in page_of(viewer, job)


def test_a_job_of_a_kind_that_nobody_knows_has_a_page(operator: Client, make: Make) -> None:
    job = make(status=Status.FAILED, kind="gone.kind")

    answer = operator.post(f"/admin/jobs/job/{job.id}/edit-and-retry/", {"payload": "{}", "reason": "try"}, follow=True)

    assert "No handler is registered for the kind &#x27;gone.kind&#x27;" in answer.content.decode()
    assert Job.objects.get(id=job.id).status == Status.FAILED


# ------------------------------------------------------------------------------------------------ workers, shelves
@pytest.mark.parametrize(
    ("silent", "stopped", "state"),
    [(1, False, "live"), (13, False, "stale"), (13, True, "stopped"), (1, True, "stopped")],
)
def test_a_worker_is_live_stale_or_stopped(viewer: Client, make: Make, silent: int, stopped: bool, state: str) -> None:
    now = timezone.now()
    row = worker(heartbeat_at=now - dt.timedelta(seconds=silent), stopped_at=now if stopped else None)

    assert state_of(row, now) == state
    counts = {
        name: len(viewer.get(f"/admin/jobs/worker/?state={name}").context["cl"].result_list)
        for name in ("live", "stale", "stopped")
    }
    assert counts == {name: int(name == state) for name in counts}


def test_a_shelf_is_paused_with_a_reason(operator: Client, make: Make) -> None:
    make()
    shelf = Shelf.objects.get()
    path = f"/admin/jobs/shelf/{shelf.pk}/change/"

    refused = operator.post(path, {"paused": "on", "reason": ""})
    before = Shelf.objects.get().paused
    operator.post(path, {"paused": "on", "reason": "the provider is down", "weight": 99, "kind": "other"})

    assert (refused.status_code, before) == (200, False)
    assert (Shelf.objects.get().paused, Shelf.objects.get().weight, Shelf.objects.get().kind) == (True, 1, "shop.pay")
    record = AuditRecord.objects.get(action="shelf.pause")
    assert (record.actor, record.reason, record.project_id) == ("user:olga", "the provider is down", OURS)


def test_a_paused_shelf_is_opened_once(operator: Client, make: Make) -> None:
    make()
    Shelf.objects.update(paused=True)

    for _ in range(2):
        operator.post(f"/admin/jobs/shelf/{Shelf.objects.get().pk}/change/", {"reason": "it is back"})

    assert not Shelf.objects.get().paused
    assert AuditRecord.objects.filter(action="shelf.open").count() == 1


def test_a_viewer_changes_no_shelf(viewer: Client, make: Make) -> None:
    make()

    answer = viewer.post(f"/admin/jobs/shelf/{Shelf.objects.get().pk}/change/", {"paused": "on", "reason": "because"})

    assert answer.status_code == 403
    assert not Shelf.objects.get().paused
