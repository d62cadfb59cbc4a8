"""A worker process that gets nowhere makes room for another."""

import time

import pytest

from tests.often import often
from tests.processes import Platform

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

BETWEEN = ("jobs.outbox:Outbox.flush:hang:1", False)
"""Between handlers: what had ended runs again, free."""


@pytest.mark.parametrize(
    ("where", "charged"),
    often(
        [BETWEEN],
        [
            BETWEEN,
            ("jobs.outbox:Outbox._within:hang:1", True),  # in the commit of a job: it had started
            ("jobs.store:claim_many:hang:1", None),  # nothing is claimed yet
        ],
    ),
)
def test_a_worker_that_gets_nowhere_ends_itself_and_its_jobs_come_back(
    own_platform: Platform, where: str, *, charged: bool | None
) -> None:
    platform = own_platform
    platform.relay()
    mark = platform.directory / "hung"
    handlers = ("tests.handlers.good", "tests.handlers.failpoints")
    env = {"FAILPOINT": where, "FAILPOINT_ONCE": str(mark), "WORKER_STALLED_SECONDS": "3"}
    worker = platform.worker(concurrency=1, env=env, handlers=handlers)
    (hung,) = worker.children()
    kind = "test.within" if charged else "test.done"
    ids = platform.submit(kind, 3)
    platform.wait_until(mark.exists, "the worker to hang")
    began = time.monotonic()
    platform.wait_until(lambda: hung not in worker.children(), "it to end itself")
    taken = time.monotonic() - began
    platform.wait_ended(ids)

    assert 2 < taken < 20
    assert "the pump has made no progress" in worker.log
    assert platform.by_status(ids) == {"processed": 3}
    outcomes = [attempt["outcome"] for job in ids for attempt in platform.attempts(job)]
    assert outcomes.count("retried") == (1 if charged else 0), outcomes
