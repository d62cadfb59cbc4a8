"""No text that a tenant, a handler or an operator wrote comes alive on a page of the admin."""

from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.test import Client

from events import audit, log
from events.models import Consumer
from jobs import extensions
from jobs.models import Attempt, Intervention, Job, Shelf, Worker
from jobs.states import Status
from tests.corpora.markup import ELEMENT, MARKUP, harm_in, text_of
from tests.integration.jobs.admin.conftest import OURS, Make

STORABLE = [text.replace("\0", "") for text in MARKUP]
PAGES = [
    "/admin/",
    "/admin/jobs/job/",
    "/admin/jobs/job/?status=failed",
    "/admin/jobs/job/?status=blocked",
    "/admin/jobs/job/attempts/",
    "/admin/jobs/shelf/",
    "/admin/jobs/worker/",
    "/admin/jobs/intervention/",
    "/admin/events/event/",
    "/admin/events/consumer/",
    "/admin/events/auditrecord/",
]


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def fill(make: Make, evil: str, number: int = 0) -> Job:
    """A text in every place where somebody outside can put one."""
    nested = {"text": evil, evil: [evil, {evil: None}]}
    error = {"code": evil, "message": evil, "retryable": False, "fingerprint": evil}
    columns: dict[str, Any] = {
        "metadata": {"text": evil},
        "output": nested,
        "error": error,
        "steps": nested,
        "progress": {"done": 1, "total": 3, "note": evil},
        "lane": evil,
        "kind": evil,
        "stage": evil,
        "attempt": 1,
    }
    make(status=Status.BLOCKED, payload=nested, **columns | {"metadata": nested})
    make(status=Status.QUEUED, payload=nested, **columns | {"metadata": nested, "cancel_requested": True})
    job = make(status=Status.FAILED, payload=nested, **columns | {"metadata": nested})
    worker = Worker.objects.create(name=evil, host=evil, pid=1, parent_pid=1, queues=[evil], kinds=[evil])
    Attempt.objects.create(
        job_id=job.id, project_id=job.project_id, claim_no=1, attempt=1, stage=evil, outcome=evil, error=error,
        started_at=job.created_at, ended_at=job.created_at, worker_id=worker.pk, metrics={evil: 1},
        log=[{"at": 1, "message": evil, evil: evil}, evil, {"at": evil, "message": nested}],
    )  # fmt: skip
    Intervention.objects.create(
        id=UUID(int=2 * number + 3),
        subject_type="job",
        subject_id=str(job.id),
        reason=evil,
        evidence=nested,
        actions=[evil],
    )
    Intervention.objects.create(
        id=UUID(int=2 * number + 4), subject_type=evil, subject_id=evil, reason=evil, resolved_by=evil
    )
    Shelf.objects.filter(id=job.shelf_id).update(kind=evil)
    Consumer.objects.create(name=evil[:100], error=evil)
    log.append([log.NewEvent(OURS, "job.failed", job.id, 9, nested)])
    audit.record(action=evil, actor=evil, subject_type="job", subject_id=job.id, reason=evil, data=nested)
    audit.record(action=evil, actor=evil, subject_type=evil, subject_id=evil, reason=evil)
    return job


def test_no_list_lets_a_stored_text_come_alive(root: Client, make: Make) -> None:
    for number, evil in enumerate(STORABLE):
        fill(make, evil, number)

    for path in PAGES:
        answer = root.get(path)
        assert answer.status_code == 200, path
        assert harm_in(answer.content.decode()) == [], path


@pytest.mark.parametrize("evil", STORABLE, ids=range(len(STORABLE)))
def test_no_page_lets_a_stored_text_come_alive(root: Client, make: Make, evil: str) -> None:
    job = fill(make, evil)
    pages = [f"jobs/job/{job.id}/{page}" for page in ("change", "retry", "edit-and-retry")]
    pages += [f"jobs/worker/{Worker.objects.get().pk}/change", f"jobs/shelf/{job.shelf_id}/change"]
    pages += [f"jobs/intervention/{row.pk}/change" for row in Intervention.objects.all()]

    for page in pages:
        answer = root.get(f"/admin/{page}/")
        assert answer.status_code == 200, page
        assert harm_in(answer.content.decode()) == [], page


def test_what_was_stored_is_readable(root: Client, make: Make) -> None:
    evil = f"<{ELEMENT}>&lt;b&gt;"
    job = fill(make, evil)

    seen = text_of(root.get(f"/admin/jobs/job/{job.id}/change/").content.decode())

    assert seen.count(evil) > 10


def test_a_search_shows_its_question_as_text(root: Client) -> None:
    for evil in MARKUP:
        answer = root.get("/admin/jobs/job/", {"q": evil})
        assert harm_in(answer.content.decode()) == []
        answer = root.get("/admin/jobs/job/attempts/", {"job": evil, "outcome": evil, "before": evil})
        assert harm_in(answer.content.decode()) == []


def test_a_refused_payload_is_shown_as_text(root: Client, make: Make) -> None:
    job = make(status=Status.FAILED)
    for evil in MARKUP:
        answer = root.post(f"/admin/jobs/job/{job.id}/edit-and-retry/", {"payload": evil, "reason": evil})
        assert harm_in(answer.content.decode()) == []


def test_what_an_app_says_about_a_job_is_text(root: Client, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    sections: extensions.Registry[extensions.Section] = extensions.Registry("job section")
    sections.register(
        "proof", lambda _job: {"tx": MARKUP[0], "more": {"a": MARKUP[1]}, "project_id": MARKUP[2], "none": None}
    )
    sections.register("silent", lambda _job: None)
    monkeypatch.setattr(extensions, "job_sections", sections)

    page = root.get(f"/admin/jobs/job/{make().id}/change/").content.decode()

    assert harm_in(page) == []
    assert MARKUP[0] in text_of(page)
    assert "Silent" not in page


def test_the_guard_sees_what_comes_alive() -> None:
    assert harm_in(f"<p>{MARKUP[0]}</p>") == [f"<{ELEMENT}>", f"<{ELEMENT} onclick>"]
    assert harm_in("<script>1</script><a href=' JavaScript:1'>") == ["<script>", "<a href= JavaScript:1>"]
    assert harm_in('<b x-init="alert(1)">') == ["<b x-init=alert(1)>"]
    assert harm_in("<script src=/a.js></script><p>&lt;x-evil&gt;</p>") == []
