"""Workers die, freeze, stop and lie about the time (T01 to T04, T09, T10): every accepted job ends, once."""

import datetime as dt
import random
import signal
from functools import partial
from typing import Any
from uuid import UUID

import psutil
import pytest
from django.db import connection

from jobs import standing
from jobs.serializers import explain
from tests.often import often
from tests.processes import ENDED, PROJECT, Platform, Program, Servers, known, send

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

BOUND = 30.0  # seconds from a death to the next run
GRACE = 5.0  # seconds that a worker gets for its stop


@pytest.fixture(autouse=True)
def relay(platform: Platform) -> Program:
    return platform.some_relay()


def ended_once(platform: Platform, ids: list[UUID], *, crashes: int = 0) -> None:
    """Every job is done; its effect inside the commit happened once; runs were repeated only where a process died."""
    assert platform.by_status(ids) == {"processed": len(ids)}
    assert platform.rows("select job_id from effect where job_id = any(%s) group by 1 having count(*) <> 1", ids) == []
    assert platform.value("select count(*) from effect where job_id = any(%s)", ids) == len(ids)
    ran = platform.effects.count("ran", ids)
    assert len(ran) == len(ids)
    # A flush comes at least every 50 ms, so a death repeats the job that ran and what was done since the last flush.
    assert ran.total() <= len(ids) + crashes * 60
    gaps = "select subject_id from events_event where subject_id = any(%s) group by 1 having count(*) <> max(seq)"
    assert platform.rows(gaps, ids) == []


def again_in_time(platform: Platform, ids: list[UUID]) -> None:
    """By the clock of the process that recorded the effects: no run waited longer for the next one than the bound."""
    before: dict[str, float] = {}
    for effect in platform.effects.of("ran", ids):
        assert effect["at"] - before.get(effect["job"], effect["at"]) < BOUND, effect
        before[effect["job"]] = effect["at"]


def started(platform: Platform, ids: list[UUID], number: int) -> None:
    """Wait until these jobs have begun so many runs together."""
    platform.wait_until(lambda: len(platform.effects.of("began", ids)) >= number, f"{number} runs to begin")


def now(platform: Platform) -> dt.datetime:
    moment: dt.datetime = platform.value("select clock_timestamp()")
    return moment


def owner(platform: Platform, job: UUID) -> int:
    """The process that runs a job."""
    query = "select w.pid from jobs_job j join jobs_worker w on w.id = j.claimed_by where j.id = %s"
    return int(platform.value(query, job))


# ------------------------------------------------------------------------------------------------ T01
def kill_while_they_run(platform: Platform, worker: Program, *, kills: int, jobs: int, seed: int) -> None:
    """Kill children of the worker at random moments until `kills` have died, then see that nothing is missing."""
    chance = random.Random(seed)
    print(f"seed {seed}")
    ids: list[UUID] = []
    killed: set[int] = set()

    def left() -> int:
        return int(
            platform.value("select count(*) from jobs_job where id = any(%s) and status <> all(%s)", ids, [*ENDED])
        )

    def worked(goal: int) -> bool:
        return len(platform.effects.all()) >= goal or not left()

    while len(killed) < kills:
        if left() < jobs // 3:
            ids += platform.submit(
                "test.within", jobs, lambda n: {"n": n, "seconds": chance.choice([0, 0, 0.001, 0.01])}
            )
        goal = len(platform.effects.all()) + chance.randrange(1, 30)
        platform.wait_until(partial(worked, goal), "work")
        if children := [pid for pid in worker.children() if pid not in killed]:
            killed.add(victim := chance.choice(children))
            send(victim, signal.SIGKILL)
    platform.wait_ended(ids, seconds=120)
    ended_once(platform, ids, crashes=kills)
    again_in_time(platform, ids)


def test_children_killed_at_random_lose_and_double_nothing(platform: Platform) -> None:
    kill_while_they_run(platform, platform.some_worker(), kills=8, jobs=200, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(10))
def test_five_hundred_children_killed_at_random_lose_and_double_nothing(platform: Platform, seed: int) -> None:
    kill_while_they_run(platform, platform.some_worker(), kills=50, jobs=500, seed=seed)


