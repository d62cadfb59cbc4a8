"""Batches: how far they are, what follows when their jobs have ended, and acts on all of them."""

import datetime as dt
from collections.abc import Iterator
from typing import Any, ClassVar
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pydantic import field_validator

from events.models import Event
from jobs import Done, Run, Unique, batches, handler, registry, services
from jobs.errors import InvalidOption, InvalidPayload, SubmitRefused
from jobs.extensions import Refusal
from jobs.models import Job, JobBatch
from jobs.services import JobRequest
from tests.contracts.deliveries import PROJECT
from tests.integration.jobs.booking import Step, booking, run, statuses, submit
from tests.integration.jobs.conftest import JOBS, gates
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["booking", "call", "gates", "ours", "theirs"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("booking")]

FOLLOW = JobRequest("account.note", {"deed": "sum"}, priority=3, metadata={"of": "batch"})


def create(*deeds: str, **options: Any) -> tuple[UUID, list[UUID]]:
    requests = [JobRequest("account.book", {"deed": deed}) for deed in deeds]
    batch_id, done = batches.create(project_id=PROJECT, requests=requests, **options)
    return batch_id, [one.id for one in done]


def following() -> list[Job]:
    return list(Job.objects.filter(kind="account.note"))


def test_a_batch_says_how_far_it_is() -> None:
    batch_id, ids = create("", "reject", "", name="import")
    submit("", lane=None)
    run()
    run()

    standing = batches.standing(batches.get(PROJECT, batch_id))

    assert (standing.total, standing.ended) == (3, 2)
    assert standing.counts == {"processed": 1, "rejected": 1, "queued": 1}
    assert statuses(ids) == ["processed", "rejected", "queued"]


def test_a_number_of_what_follows_may_be_larger_than_any_integer() -> None:
    """PostgreSQL shows 1e21 as an integer of 22 digits."""
    batch_id, _ = create("", follow=JobRequest("account.note", {"deed": "sum", "wei": 1e21}))
    run()

    assert batches.sweep() == 1

    assert JobBatch.objects.get(id=batch_id).follow_error == ""
    assert following()[0].payload["wei"] == 10**21


def test_what_follows_is_what_was_asked_for() -> None:
    later = dt.datetime(2999, 1, 1, tzinfo=dt.UTC)
    follow = JobRequest(
        "account.note", {"deed": "sum"}, priority=0, retry_delay=0, due_at=later, metadata={"wei": 1e21}
    )
    create("", follow=follow)
    run()

    assert batches.sweep() == 1

    (job,) = following()
    assert (job.priority, job.retry_delay, job.due_at, job.metadata) == (0, 0, later, {"wei": 10**21})
    assert JobBatch.objects.get().follow_error == ""


@pytest.mark.usefixtures("unique")
def test_what_is_followed_holds_jobs_of_its_own_only(call: Call) -> None:
    """A unique job may be there already, in no batch or in another: nobody could wait for it here."""
    with pytest.raises(InvalidOption) as refused:
        batches.create(project_id=PROJECT, requests=[JobRequest("account.unique", {})], follow=FOLLOW)
    both = [{"kind": "account.unique"}, {"kind": "account.book"}]
    asked = {"jobs": both, "follow": {"kind": "account.note", "payload": {"deed": "sum"}}}
    answer = call("POST", f"{JOBS}/batch", asked)
    free = call("POST", f"{JOBS}/batch", {"jobs": [{"kind": "account.unique"}]})

    assert refused.value.code == "unique_in_batch"
    assert answer.json()["jobs"][0]["error"]["code"] == "unique_in_batch"
    assert "id" in free.json()["jobs"][0]


@pytest.fixture
def unique(booking: None) -> None:
    """A kind that is undone with the others."""

    def work(_job: Run[Step]) -> Done:
        return Done()

    handler("account.unique", payload=Step, unique=Unique())(work)


def test_what_follows_comes_once_when_all_have_ended_however() -> None:
    batch_id, _ = create("", "reject", follow=FOLLOW)
    run()
    assert batches.sweep() == 0
    assert following() == []
    run()

    assert batches.sweep() == 1
    assert batches.sweep() == 0

    (follow,) = following()
    assert (follow.payload, follow.priority, follow.metadata) == ({"deed": "sum"}, 3, {"of": "batch"})
    row = JobBatch.objects.get(id=batch_id)
    assert (row.follow_id, row.ended_at is not None) == (follow.id, True)
    event = Event.objects.get(subject_id=batch_id)
    assert (event.type, event.data["counts"]) == ("batch.ended", {"processed": 1, "rejected": 1})
    assert event.data["follow_id"] == str(follow.id)


