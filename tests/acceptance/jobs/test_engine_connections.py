"""A worker process keeps one connection to the database over many doorbells, and what is prepared on it."""

import pytest

from tests.processes import Platform

pytestmark = pytest.mark.timeout(180)

DOORBELLS = 100
HOT = {"claim", "commit"}


def test_one_backend_process_and_its_prepared_statements_serve_a_hundred_doorbells(platform: Platform) -> None:
    worker = platform.worker(concurrency=1)  # with no slot free beside it a pump does not linger
    jobs = []
    while worker.log.count("Task test.backend") < 2 * DOORBELLS:  # one line when received, one when done
        jobs += platform.submit("test.backend")
        platform.wait_ended(jobs[-1:])

    outputs = [platform.job(job)["output"] for job in jobs]
    assert {output["child"] for output in outputs} == set(platform.live_children(worker))
    assert len({output["backend"] for output in outputs}) == 1
    assert set(outputs[-1]["statements"]) >= HOT
    (child,) = platform.live_children(worker)
    connections = platform.rows("select pid from pg_stat_activity where application_name = %s", worker.name)
    assert [row["pid"] for row in connections] == [outputs[-1]["backend"]]
    assert child == outputs[-1]["child"]
