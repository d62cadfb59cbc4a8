"""What becomes of a job whose unique key another has: it is that one, or refused, or takes its place, or postpones it."""

import datetime as dt
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from events.log import move_clock
from events.models import Event
from jobs import Done, Limit, Run, Unique, handler, registry, services, shelves
from jobs.bell import bell
from jobs.errors import DuplicateJob, InvalidPayload
from jobs.models import Job, UniqueKey
from jobs.services import JobRequest, Submitted
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.conftest import JOBS
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["call", "ours", "theirs"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("modes")]


class Doc(BaseModel):
    """A document to be indexed."""

    doc: str
    version: int = 0


@pytest.fixture
def modes() -> Iterator[None]:
    """Kinds of these tests alone."""
    before = dict(registry._kinds)

    def index(_job: Run[Doc]) -> Done:
        return Done()

    policies: dict[str, dict[str, Any]] = {
        "doc.reject": {"unique": Unique(by=("doc",), otherwise="reject")},
        "doc.replace": {"unique": Unique(by=("doc",), otherwise="replace")},
        "doc.limited": {
            "unique": Unique(by=("doc",), otherwise="replace"), "limit": Limit(concurrency=1, by=("version",)),
        },
        "doc.laned": {"unique": Unique(by=("doc",), otherwise="replace"), "lane": "version"},
        "doc.debounce": {"unique": Unique(by=("doc",), otherwise="debounce", wait=10, longest=25)},
    }  # fmt: skip
    for name, policy in policies.items():
        handler(name, payload=Doc, **policy)(index)
    shelves.forget()
    yield
    bell.hang_up()
    shelves.forget()
    registry._kinds.clear()
    registry._kinds.update(before)


def submit(kind: str, version: int = 0, doc: str = "d", **options: Any) -> Submitted:
    request = JobRequest(kind, {"doc": doc, "version": version}, **options)
    return services.submit_many(project_id=PROJECT, requests=[request])[0]


def events(job_id: UUID) -> list[str]:
    return list(Event.objects.filter(subject_id=job_id).order_by("seq").values_list("type", flat=True))


def test_a_second_one_is_refused_with_the_id_of_the_first() -> None:
    first = submit("doc.reject")

    with pytest.raises(DuplicateJob) as refused:
        submit("doc.reject", 1)

    assert refused.value.about == {"job_id": first.id}
    assert Job.objects.count() == 1
    assert not submit("doc.reject", doc="other").existing


def test_a_newer_one_takes_the_place_of_one_that_waits() -> None:
    first = submit("doc.replace", 1, metadata={"by": "a"})
    second = submit("doc.replace", 2, priority=9, metadata={"by": "b"})

    job = Job.objects.get()
    assert (second.id, second.existing) == (first.id, True)
    assert (job.payload, job.priority, job.metadata) == ({"doc": "d", "version": 2}, 9, {"by": "b"})
    assert events(job.id) == ["job.queued", "job.replaced"]
    assert job.seq == 2
    claimed = Worker(registry.get("doc.replace"), "one").claim()
    assert [one.payload for one in claimed] == ['{"doc": "d", "version": 2}']


def test_where_the_first_runs_already_the_newer_is_a_job_of_its_own_and_has_the_key() -> None:
    first = submit("doc.replace", 1)
    worker = Worker(registry.get("doc.replace"), "one")
    claimed = worker.claim()

    second, third = submit("doc.replace", 2), submit("doc.replace", 3)

    assert second.id != first.id
    assert (third.id, third.existing) == (second.id, True)
    assert UniqueKey.objects.get().job_id == second.id
    worker.run(claimed)
    assert dict(Job.objects.values_list("id", "payload__version")) == {first.id: 1, second.id: 3}


def test_what_is_replaced_has_the_limit_of_its_new_payload() -> None:
    first = submit("doc.limited", 1)
    before = Job.objects.get(id=first.id).limit_id
    submit("doc.limited", 2)

    assert Job.objects.get(id=first.id).limit_id not in {None, before}


def test_each_newer_one_postpones_it_but_not_for_ever() -> None:
    first = submit("doc.debounce", 1)
    created = first.created_at

    def due_after() -> float:
        return (Job.objects.get().due_at - created).total_seconds()

    assert due_after() == pytest.approx(10, abs=1)
    for at, due in ((8, 18), (16, 25), (24, 25)):
        move_clock(dt.timedelta(seconds=at))
        assert submit("doc.debounce", at).id == first.id
        assert due_after() == pytest.approx(due, abs=1.5)
    move_clock(dt.timedelta(seconds=27))
    (claimed,) = Worker(registry.get("doc.debounce"), "one").claim()
    assert claimed.payload == '{"doc": "d", "version": 24}'


def test_over_http_a_refused_one_is_a_conflict_and_a_replaced_one_an_answer(call: Call, ours: Tenant) -> None:
    body = {"kind": "doc.reject", "payload": {"doc": "d"}}
    assert call("POST", JOBS, body).status_code == 202
    refused = call("POST", JOBS, body)
    assert (refused.status_code, refused.json()["code"]) == (409, "duplicate_job")

    body = {"kind": "doc.replace", "payload": {"doc": "d", "version": 1}}
    first = call("POST", JOBS, body)
    body["payload"] = {"doc": "d", "version": 2}
    second = call("POST", JOBS, body)
    assert (first.status_code, second.status_code) == (202, 200)
    assert (second.json()["id"], second.json()["payload"]["version"]) == (first.json()["id"], 2)


@pytest.mark.parametrize(
    "options",
    [{"otherwise": "explode"}, {"wait": 5}, {"otherwise": "debounce"}, {"otherwise": "debounce", "wait": 9e9}],
)
def test_a_policy_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Unique"):
        Unique(**options)


def test_what_takes_a_place_brings_its_own_budget() -> None:
    first = submit("doc.replace", version=1, max_attempts=2, timeout=5, retry_delay=1)
    Job.objects.filter(id=first.id).update(attempt=2, error={"code": "timeout"})

    submit("doc.replace", version=2, max_attempts=9, timeout=7)

    job = Job.objects.get()
    assert (job.attempt, job.max_attempts, job.timeout, job.retry_delay, job.error) == (0, 9, 7, None, None)


def test_what_belongs_into_another_lane_takes_no_place_there() -> None:
    """Else two jobs of one lane would run at once."""
    first = submit("doc.laned", version=1)
    other = submit("doc.laned", version=2, doc="e")

    newer = submit("doc.laned", version=2)

    assert (newer.existing, newer.id == first.id) == (False, False)
    rows = {job.id: (job.status, job.lane) for job in Job.objects.all()}
    assert rows == {
        first.id: ("cancelled", "doc.laned:1"), other.id: ("queued", "doc.laned:2"), newer.id: ("queued", "doc.laned:2"),
    }  # fmt: skip
    assert UniqueKey.objects.filter(job_id=newer.id).exists()


def test_a_payload_of_another_lane_is_refused_for_a_job_that_has_its_own() -> None:
    first = submit("doc.laned", version=1)
    services.cancel(project_id=PROJECT, job_id=first.id, actor="user:olga")

    with pytest.raises(InvalidPayload) as refused:
        services.retry(project_id=PROJECT, job_id=first.id, actor="user:olga", payload={"doc": "d", "version": 2})
    services.retry(project_id=PROJECT, job_id=first.id, actor="user:olga", payload={"doc": "e", "version": 1})

    assert [error["type"] for error in refused.value.errors] == ["another_lane"]
    assert Job.objects.get().payload["doc"] == "e"