def test_what_wants_all_to_be_done_well_waits_until_they_are() -> None:
    batch_id, ids = create("", "reject", follow=FOLLOW, follow_when="processed")
    run()
    run()
    assert batches.sweep() == 1
    assert batches.sweep() == 0
    assert JobBatch.objects.get(id=batch_id).stalled_at is not None
    assert following() == []

    services.retry(project_id=PROJECT, job_id=ids[1], actor="tests", payload={"deed": ""})
    assert batches.sweep() == 0
    run()

    assert batches.sweep() == 1
    assert len(following()) == 1


def test_a_job_that_cannot_follow_stops_no_other_batch_and_says_why() -> None:
    first, _ = create("", follow=FOLLOW)
    second, _ = create("", follow=JobRequest("account.book", {"deed": "sum"}))
    run()
    run()
    del registry._kinds["account.note"]

    assert batches.sweep() == 2

    assert JobBatch.objects.get(id=first).follow_error.startswith("unknown_kind")
    assert JobBatch.objects.get(id=second).follow_id is not None


def test_a_job_that_could_never_follow_is_refused_before_anything_is_created() -> None:
    with pytest.raises(InvalidPayload):
        create("", follow=JobRequest("account.note", {"deed": 5}))
    with pytest.raises(InvalidOption):
        create("", follow=FOLLOW, follow_when="sometimes")
    assert not Job.objects.exists()
    assert not JobBatch.objects.exists()


# ---------------------------------------------------------------------------------------------- over HTTP


def post(call: Call, *deeds: Any, **more: Any) -> dict[str, Any]:
    body = {"jobs": [{"kind": "account.book", "payload": {"deed": deed}} for deed in deeds]} | more
    answer = call("POST", f"{JOBS}/batch", body)
    assert answer.status_code == 202, answer.json()
    found: dict[str, Any] = answer.json()
    return found


def test_jobs_that_come_together_are_a_batch(call: Call) -> None:
    made = post(call, "", 5, "reject", name="import", follow={"kind": "account.note"})
    run()
    path = f"/api/v1/batches/{made['batch_id']}"

    shown = call("GET", path).json()

    assert (shown["name"], shown["status"], shown["total"], shown["ended"]) == ("import", "running", 2, 1)
    assert shown["counts"] == {"processed": 1, "queued": 1}
    assert shown["follow"] == {"kind": "account.note", "payload": {}}
    listed = call("GET", shown["links"]["jobs"]).json()["results"]
    assert {job["id"] for job in listed} == {made["jobs"][0]["id"], made["jobs"][2]["id"]}
    assert {job["batch_id"] for job in listed} == {made["batch_id"]}

    run()
    batches.sweep()
    shown = call("GET", path).json()
    assert (shown["status"], shown["follow_id"]) == ("ended", str(following()[0].id))
    assert [row["id"] for row in call("GET", "/api/v1/batches").json()["results"]] == [made["batch_id"]]


def test_a_batch_is_cancelled_and_retried_as_a_whole(call: Call) -> None:
    made = post(call, "", "", "")
    path = f"/api/v1/batches/{made['batch_id']}"
    ids = [UUID(job["id"]) for job in made["jobs"]]
    outside = submit("", lane=None)

    answer = call("POST", f"{path}/cancel", {"reason": "withdrawn"})
    assert answer.status_code == 202
    run("jobs.bulk")
    assert statuses(ids) == ["cancelled"] * 3
    assert call("GET", answer.headers["Location"]).json()["done"] == 3

    call("POST", f"{path}/retry", {"reason": "after all"})
    run("jobs.bulk")
    assert statuses(ids + outside) == ["queued"] * 4


def test_a_payload_has_its_bound_whatever_the_request_may_hold(call: Call) -> None:
    large = {"kind": "account.book", "payload": {"deed": "", "memo": "x" * (1024 * 1024)}}

    answer = call("POST", f"{JOBS}/batch", {"jobs": [large, {"kind": "account.book"}]})
    refused = call("POST", f"{JOBS}/batch", {"jobs": [{"kind": "account.book"}], "follow": large})

    assert answer.status_code == 202
    error = answer.json()["jobs"][0]["error"]
    assert (error["code"], error["errors"][0]["code"]) == ("invalid_payload", "payload_too_large")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_payload")
    assert Job.objects.count() == 1


