"""People of the staff, and jobs in every status, for the tests of the engine's admin."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from pydantic import BaseModel

from jobplatform.admin.people import set_up_groups
from jobs import Done, Retry, Run, exponential, handler, registry, services, shelves
from jobs.models import Job
from jobs.services import JobRequest

OURS, THEIRS = UUID(int=11), UUID(int=12)

Make = Callable[..., Job]


class Order(BaseModel):
    """What the kind of these tests takes."""

    order_id: str
    amount: float = 1.0


@pytest.fixture(autouse=True)
def kinds() -> Iterator[None]:
    """A kind that these tests alone know."""
    before = dict(registry._kinds)

    @handler("shop.pay", payload=Order, retry=Retry(max_attempts=3, backoff=exponential(1)), expect=0.5)
    def pay(_job: Run[Order]) -> Done:
        return Done()

    shelves.forget()
    yield
    shelves.forget()
    registry._kinds.clear()
    registry._kinds.update(before)


@pytest.fixture
def make(db: None) -> Make:
    """Make a job and put it, without a worker, where the test wants it."""

    def one(*, project: UUID = OURS, payload: dict[str, Any] | None = None, **columns: Any) -> Job:
        metadata = columns.pop("metadata", {})
        request = JobRequest(kind="shop.pay", payload={"order_id": "o-1"} | (payload or {}), metadata=metadata)
        submitted = services.submit_many(project_id=project, requests=[request])[0]
        rows = Job.objects.filter(project_id=project, id=submitted.id)
        if columns:
            rows.update(**columns)
        return rows.get()

    return one


def person(client: Client, name: str, group: str = "") -> Client:
    """Sign somebody in who belongs to a group."""
    set_up_groups()
    user = User.objects.create_user(name, is_staff=True)
    if group:
        user.groups.set([Group.objects.get(name=group)])
    client.force_login(user)
    return client


@pytest.fixture
def operator(db: None) -> Client:
    """Somebody who may look and act."""
    return person(Client(), "olga", "operators")


@pytest.fixture
def viewer(db: None) -> Client:
    """Somebody who may look."""
    return person(Client(), "vera", "viewers")


@pytest.fixture
def stranger(db: None) -> Client:
    """Somebody of the staff who may nothing yet."""
    return person(Client(), "stan")