def kill_workers_while_they_run(platform: Platform, *, kills: int, jobs: int, seed: int) -> None:
    """Kill one of two workers at random moments: its parent, whose children follow, or all of them at once."""
    chance = random.Random(seed)
    print(f"seed {seed}")
    workers = [platform.worker(), platform.worker(beside=True)]
    ids: list[UUID] = []

    def ran(goal: int) -> bool:
        return len(platform.effects.of("ran", ids)) >= goal

    for _ in range(kills):
        ids += platform.submit("test.within", jobs, lambda n: {"n": n, "seconds": chance.choice([0, 0.01, 0.02])})
        goal = len(platform.effects.of("ran", ids)) + chance.randrange(1, jobs // 2)
        platform.wait_until(partial(ran, goal), f"{goal} runs")
        victim = workers.pop(chance.randrange(2))
        chance.choice([Program.kill, Program.kill_parent])(victim)
        workers.append(platform.worker(beside=True))
    platform.wait_ended(ids, seconds=120)
    ended_once(platform, ids, crashes=2 * kills)
    again_in_time(platform, ids)
    assert workers.pop().stop() == 0


def test_workers_killed_at_random_lose_and_double_nothing(platform: Platform) -> None:
    kill_workers_while_they_run(platform, kills=3, jobs=200, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(5))
def test_fifty_workers_killed_at_random_lose_and_double_nothing(platform: Platform, seed: int) -> None:
    kill_workers_while_they_run(platform, kills=10, jobs=300, seed=seed)


def test_the_job_of_a_killed_child_comes_back_within_two_seconds(platform: Platform) -> None:
    platform.some_worker()
    (job,) = platform.submit("test.gated", payload={"gate": "child"})
    started(platform, [job], 1)
    died = now(platform)
    send(owner(platform, job), signal.SIGKILL)
    started(platform, [job], 2)
    platform.effects.open("child")
    platform.wait_ended([job])

    first, second = platform.attempts(job)
    assert (first["outcome"], first["error"]["code"], first["attempt"]) == ("retried", "worker_died", 1)
    assert (second["outcome"], second["attempt"]) == ("done", 2)
    # Its start is told from how long it was held when it was missed: by the database's clock, a statement too early.
    assert first["started_at"] - dt.timedelta(seconds=0.5) <= died <= first["ended_at"]
    assert (first["ended_at"] - died).total_seconds() < 2.0
    assert (second["started_at"] - died).total_seconds() < 5.0  # with its backoff, and while a new child starts


def test_after_the_death_of_a_host_another_one_takes_over_within_thirty_seconds(platform: Platform) -> None:
    doomed = platform.some_worker()
    ids = platform.submit("test.gated", 2, {"gate": "host"})
    started(platform, ids, 2)
    platform.worker(beside=True)
    died = now(platform)
    doomed.kill()
    started(platform, ids, 4)
    platform.effects.open("host")
    platform.wait_ended(ids)

    for job in ids:
        first, second = platform.attempts(job)
        assert (first["error"]["code"], second["outcome"]) == ("worker_died", "done")
        assert (first["ended_at"] - died).total_seconds() < BOUND
        assert (second["started_at"] - died).total_seconds() < BOUND
    assert platform.value("select count(*) from effect where job_id = any(%s)", ids) == 2


def test_the_batch_of_a_dead_host_comes_back_without_losing_an_attempt(platform: Platform) -> None:
    """Nobody can tell which of an async batch has started: so all of it comes back, in halves, and free."""
    doomed = platform.worker(concurrency=1)
    ids = platform.submit("test.asleep", 40, {"seconds": 3600})
    platform.wait_until(lambda: len(platform.effects.of("ran", ids)) == 40, "all to run")
    doomed.kill()
    assert platform.execute("update jobs_job set payload = '{\"seconds\": 0}' where id = any(%s)", ids) == 40
    platform.worker()
    platform.wait_ended(ids)

    assert platform.rows("select status, attempt, count(*) from jobs_job where id = any(%s) group by 1, 2", ids) == [
        {"status": "processed", "attempt": 1, "count": 40}
    ]


def test_the_children_of_a_killed_parent_die_with_it_and_their_jobs_come_back(platform: Platform) -> None:
    doomed = platform.some_worker()
    ids = platform.submit("test.gated", 2, {"gate": "parent"})
    started(platform, ids, 2)
    children = doomed.children()
    doomed.kill_parent()
    platform.wait_until(lambda: not any(psutil.pid_exists(pid) for pid in children), "the children to end")
    platform.some_worker()
    started(platform, ids, 4)
    platform.effects.open("parent")
    platform.wait_ended(ids)

    assert platform.by_status(ids) == {"processed": 2}
    assert platform.value("select count(*) from effect where job_id = any(%s)", ids) == 2


def test_a_one_shot_job_whose_process_died_is_never_run_again(platform: Platform) -> None:
    platform.worker(concurrency=1)
    ids = platform.submit("test.once", 2, {"gate": "shot"})
    started(platform, ids, 1)
    (first,) = platform.effects.count("began", ids)
    send(owner(platform, first), signal.SIGKILL)
    platform.wait_until(lambda: platform.job(first)["status"] == "blocked", "it to stand blocked")
    platform.effects.open("shot")
    platform.wait_ended(ids)

    assert platform.by_status(ids) == {"blocked": 1, "processed": 1}
    assert platform.effects.count("began", ids)[first] == 1
    assert platform.attempts(first)[0]["error"]["code"] == "worker_died"


def test_a_child_that_starts_while_the_database_is_away_works_when_it_is_back(
    platform: Platform, servers: Servers
) -> None:
    worker = platform.some_worker()
    before = worker.children()
    servers.kill("postgres")
    for child in before:
        send(child, signal.SIGKILL)
    platform.wait_until(lambda: set(worker.children()) - set(before), "a new child")
    servers.revive()
    connection.close()
    ids = platform.submit("test.within", 50)
    platform.wait_ended(ids)

    ended_once(platform, ids)
    platform.wait_until(lambda: len(platform.live_children(worker)) == 2, "both children at work")


# ------------------------------------------------------------------------------------------------ T02 to T04
def test_a_worker_that_dies_with_a_message_in_its_hand_costs_nothing(platform: Platform) -> None:
    """T02: the broker has handed the message out, and it is not noted anywhere that it did."""
    mark = platform.directory / "died"
    env = {"FAILPOINT": "kombu.transport.redis:QoS.append:before:1", "FAILPOINT_ONCE": str(mark)}
    handlers = ("tests.handlers.good", "tests.handlers.failpoints")
    doomed = platform.worker(env=env, handlers=handlers, doomed=True)
    while not doomed.alive:  # at a message that was left from before
        mark.unlink()
        doomed = platform.worker(env=env, handlers=handlers, doomed=True)
    ids = platform.submit("test.within", 10)
    platform.wait_until(lambda: mark.exists() and not doomed.alive, "the worker to die at its first message")
    platform.worker()
    platform.wait_ended(ids)

    ended_once(platform, ids)


def test_a_frozen_owner_changes_nothing_when_it_wakes(platform: Platform) -> None:
    """T03: its time is over and somebody else has done its job; its late end is dropped. Then it is one of us again."""
    frozen = platform.worker(concurrency=1)
    (job,) = platform.submit("test.gated", payload={"gate": "frozen"})
    started(platform, [job], 1)
    everybody = [frozen.pid, *frozen.children()]
    for pid in everybody:
        send(pid, signal.SIGSTOP)
    other = platform.worker(concurrency=1, beside=True)
    started(platform, [job], 2)
    platform.effects.open("frozen")
    platform.wait_ended([job])
    before = (platform.job(job), platform.events(job), platform.attempts(job))
    assert other.stop() == 0
    for pid in everybody:
        send(pid, signal.SIGCONT)
    platform.wait_until(lambda: len(platform.effects.of("ended", [job])) == 2, "the late end")
    more = platform.submit("test.within", 20)
    platform.wait_ended(more)

    assert (platform.job(job), platform.events(job), platform.attempts(job)) == before
    assert (before[0]["status"], before[0]["claim_no"]) == ("processed", 2)
    assert platform.value("select count(*) from effect where job_id = %s", job) == 1
    ended_once(platform, more)

    # What it claims from now on must come back as well when it dies.
    (again,) = platform.submit("test.gated", payload={"gate": "again"})
    started(platform, [again], 1)
    frozen.kill()
    platform.worker(concurrency=1)
    platform.effects.open("again")
    platform.wait_ended([again])
    assert platform.job(again)["status"] == "processed"


def test_a_stop_hands_back_what_has_not_started(platform: Platform) -> None:
    """T04: what runs is finished, the rest goes to somebody else, no attempt is lost, and the worker leaves in order."""
    worker = platform.worker(concurrency=1)
    ids = platform.submit("test.within", 300, lambda n: {"n": n, "seconds": 0.05})  # three times the grace
    platform.wait_until(lambda: len(platform.effects.of("ran", ids)) >= 5, "a few to run")

    assert worker.stop(seconds=GRACE) == 0
    standing = platform.by_status(ids)
    assert set(standing) == {"processed", "queued"}
    assert platform.value("select max(attempt) from jobs_job where id = any(%s) and status = 'queued'", ids) == 0
    gone = "select stopped_at is not null as gone from jobs_worker where parent_pid = %s"
    assert platform.rows(gone, worker.pid) == [{"gone": True}]
    platform.worker()
    platform.wait_ended(ids)
    ended_once(platform, ids)
    assert platform.value("select max(attempt) from jobs_job where id = any(%s)", ids) == 1


# ------------------------------------------------------------------------------------------------ T09, T10
@pytest.mark.parametrize("seconds", often({600}, [600, -600]))
def test_a_worker_whose_clock_is_wrong_by_ten_minutes_changes_no_time(platform: Platform, seconds: int) -> None:
    """T09: heartbeats, leases, backoffs and due times are the database's."""
    handlers = ("tests.handlers.good", "tests.handlers.skewed")
    platform.worker(concurrency=1)
    gate = f"beside {seconds}"
    (held,) = platform.submit("test.gated", payload={"gate": gate})
    started(platform, [held], 1)
    platform.worker(env={"SKEW": str(seconds)}, handlers=handlers, beside=True)
    moment = platform.value("select date_trunc('second', clock_timestamp()) + interval '1 hour'")
    (until,) = platform.submit("test.park_until", payload={"at": moment.isoformat()})
    (later,) = platform.submit("test.skewed")
    (soon,) = platform.submit("test.park_once", payload={"seconds": 0.2})
    platform.wait_ended([soon])
    platform.wait_until(lambda: platform.job(until)["status"] == "parked", "it to park")
    platform.wait_until(lambda: platform.job(later)["status"] == "queued" and platform.attempts(later), "a retry")

    assert platform.job(until)["due_at"] == moment
    (failed,) = platform.attempts(later)
    assert 4.5 < (platform.job(later)["due_at"] - failed["ended_at"]).total_seconds() < 5.5
    row: dict[str, Any] = platform.rows("select clock_timestamp() - max(heartbeat_at) as age from jobs_worker")[0]
    assert abs(row["age"].total_seconds()) < 30
    platform.effects.open(gate)
    platform.wait_ended([held])
    assert [(a["outcome"], a["claim_no"]) for a in platform.attempts(held)] == [("done", 1)]  # nobody took it away


def test_a_kind_that_no_live_worker_knows_waits_for_one_that_does(platform: Platform) -> None:
    """T10: an old worker beside new jobs drops nothing."""
    platform.worker(handlers=("tests.handlers.good",))
    with known(["tests.handlers.newer"]):
        new = platform.submit("test.newer", 5, {"n": 1, "since_version_two": "x"})
        old = platform.submit("test.done", 5)
        platform.wait_ended(old)
        assert platform.by_status(new) == {"queued": 5}
        assert platform.value("select count(*) from jobs_doorbell where kind = 'test.newer'") == 0
        said = explain(standing.of(PROJECT, new[0]))
        assert (said["status"], said["code"]) == ("queued", "no_worker"), said
        platform.worker(handlers=("tests.handlers.good", "tests.handlers.newer"), beside=True)
        platform.wait_ended(new)

    assert platform.by_status(new) == {"processed": 5}


def test_two_workers_never_own_the_same_job(platform: Platform) -> None:
    """Under load and without any fault: one claim and one run per job."""
    platform.some_worker()
    platform.worker(beside=True)
    ids = platform.submit("test.within", 200) + platform.submit("test.done", 200)
    platform.wait_ended(ids)

    assert platform.effects.count("ran", ids).total() == len(ids)
    assert platform.value("select max(attempt) from jobs_job where id = any(%s)", ids) == 1


# ------------------------------------------------------------------------------------------------ a connection is lost
def test_async_jobs_run_on_while_their_connection_is_lost(platform: Platform) -> None:
    platform.worker(concurrency=1)
    ids = platform.submit("test.gated_async", 10, {"gate": "lost"})
    started(platform, ids, 10)
    cut = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'worker1'"
    name = platform.value(
        "select application_name from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()"
        " and query like '-- claim%%' limit 1"
    )
    assert platform.value(cut.replace("'worker1'", "%s") + " and query like '-- claim%%'", name) >= 1
    more = platform.submit("test.gated_async", 2, {"gate": "lost"})
    started(platform, more, 2)  # the window is refilled again
    platform.effects.open("lost")
    platform.wait_ended([*ids, *more])

    assert platform.by_status([*ids, *more]) == {"processed": 12}
    assert set(platform.effects.count("began", ids).values()) == {1}
    assert {attempt["outcome"] for job in ids for attempt in platform.attempts(job)} == {"done"}
