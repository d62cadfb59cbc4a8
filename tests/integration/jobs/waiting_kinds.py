"""Jobs that wait for an event, and a worker and a consumer for them in this process."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from events import consumers
from events.models import Consumer
from jobs import Done, Park, Retry, RetryIn, Run, Woken, handler, registry, services, shelves
from jobs.bell import bell
from jobs.models import Awaited, Job
from jobs.services import JobRequest
from tests.contracts.deliveries import PROJECT, Worker

PAID = "payment.arrived"


class Order(BaseModel):
    """What to wait for, and how often; after that, how often to fail."""

    event: str = PAID
    subject: str = "order-7"
    times: int = 1
    failures: int = 0
    seconds: float = 3600


SEEN: dict[UUID, list[Woken]] = {}
"""By job, what woke it so far."""


def ship(job: Run[Order]) -> Done | Park | RetryIn:
    """Waits, as often as it says; what woke it last is its output."""
    if job.timed_out:
        return Done({"timed_out": True})
    woken, seen = job.woken_by, SEEN.setdefault(job.id, [])
    if woken is not None and woken not in seen:
        seen.append(woken)
    if len(seen) < job.payload.times:
        return Park(job.payload.seconds, event=job.payload.event, subject=job.payload.subject)
    if job.attempt <= job.payload.failures:
        return RetryIn(0)
    return Done({"type": seen[-1].type, "subject": seen[-1].subject, "data": dict(seen[-1].data)})


async def ask(job: Run[Order]) -> Done | Park | RetryIn:
    """The same, async."""
    return ship(job)


@pytest.fixture
def waiting() -> Iterator[None]:
    """Kinds of these tests alone, and a consumer that stands at the end of the log."""
    before = dict(registry._kinds)
    handler("order.ship", payload=Order, retry=Retry(max_attempts=3))(ship)
    handler("order.ask", payload=Order)(ask)
    shelves.forget()
    SEEN.clear()
    consumers.ensure_rows()
    yield
    bell.hang_up()  # a worker in this process rings it, and its line leads to this test's database
    shelves.forget()
    registry._kinds.clear()
    registry._kinds.update(before)


def submit(kind: str = "order.ship", *, project_id: UUID = PROJECT, **payload: Any) -> UUID:
    return services.submit_many(project_id=project_id, requests=[JobRequest(kind, payload)])[0].id


def run(kind: str = "order.ship") -> None:
    """Claim one job that is due, as a worker does, and run it."""
    worker = Worker(registry.get(kind), "one")
    worker.run(worker.claim())


def parked(kind: str = "order.ship", **more: Any) -> UUID:
    """A job that waits."""
    job = submit(kind, **more)
    run(kind)
    assert (status(job), Awaited.objects.filter(job_id=job).count()) == ("parked", 1)
    return job


def read() -> int:
    """Let the consumer read all that is settled; returns how many events it looked at."""
    looked = 0
    while True:
        Consumer.objects.filter(name="awaited").update(retry_at=None)
        number = consumers.run("awaited")
        assert Consumer.objects.get(name="awaited").error == ""
        if not number:
            return looked
        looked += number


def status(job: UUID) -> str:
    return Job.objects.get(id=job).status


def output(job: UUID) -> Any:
    return Job.objects.get(id=job).output
