"""Jobs of lanes, and a worker for them in this process."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobs import Done, Lane, Reject, Retry, RetryIn, Run, Unique, handler, registry, services, shelves
from jobs.bell import bell
from jobs.models import Job
from jobs.services import JobRequest
from jobs.states import Status
from tests.contracts.deliveries import PROJECT, Worker


class Step(BaseModel):
    """What to do."""

    deed: str = ""
    account: str = ""


@pytest.fixture
def booking() -> Iterator[None]:
    """Kinds of these tests alone."""
    before = dict(registry._kinds)

    def perform(job: Run[Step]) -> Done | Reject | RetryIn:
        match job.payload.deed:
            case "fail":
                raise ValueError
            case "reject":
                return Reject("no_such_account")
            case "later":
                return RetryIn(3600)
        return Done({"attempt": job.attempt})

    @handler("account.book", payload=Step, retry=Retry(max_attempts=1))
    def book(job: Run[Step]) -> Any:
        return perform(job)

    @handler("account.note", payload=Step, retry=Retry(max_attempts=1), lane=Lane(on_failure="go_on"))
    def note(job: Run[Step]) -> Any:
        return perform(job)

    @handler("account.move", payload=Step, lane="account")
    def move(job: Run[Step]) -> Any:
        return perform(job)

    @handler("account.open", payload=Step, retry=Retry(max_attempts=1), lane="deed", unique=Unique(by=("account",)))
    def opens(job: Run[Step]) -> Any:
        return perform(job)

    shelves.forget()
    yield
    bell.hang_up()  # a worker in this process rings it, and its line leads to this test's database
    shelves.forget()
    registry._kinds.clear()
    registry._kinds.update(before)


def submit(
    *deeds: str,
    lane: str | None = "a",
    project_id: UUID = PROJECT,
    kind: str = "account.book",
    confirm: str | None = None,
) -> list[UUID]:
    requests = [JobRequest(kind, {"deed": deed}, lane=lane, confirm=confirm) for deed in deeds]
    return [job.id for job in services.submit_many(project_id=project_id, requests=requests)]


def run(kind: str = "account.book") -> list[UUID]:
    """Claim one job that is due, as a worker does, and run it."""
    worker = Worker(registry.get(kind), "one")
    claimed = worker.claim()
    worker.run(list(claimed))
    return [job.id for job in claimed]


def statuses(ids: list[UUID]) -> list[str]:
    found = dict(Job.objects.filter(id__in=ids).values_list("id", "status"))
    return [found[job_id] for job_id in ids]


def open_ones(ids: list[UUID]) -> list[UUID]:
    """Those of these jobs that no gate keeps back."""
    return [job.id for job in Job.objects.filter(id__in=ids, status=Status.QUEUED, gate=0).order_by("lane_no")]
