"""Kinds that the tests of the API know, and jobs put where a test wants them."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import orjson
import pytest
from pydantic import BaseModel, Field

from events import log
from jobs import Done, Retry, Run, Unique, extensions, handler, registry, shelves
from jobs.models import Job
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["call", "ours", "theirs"]

JOBS = "/api/v1/jobs"
Make = Callable[..., UUID]


class Parcel(BaseModel):
    """What is sent."""

    parcel_id: str = Field(min_length=1)
    weight: float = Field(1.0, gt=0)


class Anything(BaseModel, extra="allow"):
    """Takes what comes."""


@pytest.fixture
def kinds() -> Iterator[None]:
    """Kinds of these tests alone."""
    before = dict(registry._kinds)

    @handler("parcel.send", payload=Parcel, example={"parcel_id": "P-1"}, retry=Retry(max_attempts=3))
    def send(_job: Run[Parcel]) -> Done:
        """Send a parcel."""
        return Done()

    @handler("parcel.store", payload=Anything, priority=5)
    def store(_job: Run[Anything]) -> Done:
        return Done()

    @handler("parcel.once", payload=Parcel, unique=Unique(by=("parcel_id",)))
    def once(_job: Run[Parcel]) -> Done:
        return Done()

    @handler("parcel.burn", payload=Parcel, retry=Retry.never(), public=False)
    def burn(_job: Run[Parcel]) -> Done:
        return Done()

    shelves.forget()
    yield
    shelves.forget()
    registry._kinds.clear()
    registry._kinds.update(before)


@pytest.fixture
def gates() -> Iterator[extensions.Registry[extensions.Gate]]:
    """The registry of submit gates, emptied afterwards."""
    yield extensions.submit_gates
    extensions.submit_gates._things.clear()


@pytest.fixture
def make(kinds: None, call: Call, ours: Tenant) -> Make:
    """Create a job over HTTP and put its columns, without a worker, where the test wants them."""

    def one(*, key: str = ours.text, kind: str = "parcel.store", **columns: Any) -> UUID:
        options = {name: columns.pop(name) for name in ("metadata", "payload") if name in columns}
        answer = call("POST", JOBS, {"kind": kind, **options}, key=key)
        assert answer.status_code == 202, answer.content
        job_id = UUID(answer.json()["id"])
        if columns:
            Job.objects.filter(id=job_id).update(**columns)
        return job_id

    return one


def events(type_: str) -> list[dict[str, Any]]:
    """The data of all events of a type, oldest first, with their `seq` and `subject_id`."""
    with log.cursor() as cur:
        cur.execute(
            "select seq, subject_id, data::text from events_event where type = %s order by position, id", (type_,)
        )
        return [{"seq": row[0], "subject_id": row[1], **orjson.loads(row[2])} for row in cur.fetchall()]
