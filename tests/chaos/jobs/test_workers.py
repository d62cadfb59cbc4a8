"""Workers die, freeze, stop and lie about the time (T01 to T04, T09, T10): every accepted job ends, once."""

import datetime as dt
import itertools
import random
import signal
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psutil
import pytest

from tests.processes import ENDED, Platform, Program, send

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

BOUND = 30.0  # seconds from a death to the next run: what the README promises


def ended_once(platform: Platform, ids: list[UUID], *, crashes: int) -> None:
    """Every job is done; its effect inside the commit happened once; runs were repeated only where a process died."""
    assert platform.by_status(ids) == {"processed": len(ids)}
    twice = "select job_id from effect where job_id = any(%s) group by 1 having count(*) <> 1"
    assert platform.rows(twice, ids) == []
    assert platform.value("select count(*) from effect where job_id = any(%s)", ids) == len(ids)
    ran = platform.effects.count("ran")
    assert min(ran[str(job)] for job in ids) >= 1
    # A flush comes at least every 50 ms, so a death repeats the job that ran and what was done since the last flush.
    assert sum(ran[str(job)] for job in ids) <= len(ids) + crashes * 60
    gaps = "select subject_id from events_event where subject_id = any(%s) group by 1 having count(*) <> max(seq)"
    assert platform.rows(gaps, ids) == []


def kill_while_they_run(platform: Platform, worker: Program, *, kills: int, jobs: int, seed: int) -> None:
    """Kill children of the worker at random moments until `kills` have died, then see that nothing is missing."""
    chance = random.Random(seed)
    print(f"seed {seed}")
    ids = platform.submit("test.within", jobs, lambda n: {"n": n, "seconds": chance.choice([0, 0, 0, 0.001, 0.01])})
    killed: set[int] = set()

    def open_jobs() -> int:
        return int(platform.value("select count(*) from jobs_job where id = any(%s) and status <> all(%s)", ids, [*ENDED]))

    while len(killed) < kills:
        seen = len(platform.effects.all())
        pause = chance.randrange(1, 30)
        platform.wait_until(lambda: len(platform.effects.all()) >= seen + pause or not open_jobs(), "work")
        if not open_jobs():
            ids += platform.submit("test.within", jobs, lambda n: {"n": n})
            continue
        children = [pid for pid in worker.children() if pid not in killed]
        if children:
            victim = chance.choice(children)
            send(victim, signal.SIGKILL)
            killed.add(victim)
    platform.wait_ended(ids, seconds=120)
    ended_once(platform, ids, crashes=kills)


