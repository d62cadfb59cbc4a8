"""Acts on many jobs: what a filter names is done slice by slice, and whoever goes on begins where the last one ended."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from events.models import AuditRecord, Event
from jobs import bulk, pauses, registry, services
from jobs.errors import BulkActNotFound, InvalidOption
from jobs.models import BulkAct, Job, Shelf
from jobs.states import Status
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.admin.conftest import operator, viewer
from tests.integration.jobs.booking import booking, run, statuses, submit
from tests.integration.jobs.conftest import JOBS
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["booking", "call", "operator", "ours", "theirs", "viewer"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("booking")]

BULK = f"{JOBS}/bulk"
OTHER = UUID(int=8)


@pytest.fixture(autouse=True)
def small_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "SLICE", 3)


def begin(verb: str, project_id: UUID = PROJECT, priority: int | None = None, **stored: Any) -> BulkAct:
    return bulk.begin(
        project_id=project_id, verb=verb, stored=stored, actor="tests", reason="because", priority=priority
    )


def finish(act: BulkAct) -> BulkAct:
    for _ in range(100):
        act = bulk.step(act.id)
        if act.status != bulk.RUNNING:
            return act
    raise AssertionError


def test_all_that_the_filter_names_are_cancelled_and_nobody_else() -> None:
    wanted = submit(*[""] * 8, lane=None)
    others = submit("", lane=None, kind="account.note") + submit("", lane=None, project_id=OTHER)
    act = begin("cancel", kind="account.book")
    later = submit("", lane=None)

    ended = finish(act)

    assert statuses(wanted) == ["cancelled"] * 8
    assert statuses(others + later) == ["queued"] * 3
    assert (ended.matched, ended.done, ended.skipped, ended.status) == (8, 8, 0, "done")
    event = Event.objects.get(subject_id=wanted[0], type="job.cancelled")
    assert event.data == {"kind": "account.book", "reason": "because", "actor": "tests"}
    assert AuditRecord.objects.get(action="jobs.cancel").data["filter"] == {"kind": "account.book"}


def test_what_runs_is_asked_to_stop() -> None:
    ids = submit("", lane=None)
    Worker(registry.get("account.book"), "one").claim()

    finish(begin("cancel", ids=[str(job_id) for job_id in ids]))

    assert Job.objects.get(id=ids[0]).cancel_requested


def test_who_goes_on_begins_where_the_last_one_ended_and_does_nothing_twice() -> None:
    ids = submit(*["reject"] * 7, lane=None)
    for _ in ids:
        run()
    act = begin("retry", status="rejected")
    bulk.step(act.id)
    assert statuses(ids).count("queued") == 3
    for _ in range(3):
        run()  # they are rejected once more, and behind the cursor

    finish(act)

    assert Event.objects.filter(type="job.redriven").count() == 7
    assert bulk.step(act.id).matched == 7


def test_blocked_and_ended_jobs_are_retried_in_their_lanes() -> None:
    blocked = submit("fail", "")
    run()
    rejected = submit("reject", "", lane="b")
    run()
    assert statuses(blocked + rejected) == ["blocked", "queued", "rejected", "queued"]
    act = begin("retry", kind="account.book")

    ended = finish(act)

    assert ended.done == 2
    assert statuses(blocked + rejected) == ["queued"] * 4
    assert Job.objects.get(id=rejected[0]).gate == 1  # its old turn has passed


def test_a_job_whose_unique_key_another_has_is_skipped() -> None:
    (first,) = submit("reject", lane=None, kind="account.open")
    run("account.open")
    (second,) = submit("", lane=None, kind="account.open")

    ended = finish(begin("retry", kind="account.open"))

    assert statuses([first, second]) == ["rejected", "queued"]
    assert (ended.done, ended.skipped) == (0, 1)


def test_a_new_priority_reaches_the_claim() -> None:
    first, second = submit("", "", lane=None)

    finish(begin("set_priority", priority=50, ids=[str(second)]))

    assert run() == [second]
    assert Job.objects.get(id=first).priority == 0


def test_an_act_that_is_aborted_stops_behind_its_slice() -> None:
    ids = submit(*[""] * 7, lane=None)
    act = begin("cancel", kind="account.book")
    bulk.step(act.id)
    bulk.abort(project_id=PROJECT, act_id=act.id, actor="tests", reason="too wide")

    assert finish(act).status == "aborted"
    assert statuses(ids).count("cancelled") == 3
    bulk.abort(project_id=PROJECT, act_id=act.id, actor="tests", reason="again")
    assert AuditRecord.objects.filter(action="jobs.bulk_abort").count() == 1


def test_its_own_job_does_it_and_answers_with_the_counts() -> None:
    ids = submit(*[""] * 4, lane=None)
    act = begin("cancel", kind="account.book")

    (own,) = run("jobs.bulk")

    assert statuses(ids) == ["cancelled"] * 4
    output = Job.objects.get(id=own).output
    assert output == {"status": "done", "matched": 4, "done": 4, "skipped": 0}
    assert bulk.get(PROJECT, act.id).finished_at is not None


def test_a_dry_run_looks_at_so_many_jobs_and_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    """Among millions that the act would not touch it would walk to the end, while a request waits."""
    monkeypatch.setattr(bulk, "COUNTED", 6)
    for _ in range(20):
        submit("", lane=None)

    with CaptureQueriesContext(connection) as asked:
        assert bulk.count(PROJECT, "retry", {"kind": "account.book"}) == bulk.Count(0, more=True)
    assert len(asked) <= 2 * 2


def test_a_dry_run_counts_and_changes_nothing() -> None:
    submit(*[""] * 5, lane=None)
    services.cancel(project_id=PROJECT, job_id=submit("", lane=None)[0], actor="tests")

    assert bulk.count(PROJECT, "cancel", {"kind": "account.book"}) == bulk.Count(5, more=False)
    assert Job.objects.filter(status=Status.QUEUED).count() == 5


@pytest.mark.parametrize(
    ("verb", "stored", "priority", "code"),
    [
        ("cancel", {}, None, "empty_filter"),
        ("explode", {"kind": "a.b"}, None, "invalid_option"),
        ("set_priority", {"kind": "a.b"}, None, "invalid_option"),
        ("cancel", {"kind": "a.b"}, 5, "invalid_option"),
    ],
)
def test_an_act_that_cannot_be_is_refused(verb: str, stored: dict[str, Any], priority: int | None, code: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        begin(verb, priority=priority, **stored)
    assert refused.value.code == code


# ---------------------------------------------------------------------------------------------- over HTTP


def test_an_act_is_stored_and_polled(call: Call, ours: Tenant, theirs: Tenant) -> None:
    ids = submit(*[""] * 4, lane=None, project_id=ours.project.id)
    other = submit("", lane=None, project_id=theirs.project.id)
    body = {"verb": "cancel", "filter": {"kind": "account.book"}, "reason": "withdrawn"}
    assert call("POST", BULK, body | {"dry_run": True}).json() == {"matched": 4, "more": False}

    answer = call("POST", BULK, body)
    assert answer.status_code == 202
    assert answer.json()["status"] == "running"
    run("jobs.bulk")

    shown = call("GET", answer.headers["Location"]).json()
    assert (shown["status"], shown["done"], shown["verb"], shown["filter"]) == (
        "done", 4, "cancel", {"kind": "account.book"},
    )  # fmt: skip
    assert statuses(ids + other) == ["cancelled"] * 4 + ["queued"]
    assert [row["id"] for row in call("GET", BULK).json()["results"]] == [shown["id"]]
    assert call("POST", shown["links"]["abort"]).json()["status"] == "done"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"filter": {}}, "empty_filter"),
        ({"filter": {"metadata": {}}}, "empty_filter"),
        ({"filter": {"colour": "red"}}, "validation_error"),
        ({"verb": "explode"}, "validation_error"),
        ({"reason": ""}, "validation_error"),
        ({"priority": 3}, "invalid_option"),
        ({"filter": {"ids": ["x"]}}, "validation_error"),
    ],
)
def test_a_request_that_does_not_fit_is_refused(call: Call, change: dict[str, Any], code: str) -> None:
    body = {"verb": "cancel", "filter": {"kind": "account.book"}, "reason": "withdrawn"} | change

    answer = call("POST", BULK, body)

    assert answer.status_code in {400, 422}
    assert answer.json()["code"] == code
    assert not BulkAct.objects.exists()


def test_another_projects_act_is_not_there(call: Call, theirs: Tenant) -> None:
    act = begin("cancel", project_id=theirs.project.id, kind="account.book")

    for method, path in (("GET", f"{BULK}/{act.id}"), ("POST", f"{BULK}/{act.id}/abort"), ("GET", f"{BULK}/{uuid4()}")):
        assert (call(method, path).status_code, call(method, path).json()["code"]) == (404, "bulk_act_not_found")
    with pytest.raises(BulkActNotFound):
        bulk.abort(project_id=PROJECT, act_id=act.id, actor="tests", reason="")


def test_every_filter_is_understood() -> None:
    stored = {
        "kind": "account.book", "status": "queued", "stage": "process", "lane": "a", "error_code": "x",
        "batch_id": str(uuid4()), "created_after": "2026-01-01T00:00:00Z", "created_before": "2027-01-01T00:00:00Z",
        "metadata": {"a": "b"}, "ids": [str(uuid4())],
    }  # fmt: skip
    assert bulk.count(PROJECT, "cancel", stored) == bulk.Count(0, more=False)


def test_an_act_is_watched_and_stopped_in_the_admin(operator: Client, viewer: Client) -> None:
    submit(*[""] * 7, lane=None)
    act = begin("cancel", kind="account.book")
    bulk.step(act.id)
    page = f"/admin/jobs/bulkact/{act.id}/change/"
    assert "running" in operator.get(page).content.decode()

    assert viewer.post(page, {"why_stop": "too wide"}).status_code == 403
    operator.post(page, {"why_stop": ""})
    assert bulk.get(PROJECT, act.id).status == "running"
    operator.post(page, {"why_stop": "too wide"})

    assert bulk.get(PROJECT, act.id).status == "aborted"
    assert operator.post(page, {"why_stop": "once more"}).status_code == 403


def test_of_dead_jobs_with_one_unique_key_one_comes_back() -> None:
    """One failed, was submitted again, and failed again: both are named by the filter."""
    dead = []
    for _ in range(2):
        dead += submit("reject", lane=None, kind="account.open")
        run("account.open")
    assert (len(set(dead)), statuses(dead)) == (2, ["rejected"] * 2)

    ended = finish(begin("retry", kind="account.open"))

    assert (ended.matched, ended.done, ended.skipped) == (2, 1, 1)
    assert sorted(statuses(dead)) == ["queued", "rejected"]


def test_an_act_whose_job_was_cancelled_has_ended() -> None:
    submit("", lane=None)
    act = begin("cancel", kind="account.book")
    services.cancel(project_id=PROJECT, job_id=Job.objects.get(kind="jobs.bulk").id, actor="user:olga")

    assert bulk.close_orphans() == 1
    assert bulk.close_orphans() == 0

    ended = BulkAct.objects.get(id=act.id)
    assert (ended.status, ended.finished_at is not None) == ("aborted", True)
    assert AuditRecord.objects.get(action="jobs.bulk_abort").reason == "its job was cancelled"


def test_an_act_that_is_under_way_is_no_orphan() -> None:
    submit("", lane=None)
    begin("cancel", kind="account.book")

    assert bulk.close_orphans() == 0


def test_what_is_paused_is_put_in_order_by_acts_on_many_jobs() -> None:
    submit("", lane=None)
    pauses.pause(actor="user:olga", reason="stop", project_id=PROJECT)

    begin("cancel", kind="account.book")

    assert not Shelf.objects.get(kind="jobs.bulk").paused
    assert Shelf.objects.get(kind="account.book").paused
    pauses.pause(actor="user:olga", reason="stop these too", kind="jobs.bulk", project_id=PROJECT)
    assert Shelf.objects.get(kind="jobs.bulk").paused
