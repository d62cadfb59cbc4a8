"""Jobs of a unique kind that are created at the same time."""

import threading
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connection, connections, transaction

from jobplatform.processes import wait_until
from jobs import services
from jobs.models import Job
from jobs.services import JobRequest
from tests.integration.jobs.conftest import kinds

__all__ = ["kinds"]

PROJECT = UUID(int=1)


def submit() -> UUID:
    request = JobRequest(kind="parcel.once", payload={"parcel_id": "1"})
    return services.submit_many(project_id=PROJECT, requests=[request])[0].id


@pytest.fixture
def waiting() -> Iterator[Any]:
    """How many statements wait for a lock, seen from a connection that is in no transaction."""
    params = connection.get_connection_params()
    params = {name: value for name, value in params.items() if name not in {"cursor_factory", "context"}}
    with psycopg.connect(**params, autocommit=True) as link:
        ask = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        yield lambda: link.execute(ask).fetchall()[0][0]


@pytest.mark.usefixtures("committed", "kinds")
def test_a_key_of_a_job_that_has_ended_goes_to_one_of_two_that_meet(waiting: Any) -> None:
    submit()
    Job.objects.update(status="failed")
    found: list[UUID] = []

    def other() -> None:
        found.append(submit())
        connections.close_all()

    thread = threading.Thread(target=other)
    with transaction.atomic():
        mine = submit()
        thread.start()
        assert wait_until(lambda: waiting() == 1, seconds=20)
    thread.join(20)

    assert found == [mine]
    assert Job.objects.filter(status="queued").count() == 1


@pytest.mark.usefixtures("committed", "kinds")
def test_a_new_payload_leaves_nothing_of_what_the_old_one_gave() -> None:
    job_id = submit()
    Job.objects.update(
        status="rejected", output={"n": 1}, quality=0.5, progress={"done": 1, "total": 2, "note": ""}, steps={"a": 1}
    )

    services.retry(project_id=PROJECT, job_id=job_id, actor="tests", payload={"parcel_id": "2"})

    job = Job.objects.get(id=job_id)
    assert (job.payload["parcel_id"], job.output, job.quality, job.progress, job.steps) == ("2", None, None, None, None)