def test_children_killed_at_random_lose_and_double_nothing(platform: Platform) -> None:
    platform.relay()
    kill_while_they_run(platform, platform.worker(), kills=8, jobs=300, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_five_hundred_children_killed_at_random_lose_and_double_nothing(platform: Platform, seed: int) -> None:
    platform.relay()
    kill_while_they_run(platform, platform.worker(), kills=50, jobs=500, seed=seed)


def test_the_job_of_a_killed_child_runs_again_within_two_seconds(platform: Platform) -> None:
    platform.relay()
    platform.worker()
    (job,) = platform.submit("test.gated", payload={"gate": "one"})
    platform.wait_until(lambda: platform.effects.of("began"), "its start")
    died = kill_owner(platform, job)
    platform.wait_until(lambda: len(platform.effects.of("began")) == 2, "its second start")
    platform.effects.open("one")
    platform.wait_ended([job])

    first, second = platform.attempts(job)
    assert (first["outcome"], first["error"]["code"], first["attempt"]) == ("retried", "worker_died", 1)
    assert (second["outcome"], second["attempt"]) == ("done", 2)
    assert (first["ended_at"] - died).total_seconds() < 2.0
    assert (second["started_at"] - died).total_seconds() < 4.0  # a second more for the backoff and a new child
    assert first["started_at"] <= died


def kill_owner(platform: Platform, job: UUID) -> dt.datetime:
    """Kill the child that runs a job; returns when, by the database's clock."""
    pid = platform.value("select w.pid from jobs_job j join jobs_worker w on w.id = j.claimed_by where j.id = %s", job)
    now: dt.datetime = platform.value("select clock_timestamp()")
    send(pid, signal.SIGKILL)
    return now


def test_after_the_death_of_a_host_another_one_takes_over_within_thirty_seconds(platform: Platform) -> None:
    platform.relay()
    doomed = platform.worker()
    platform.submit("test.silent")
    ids = platform.submit("test.gated", 2, {"gate": "host"})
    platform.wait_until(lambda: len(platform.effects.of("began")) == 2, "both to start")
    died = platform.value("select clock_timestamp()")
    doomed.kill()
    platform.worker()
    platform.wait_until(lambda: len(platform.effects.of("began")) == 4, "both to start again")
    platform.effects.open("host")
    platform.wait_ended(ids)

    for job in ids:
        first, second = platform.attempts(job)
        assert first["error"]["code"] == "worker_died"
        assert (first["ended_at"] - died).total_seconds() < BOUND
        assert (second["started_at"] - died).total_seconds() < BOUND
    assert platform.value("select count(*) from effect") == 2


def test_a_batch_of_a_dead_host_comes_back_without_losing_an_attempt(platform: Platform) -> None:
    """Nobody can tell which of the batch had started: so the whole batch comes back, in halves, and free."""
    platform.relay()
    doomed = platform.worker(concurrency=1)
    ids = platform.submit("test.asleep", 40, {"seconds": 3600})
    platform.wait_until(lambda: len(platform.effects.of("ran")) == 40, "all to run")
    doomed.kill()
    payload = "update jobs_job set payload = '{\"seconds\": 0}' where id = any(%s) returning id"
    assert len(platform.rows(payload, ids)) == 40
    platform.worker()
    platform.wait_ended(ids)

    assert platform.by_status(ids) == {"processed": 40}
    assert platform.rows("select attempt, count(*) from jobs_job where id = any(%s) group by 1", ids) == [
        {"attempt": 1, "count": 40}
    ]


def test_orphans_of_a_killed_parent_finish_and_go(platform: Platform) -> None:
    platform.relay()
    doomed = platform.worker()
    ids = platform.submit("test.gated", 2, {"gate": "orphans"})
    platform.wait_until(lambda: len(platform.effects.of("began")) == 2, "both to start")
    children = doomed.children()
    doomed.kill_parent()
    platform.effects.open("orphans")
    platform.wait_ended(ids)
    platform.wait_until(lambda: not any(psutil.pid_exists(pid) for pid in children), "the orphans to end")

    assert platform.value("select count(*) from effect") == 2
    platform.worker()
    more = platform.submit("test.within", 20)
    platform.wait_ended(more)
    ended_once(platform, more, crashes=0)


def test_an_orphan_that_does_not_return_gives_its_job_back(platform: Platform) -> None:
    """Its parent would have ended it at its timeout; nobody else on that host can."""
    platform.relay()
    doomed = platform.worker(concurrency=1)
    (job,) = platform.submit("test.bad", payload={"deed": "stubborn_loop"}, max_attempts=1)
    platform.wait_until(lambda: platform.effects.of("ran"), "its start")
    doomed.kill_parent()
    platform.worker(concurrency=1)

    platform.wait_ended([job])
    assert platform.job(job)["status"] == "failed"


def test_a_child_that_dies_between_two_messages_costs_nothing(platform: Platform) -> None:
    """T02: the broker has handed a message out and does not know yet that it did."""
    mark = platform.directory / "died"
    env = {"FAILPOINT": "kombu.transport.redis:QoS.append:before:1", "FAILPOINT_ONCE": str(mark)}
    platform.relay()
    doomed = platform.worker(env=env, handlers=("tests.handlers.good", "tests.handlers.failpoints"))
    ids = platform.submit("test.within", 10)
    platform.wait_until(lambda: mark.exists() and not doomed.alive, "the worker to die at its first message")
    platform.worker()
    platform.wait_ended(ids)

    ended_once(platform, ids, crashes=0)


def test_a_frozen_owner_changes_nothing_when_it_wakes(platform: Platform) -> None:
    """T03: its lease is over, somebody else has done its job; its late finish is dropped. Then it works on as one of us."""
    platform.relay()
    frozen = platform.worker(concurrency=1)
    (job,) = platform.submit("test.gated", payload={"gate": "frozen"})
    platform.wait_until(lambda: len(platform.effects.of("began")) == 1, "its start")
    (child,) = frozen.children()
    for pid in (frozen.pid, child):
        send(pid, signal.SIGSTOP)
    other = platform.worker(concurrency=1)
    platform.wait_until(lambda: len(platform.effects.of("began")) == 2, "its start on the other one")
    platform.effects.open("frozen")
    platform.wait_ended([job])
    before = (platform.job(job), platform.events(job), platform.attempts(job))
    assert other.stop() == 0
    for pid in (child, frozen.pid):
        send(pid, signal.SIGCONT)
    platform.wait_until(lambda: len(platform.effects.of("ended")) == 2, "the late end")
    more = platform.submit("test.within", 20)
    platform.wait_ended(more)

    assert (platform.job(job), platform.events(job), platform.attempts(job)) == before
    assert platform.value("select count(*) from effect where job_id = %s", job) == 1
    assert before[0]["status"] == "processed"

    (again,) = platform.submit("test.gated", payload={"gate": "never again"})
    platform.wait_until(lambda: len(platform.effects.of("began")) == 3, "its start on the one that was frozen")
    frozen.kill()
    platform.worker(concurrency=1)
    platform.effects.open("never again")
    platform.wait_ended([again])
    assert platform.job(again)["status"] == "processed"


def test_a_stop_hands_back_what_has_not_started(platform: Platform) -> None:
    """T04: what runs is finished, the rest goes to somebody else, no attempt is lost, and the worker leaves in order."""
    platform.relay()
    worker = platform.worker(concurrency=1)
    ids = platform.submit("test.within", 60, lambda n: {"n": n, "seconds": 0.05})
    platform.wait_until(lambda: len(platform.effects.of("ran")) >= 5, "a few to run")

    assert worker.stop() == 0
    assert platform.value("select count(*) from jobs_job where status = 'processing'") == 0
    assert 0 < platform.by_status(ids)["queued"] < 60
    assert platform.value("select count(*) from jobs_worker where stopped_at is null") == 0
    assert platform.value("select max(attempt) from jobs_job where id = any(%s) and status = 'queued'", ids) == 0
    platform.worker()
    platform.wait_ended(ids)
    ended_once(platform, ids, crashes=0)
    assert platform.value("select max(attempt) from jobs_job where id = any(%s)", ids) == 1


@pytest.fixture(params=[600, -600], ids=["ahead", "behind"])
def skewed(platform: Platform, request: pytest.FixtureRequest) -> Iterator[Program]:
    handlers = ("tests.handlers.skewed", "tests.handlers.good", "tests.handlers.bad")
    platform.relay()
    return platform.worker(env={"SKEW": str(request.param)}, handlers=handlers)


def test_a_worker_whose_clock_is_wrong_by_ten_minutes_changes_no_time(platform: Platform, skewed: Program) -> None:
    """T09: leases, backoffs and due times are the database's."""
    moment = platform.value("select date_trunc('second', clock_timestamp()) + interval '1 hour'")
    (until,) = platform.submit("test.park_until", payload={"at": moment.isoformat()})
    (later,) = platform.submit("test.skewed")
    (soon,) = platform.submit("test.park_once", payload={"seconds": 0.2})
    platform.wait_ended([soon])
    platform.wait_until(lambda: platform.job(until)["status"] == "parked", "it to park")
    platform.wait_until(lambda: platform.job(later)["attempt"] == 1 and platform.job(later)["status"] == "queued", "a retry")

    assert platform.job(until)["due_at"] == moment
    (failed,) = platform.attempts(later)
    wait = (platform.job(later)["due_at"] - failed["ended_at"]).total_seconds()
    assert 4.5 < wait < 5.5
    row: dict[str, Any] = platform.rows("select clock_timestamp() - max(heartbeat_at) as age from jobs_worker")[0]
    assert abs(row["age"].total_seconds()) < 30


def test_a_kind_that_no_live_worker_knows_waits_for_one_that_does(platform: Platform) -> None:
    """T10: an old worker beside new jobs drops nothing."""
    import tests.handlers.newer  # noqa: F401 - this process is the new version
    from jobs import registry
    from tests.processes import known

    platform.relay()
    platform.worker(handlers=("tests.handlers.good",))
    with known(["tests.handlers.newer"]):
        assert registry.find("test.newer")
        new = platform.submit("test.newer", 5, {"n": 1, "since_version_two": "x"})
        old = platform.submit("test.done", 5)
        platform.wait_ended(old)
        assert platform.by_status(new) == {"queued": 5}
        assert platform.value("select count(*) from jobs_doorbell where kind = 'test.newer'") == 0
        platform.worker(handlers=("tests.handlers.good", "tests.handlers.newer"))
        platform.wait_ended(new)

    assert platform.by_status(new) == {"processed": 5}


def test_a_one_shot_job_whose_process_died_is_never_run_again(platform: Platform) -> None:
    platform.relay()
    worker = platform.worker(concurrency=1)
    first, second = platform.submit("test.once", 2, {"gate": "shot"})
    platform.wait_until(lambda: platform.effects.of("began"), "the first to start")
    started = UUID(platform.effects.of("began")[0]["job"])
    (child,) = worker.children()
    send(child, signal.SIGKILL)
    platform.wait_until(lambda: platform.job(started)["status"] == "blocked", "it to stand blocked")
    platform.effects.open("shot")
    other = second if started == first else first
    platform.wait_ended([other])

    assert platform.job(other)["status"] == "processed"
    assert platform.effects.count("began")[str(started)] == 1
    assert platform.attempts(started)[0]["error"]["code"] == "worker_died"


def test_a_child_that_starts_while_the_database_is_away_works_when_it_is_back(platform: Platform, servers: Any) -> None:
    platform.relay()
    worker = platform.worker()
    platform.rows("alter database {} set synchronous_commit = on returning 1".format("x")) if False else None
    servers.kill("postgres")
    for child in worker.children():
        send(child, signal.SIGKILL)
    platform.wait_until(lambda: len(worker.children()) == 2, "new children")
    begun = time.monotonic()
    servers.revive()
    ids = platform.submit("test.within", 50)
    platform.wait_ended(ids)

    ended_once(platform, ids, crashes=0)
    assert time.monotonic() - begun < 60
    platform.wait_until(lambda: len(platform.live_children(worker)) == 2, "both children at work")


def test_two_workers_never_own_the_same_job(platform: Platform) -> None:
    """Under load, without any fault: one claim per job, one owner at a time."""
    platform.relay()
    platform.worker()
    platform.worker()
    ids = list(itertools.chain(platform.submit("test.within", 200), platform.submit("test.asleep", 200)))
    platform.wait_ended(ids)

    assert set(platform.effects.count("ran").values()) == {1}
    assert platform.value("select max(claim_no) from jobs_job where id = any(%s) and kind = 'test.within'", ids) == 1
