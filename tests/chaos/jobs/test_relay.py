"""The relay dies at any of its steps (T31), or runs twice: at least one doorbell, no effect twice, no event missing."""

import signal

import pytest

from tests.processes import Platform, send

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

STEPS = [
    "jobs.doorbells:ring:before:1",  # before the doorbell is entered
    "jobs.doorbells:ring:after:1",  # entered, not sent
    "celery:Celery.send_task:before:1",
    "celery:Celery.send_task:after:1",  # sent, and nobody knows
    "jobs.shelves:sweep:after:2",
    "jobs.relay:Relay.chores:before:1",
]


@pytest.mark.parametrize("step", STEPS)
def test_a_relay_killed_at_any_step_is_replaced_by_the_next(platform: Platform, step: str) -> None:
    mark = platform.directory / "died"
    handlers = "tests.handlers.good,tests.handlers.failpoints"
    platform.worker(concurrency=1)
    doomed = platform.relay(
        env={"FAILPOINT": step, "FAILPOINT_ONCE": str(mark), "JOBPLATFORM_HANDLERS": handlers}
    )
    ids = platform.submit("test.within", 10)
    platform.wait_until(lambda: mark.exists() and not doomed.alive, "the relay to die")
    platform.relay()
    platform.wait_ended(ids)

    assert platform.by_status(ids) == {"processed": 10}
    assert set(platform.effects.count("ran").values()) == {1}
    assert {tuple(platform.events(job)) for job in ids} == {("job.queued", "job.processed")}


def test_two_relays_ring_without_getting_into_one_anothers_way(platform: Platform) -> None:
    platform.worker()
    first, second = platform.relay(), platform.relay()
    for _ in range(5):
        ids = platform.submit("test.within", 20)
        platform.wait_ended(ids)
        assert platform.by_status(ids) == {"processed": 20}
    send(first.pid, signal.SIGSTOP)  # frozen, perhaps in the middle of a round
    ids = platform.submit("test.within", 20)
    platform.wait_ended(ids)
    send(first.pid, signal.SIGCONT)

    assert second.stop() == 0
    ids = platform.submit("test.within", 20)
    platform.wait_ended(ids)
    assert set(platform.effects.count("ran").values()) == {1}


def test_without_any_relay_nothing_is_lost(platform: Platform) -> None:
    platform.worker()
    ids = platform.submit("test.within", 10)
    assert platform.by_status(ids) == {"queued": 10}
    platform.relay()
    platform.wait_ended(ids)

    assert platform.by_status(ids) == {"processed": 10}
