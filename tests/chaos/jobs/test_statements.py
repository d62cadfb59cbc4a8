"""The connection breaks at the i-th statement, for every i (T22), on either side of the server's work."""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from uuid import uuid4

import pytest

from tests.processes import PROJECT, Driver, Platform
from tests.wire import Trap, When, Wire

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

JOBS = 2


def _is_statement(name: str, application: str, unit: str) -> bool:
    return (application, unit) == ("driver", name)


@pytest.fixture(scope="module")
def wire(platform: Platform) -> Iterator[Wire]:
    with Wire(platform.database_url, platform.directory) as wire:
        yield wire


@pytest.fixture(scope="module")
def driver(platform: Platform, wire: Wire) -> Driver:
    return platform.driver(env={"DATABASE_URL": wire.url})


def of_its_own(application: str, _unit: str) -> bool:
    """Statements on the connection that the handlers share; not the watch thread's, whose moments are its own."""
    return application == "driver"


def units(wire: Wire) -> list[str]:
    return [unit for application, unit in wire.seen if of_its_own(application, unit)]


def pump(platform: Platform, driver: Driver, ids: list) -> None:  # type: ignore[type-arg]
    """Ring as the relay would: while something is due. Then the worker must come to an end by itself."""
    due = "select count(*) from jobs_job where status = 'queued' and due_at <= platform_now()"

    def ended() -> bool:
        if platform.value(due):
            driver.call("pump", "test.within")
        return platform.by_status(ids) == {"processed": len(ids)}

    platform.wait_until(ended, f"{len(ids)} processed jobs")


def nothing(platform: Platform, table: str) -> bool:
    return bool(platform.value(f"select count(*) from {table}") == 0)


def consistent(platform: Platform, ids: list) -> None:  # type: ignore[type-arg]
    """Each job ended once: one effect inside its commit, one finished attempt, its events without a gap."""
    assert platform.rows("select job_id from effect where job_id = any(%s) group by 1 having count(*) <> 1", ids) == []
    assert platform.value("select count(distinct job_id) from effect where job_id = any(%s)", ids) == len(ids)
    done = "select count(*) from jobs_attempt where job_id = any(%s) and outcome = 'done'"
    assert platform.value(done, ids) == len(ids)
    assert max(platform.effects.count("ran", ids).values()) <= 2
    gaps = """
        select subject_id from events_event where subject_id = any(%s)
        group by 1 having count(*) <> max(seq) or min(seq) <> 1 or count(distinct seq) <> count(*)"""
    assert platform.rows(gaps, ids) == []
    behind = "select id from jobs_job j where id = any(%s) and seq <> (select max(seq) from events_event where subject_id = j.id)"
    assert platform.rows(behind, ids) == []


@pytest.mark.parametrize("when", When, ids=lambda when: when.name.lower())
def test_claim_run_and_commit_converge_wherever_the_connection_breaks(
    platform: Platform, wire: Wire, driver: Driver, when: When
) -> None:
    def clean() -> list[str]:
        before = len(units(wire))
        pump(platform, driver, platform.submit("test.within", JOBS))
        return units(wire)[before:]

    clean()
    sequence = clean()
    cut = set()
    for name, number in Counter(sequence).items():
        for k in range(1, number + 1):
            trap = wire.trap(when, partial(_is_statement, name), nth=k)
            ids = platform.submit("test.within", JOBS)
            pump(platform, driver, ids)
            wire.disarm()  # batches follow the measured pace, so there may be fewer claims than before
            cut.add(trap.cut)
            consistent(platform, ids)
            platform.wait_until(lambda: nothing(platform, "jobs_doorbell"), f"no doorbell after {name} {k}")
            clean()  # a new connection has everything prepared again
    assert cut >= {"owned", "claim", "commit", "COMMIT", "INSERT INTO JOBS_DOORBELL", "DELETE FROM JOBS_DOORBELL"}


@pytest.mark.parametrize("when", When, ids=lambda when: when.name.lower())
def test_creation_is_all_or_nothing_wherever_the_connection_breaks(
    platform: Platform, wire: Wire, driver: Driver, when: When
) -> None:
    def create(trap: Trap | None) -> int:
        mark = str(uuid4())
        answer = driver.call("submit", "test.within", JOBS, mark, str(PROJECT))
        made = platform.rows("select id from jobs_job where metadata ->> 'mark' = %s", mark)
        events = platform.value(
            "select count(*) from events_event where type = 'job.queued' and subject_id = any(%s)",
            [row["id"] for row in made],
        )
        assert len(made) == events
        assert len(made) in {0, JOBS}
        if "ok" in answer:
            assert len(made) == JOBS
        elif trap and trap.cut == "COMMIT":
            assert len(made) == (JOBS if when is When.REPLY_LOST else 0)
        else:
            assert made == []
        return len(made)

    create(None)
    before = len(units(wire))
    assert create(None) == JOBS
    sequence = units(wire)[before:]
    for i, unit in enumerate(sequence, 1):
        trap = wire.trap(when, of_its_own, nth=i)
        create(trap)
        assert trap.cut == unit
        assert create(None) == JOBS  # the next request of this process works

    assert {"BEGIN", "submit", "COMMIT"} <= set(sequence)
