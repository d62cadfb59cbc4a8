"""One project has filled the queue; another one's job does not stand behind all of it."""

from uuid import UUID

import pytest

from jobs import services
from jobs.policy import Batch
from jobs.services import JobRequest
from tests.processes import PROJECT, Platform

pytestmark = [pytest.mark.timeout(180)]

OTHER = UUID(int=77)
QUEUED = 30_000
BATCHES = 2 * 2  # in each of the two processes of the worker


@pytest.mark.parametrize("kind", ["test.silent", "test.done"], ids=["of the same kind", "of another kind"])
def test_a_job_of_another_project_starts_within_two_batches(platform: Platform, kind: str) -> None:
    flood = platform.submit("test.silent", QUEUED, {})
    platform.some_relay()
    platform.some_worker()
    begun = (
        "select exists (select from jobs_job where kind = 'test.silent' and project_id = %s and status = 'processed')"
    )
    platform.wait_until(lambda: platform.value(begun, PROJECT), "the first of the flood")

    (one,) = [job.id for job in services.submit_many(project_id=OTHER, requests=[JobRequest(kind, {})])]
    platform.wait_ended([one])
    platform.wait_ended(flood, seconds=120)

    (found,) = platform.rows(
        """
        select count(*) filter (where o.started_at <= mine.created_at) as before,
               count(*) filter (where o.started_at > mine.created_at and o.started_at < mine.started_at) as between,
               count(*) filter (where o.started_at > mine.started_at) as behind
        from jobs_job o, jobs_job mine
        where mine.id = %s and mine.project_id = %s and o.project_id = %s and o.kind = 'test.silent'
        """,
        one, OTHER, PROJECT,
    )  # fmt: skip
    assert found["between"] <= BATCHES * Batch().max, found
    assert found["behind"] > BATCHES * Batch().max, "the flood was too small to show anything"