def test_a_list_of_batches_does_not_read_what_follows(call: Call) -> None:
    follow = {"kind": "account.note", "payload": {"deed": "sum"}}
    call("POST", f"{JOBS}/batch", {"jobs": [{"kind": "account.book"}], "follow": follow})

    with CaptureQueriesContext(connection) as asked:
        answer = call("GET", "/api/v1/batches")

    assert len(answer.json()["results"]) == 1
    assert not [query for query in asked.captured_queries if '"follow",' in query["sql"]]


def test_another_projects_batch_is_not_there(call: Call, theirs: Tenant) -> None:
    batch_id, _ = batches.create(project_id=theirs.project.id, requests=[JobRequest("account.book", {})])
    path = f"/api/v1/batches/{batch_id}"

    for method, address in (("GET", path), ("POST", f"{path}/cancel"), ("POST", f"{path}/retry")):
        answer = call(method, address)
        assert (answer.status_code, answer.json()["code"]) == (404, "batch_not_found")
    assert call("GET", f"{JOBS}?batch_id={batch_id}").json()["results"] == []


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"follow": {"kind": "nobody.knows"}}, "unknown_kind"),
        ({"follow": {"kind": "account.note", "payload": {"deed": 5}}}, "invalid_payload"),
        ({"follow_when": "sometimes"}, "validation_error"),
    ],
)
def test_what_cannot_follow_is_refused(call: Call, more: dict[str, Any], code: str) -> None:
    answer = call("POST", f"{JOBS}/batch", {"jobs": [{"kind": "account.book"}]} | more)

    assert answer.json()["code"] == code
    assert not Job.objects.exists()


def test_what_follows_was_accepted_with_its_batch_whatever_a_gate_says_later(gates: Any, call: Call) -> None:
    batch_id, _ = create("", follow=FOLLOW)
    run()
    gates.register("quota", lambda _: Refusal("quota_exceeded", "No more today."))

    assert batches.sweep() == 1

    assert (JobBatch.objects.get(id=batch_id).follow_error, len(following())) == ("", 1)
    with pytest.raises(SubmitRefused):
        create("", follow=FOLLOW)


def test_a_batch_of_which_nothing_is_created_is_not_followed(call: Call) -> None:
    asked = {"jobs": [{"kind": "no.such"}], "follow": {"kind": "account.note", "payload": {"deed": "sum"}}}

    answer = call("POST", f"{JOBS}/batch", asked)

    assert (answer.status_code, answer.json()["code"]) == (422, "nothing_to_follow")
    assert not JobBatch.objects.exists()


@pytest.mark.usefixtures("unsure")
def test_a_follower_whose_model_is_at_a_loss_stops_no_other_batch() -> None:
    one, _ = create("", follow=JobRequest("account.unsure", {"deed": "ok"}))
    two, _ = create("", follow=FOLLOW)
    run()
    run()
    Unsure.broken = True

    assert batches.sweep() == 2

    assert "KeyError" in JobBatch.objects.get(id=one).follow_error
    assert JobBatch.objects.get(id=two).follow_id is not None


class Unsure(Step):
    """A model with a fault of its own."""

    broken: ClassVar[bool] = False

    @field_validator("deed")
    @classmethod
    def look_up(cls, deed: str) -> str:
        if cls.broken:
            raise KeyError(deed)
        return deed


@pytest.fixture
def unsure(booking: None) -> Iterator[None]:
    handler("account.unsure", payload=Unsure)(lambda _job: Done())
    yield
    Unsure.broken = False


@pytest.mark.django_db(transaction=False)
def test_a_retry_between_the_two_looks_of_a_sweep_keeps_the_batch_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first look saw its job failed; by the time the batch is locked it is queued again."""
    batch_id, (job,) = create("reject", follow=FOLLOW, follow_when="processed")
    run()
    # What a snapshot before the retry would have found.
    monkeypatch.setattr(batches, "_OVER", "select id from jobs_jobbatch where %(live)s is not null limit %(limit)s")
    services.retry(project_id=PROJECT, job_id=job, actor="user:olga", payload={"deed": ""})

    batches.sweep()

    assert JobBatch.objects.get(id=batch_id).stalled_at is None
    monkeypatch.undo()
    run()
    assert batches.sweep() == 1
    assert len(following()) == 1
