"""The relay dies at any of its steps (T31), or runs twice: at least one doorbell, no effect twice, no event missing."""

import signal
from uuid import UUID

import pytest

from tests.often import often
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


def done_once(platform: Platform, ids: list[UUID]) -> None:
    platform.wait_ended(ids)
    assert platform.by_status(ids) == {"processed": len(ids)}
    assert set(platform.effects.count("ran", ids).values()) == {1}
    found = "select subject_id, array_agg(seq order by seq) as seq, array_agg(type order by seq) as type"
    rows = platform.rows(f"{found} from events_event where subject_id = any(%s) group by 1", ids)
    assert len(rows) == len(ids)
    for row in rows:
        assert row["seq"] == list(range(1, len(row["seq"]) + 1)), row
        # Where the machine is busy a claim may be handed back unharmed, or be announced: neither runs a job.
        ways = [name for name in row["type"] if name not in {"job.released", "job.processing"}]
        assert ways == ["job.queued", "job.processed"], row


@pytest.mark.parametrize("step", often({STEPS[1], STEPS[3], STEPS[5]}, STEPS))
def test_a_relay_killed_at_any_step_is_replaced_by_the_next(platform: Platform, step: str) -> None:
    platform.some_worker()
    mark = platform.directory / step
    handlers = "tests.handlers.good,tests.handlers.failpoints"
    doomed = platform.relay(env={"FAILPOINT": step, "FAILPOINT_ONCE": str(mark), "JOBPLATFORM_HANDLERS": handlers})
    ids = platform.submit("test.within", 10)
    platform.wait_until(lambda: mark.exists() and not doomed.alive, "the relay to die")
    relay = platform.relay()
    done_once(platform, ids)

    relay.kill()


def test_two_relays_ring_without_getting_into_one_anothers_way(platform: Platform) -> None:
    platform.some_worker()
    first, second = platform.relay(), platform.relay()
    for _ in range(3):
        done_once(platform, platform.submit("test.within", 20))
    send(first.pid, signal.SIGSTOP)  # frozen, perhaps in the middle of a round
    done_once(platform, platform.submit("test.within", 20))
    send(first.pid, signal.SIGCONT)

    assert second.stop() == 0
    done_once(platform, platform.submit("test.within", 20))
    assert first.stop() == 0


def test_without_any_relay_jobs_wait(platform: Platform) -> None:
    # A worker that was rung before may still listen for what comes next, and needs no relay then.
    platform.wait_until(lambda: platform.value("select count(*) from jobs_doorbell") == 0, "every pump to end")
    ids = platform.submit("test.within", 10)
    assert platform.by_status(ids) == {"queued": 10}
    platform.relay()
    platform.some_worker()
    done_once(platform, ids)
