"""Kinds with limits, and a worker for them in this process."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from jobs import Done, Limit, Retry, RetryIn, Run, Wait, handler, limits, registry, services, shelves, store
from jobs.bell import bell
from jobs.models import Job, LimitKey
from jobs.services import JobRequest
from jobs.store import Claimed
from tests.contracts.deliveries import PROJECT, Worker


class Call(BaseModel):
    """What is asked of whom."""

    provider: str = "p"
    tokens: float = 1
    deed: str = ""
    wait: float | None = None


class Busy(Exception):
    """The provider asks to come back later."""

    retry_after: float | None = None


def perform(job: Run[Call]) -> Done | RetryIn:
    match job.payload.deed:
        case "busy":
            error = Busy()
            error.retry_after = job.payload.wait
            raise error
        case "later":
            return RetryIn(3600)
    return Done()


@pytest.fixture
def limited() -> Iterator[None]:
    """Kinds of these tests alone."""
    before = dict(registry._kinds)
    errors = {Busy: Wait(60)}
    two = Limit(concurrency=2, by=("provider",))
    kinds: dict[str, dict[str, Any]] = {
        "call.two": {"limit": two, "errors": errors},
        "call.heavy": {"limit": Limit(concurrency=10, weight="tokens")},
        "call.paced": {"limit": Limit(rate=10, per=1, burst=3)},
        "call.minute": {"limit": Limit(rate=6, per=60)},
        "call.all": {"limit": Limit(concurrency=1, across_projects=True)},
        "call.here": {"limit": Limit(concurrency=1, name="shared")},
        "call.there": {"limit": Limit(concurrency=1, name="shared")},
        "call.free": {"errors": errors},
    }
    for name, policy in kinds.items():
        handler(name, payload=Call, retry=Retry(max_attempts=2), **policy)(perform)
    shelves.forget()
    yield
    bell.hang_up()
    shelves.forget()
    registry._kinds.clear()
    registry._kinds.update(before)


def submit(kind: str, number: int = 1, *, project_id: UUID = PROJECT, priority: int = 0, **payload: Any) -> list[UUID]:
    requests = [JobRequest(kind, payload, priority=priority) for _ in range(number)]
    return [job.id for job in services.submit_many(project_id=project_id, requests=requests)]


def claim(kind: str, batch: int = 100, worker: Worker | None = None) -> list[Claimed]:
    """Claim what is due, as the pump does."""
    worker = worker or Worker(registry.get(kind), "one")
    found = registry.get(kind)
    if found.limit is None:
        return store.claim_many(kind, batch=batch, worker=worker.id)
    return limits.claim(found, batch, worker=worker.id)


def key(kind: str, provider: str = "p", project_id: UUID = PROJECT) -> LimitKey:
    """The row of a key."""
    wanted = limits.key_of(registry.get(kind), project_id, Call(provider=provider))
    assert wanted is not None
    return LimitKey.objects.get(id=wanted.id)


def gates(ids: list[UUID]) -> list[int]:
    found = dict(Job.objects.filter(id__in=ids).values_list("id", "gate"))
    return [found[job_id] for job_id in ids]
