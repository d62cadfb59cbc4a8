"""One project has filled the queue; another one's job does not stand behind all of it."""

from uuid import UUID

import pytest

from jobs import pauses, services
from jobs.policy import Batch
from jobs.services import JobRequest
from tests.processes import Platform

pytestmark = [pytest.mark.timeout(180)]

OTHER = UUID(int=77)
BATCHES = 2 * 2  # in each of the two processes of the worker


@pytest.mark.parametrize(
    ("flooded", "kind", "batch", "queued"),
    [
        ("test.silent", "test.silent", Batch().max, 20_000),
        ("test.silent", "test.done", Batch().max, 20_000),
        ("test.single", "test.single", 1, 200),
    ],
    ids=["of the same kind", "of another kind", "one at a time"],
)
def test_a_job_of_another_project_starts_within_two_batches(
    platform: Platform, flooded: str, kind: str, batch: int, queued: int
) -> None:
    platform.some_relay()
    platform.some_worker()
    pause = pauses.pause(queue="default", actor="tests", reason="until all is there")
    flood = platform.submit(flooded, queued, {})
    (one,) = [job.id for job in services.submit_many(project_id=OTHER, requests=[JobRequest(kind, {})])]
    pauses.resume(pause_id=pause.id, project_id=None, actor="tests")
    platform.wait_ended([one])
    platform.wait_ended(flood, seconds=120)

    (found,) = platform.rows(
        """
        select count(*) filter (where o.started_at < mine.started_at) as before,
               count(*) filter (where o.started_at > mine.started_at) as behind
        from jobs_job o, jobs_job mine
        where mine.id = %s and mine.project_id = %s and o.id = any(%s)
        """,
        one, OTHER, flood,
    )  # fmt: skip
    assert found["before"] <= BATCHES * batch, found
    assert found["behind"] > BATCHES * batch, "the flood was too small to show anything"
