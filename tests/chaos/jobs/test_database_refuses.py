"""The database is locked, in conflict, read-only, full, or takes nobody else (T26 to T29): work waits, and goes on alone."""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from uuid import UUID, uuid4

import psycopg
import pytest
from pytest_django import DjangoDbBlocker

from jobplatform.api.connections import MOST
from jobplatform.servers import OWNER
from jobs.states import LIVE_SECONDS
from tests.acceptance.jobs.web import JOBS, Answer, Web
from tests.processes import Platform, Program, Servers, send

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

BOUND = 60.0  # seconds from the end of a fault until everything that waited is done


@pytest.fixture(scope="module")
def platform(own_servers: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    platform = Platform(own_servers.cluster, own_servers.broker_url, env={"ALLOWED_HOSTS": "127.0.0.1"})
    with django_db_blocker.unblock(), platform:
        yield platform


@pytest.fixture(scope="module")
def web(platform: Platform) -> Web:
    return Web(platform)


@pytest.fixture
def survivors(platform: Platform, web: Web) -> Iterator[list[Program]]:
    """Relay, worker and web server: none of them ends, and none leaks a connection."""
    programs = [platform.some_relay(), platform.some_worker(), web.program]
    yield programs
    assert all(program.alive for program in programs)
    places = MOST * len(web.program.children())
    platform.wait_until(lambda: web.connections() <= 2 * places, "places, each with a bell at most")
    open_still = (
        "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in tr%%'"
    )
    platform.wait_until(lambda: platform.value(open_still) == 0, "no transaction to be left open")


def create(web: Web, key: str, n: int = 0) -> Answer:
    """Ask for a job once. It is accepted, or the answer says when to come again."""
    answer = web.call("POST", JOBS, {"kind": "test.open", "payload": {"n": n}}, Idempotency_Key=key)
    if answer.status != 202:
        assert answer.status == 503, answer
        assert int(answer.headers["retry-after"]) > 0
    return answer


def insist(platform: Platform, web: Web, keys: list[str]) -> list[UUID]:
    """Ask until each is accepted. The ids."""
    made = []
    for key in keys:
        answers: list[Answer] = []
        again = partial(_accepted, web, key, answers)
        platform.wait_until(again, "a job to be accepted", seconds=BOUND)
        made.append(UUID(answers[-1].body["id"]))
    return made


def _accepted(web: Web, key: str, answers: list[Answer]) -> bool:
    answers.append(create(web, key))
    return answers[-1].status == 202


def submitted(platform: Platform, ids: list[UUID], number: int) -> bool:
    """Create jobs in a transaction of the caller's own, which only the caller can try again."""
    try:
        ids += platform.submit("test.silent", number)
    except psycopg.OperationalError:
        return False
    return True


def keys(number: int) -> list[str]:
    return [str(uuid4()) for _ in range(number)]


def began(platform: Platform, ids: list[UUID]) -> None:
    platform.wait_until(lambda: len(platform.effects.of("began", ids)) >= len(ids), "all to begin")


def all_done(platform: Platform, ids: list[UUID], *, runs: str = "ran") -> None:
    """Each job is done, by one run."""
    platform.wait_ended(ids, seconds=BOUND)
    assert platform.by_status(ids) == {"processed": len(ids)}
    assert Counter(platform.effects.count(runs, ids).values()) == {1: len(ids)}


# ------------------------------------------------------------------------------------------------ T26
WAITS = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and query like '-- commit%%'"


def test_a_table_that_is_locked_for_longer_than_a_request_waits(
    platform: Platform, web: Web, survivors: list[Program]
) -> None:
    """T26. As by ALTER TABLE behind a long query."""
    running = platform.submit("test.gated_async", 5, {"gate": "locked"})
    began(platform, running)
    wanted = keys(4)
    with psycopg.connect(platform.database_url) as migration:
        migration.execute("alter table jobs_job add column held int")
        with ThreadPoolExecutor(len(wanted)) as clients:
            answers = list(clients.map(partial(create, web), wanted))
        assert {(answer.status, answer.body["code"]) for answer in answers} == {(503, "database_busy")}
        platform.effects.open("locked")
        platform.wait_until(lambda: platform.value(WAITS) > 0, "an outcome to wait for the lock")
        migration.rollback()
    ids = insist(platform, web, wanted)

    all_done(platform, ids)
    all_done(platform, running, runs="began")  # its only attempt
    assert platform.value("select count(*) from jobs_job where kind = 'test.open'") == len(ids)


TRIES = """
create sequence tries;
create table conflicts (share float8 not null, code text not null);
insert into conflicts values (0, '40001');
create function conflict() returns trigger language plpgsql as $$
declare c conflicts;
begin
    perform nextval('tries');
    select * into c from conflicts;
    if random() < c.share then
        raise exception 'a conflict on purpose' using errcode = c.code;
    end if;
    return null;
end $$;
create trigger conflict after insert or update on jobs_job for each statement execute function conflict();
"""


@pytest.fixture
def conflicts(platform: Platform) -> Iterator[None]:
    """Statements that write jobs fail as often as the table `conflicts` says."""
    platform.execute(TRIES)
    yield
    platform.execute(
        "drop trigger conflict on jobs_job; drop function conflict; drop table conflicts; drop sequence tries"
    )


@pytest.mark.parametrize("code", ["40P01", "40001"], ids=["deadlock", "serialization failure"])
@pytest.mark.usefixtures("conflicts", "survivors")
def test_conflicts_are_tried_again_a_few_times_and_then_told(platform: Platform, web: Web, code: str) -> None:
    """T26."""
    create(web, str(uuid4()))
    platform.execute("update conflicts set share = 1, code = %s", code)
    before = platform.value("select nextval('tries')")
    answer = create(web, str(uuid4()))
    tries = platform.value("select nextval('tries')") - before - 1
    platform.execute("update conflicts set share = 0.05")
    wanted = keys(100)
    with ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(partial(create, web), wanted))
    ids = insist(platform, web, wanted)
    platform.wait_until(lambda: submitted(platform, ids, 300), "a transaction of ours without a conflict")
    platform.wait_ended(ids, seconds=BOUND)

    assert (answer.status, answer.body["code"]) == (503, "database_conflict")
    assert 2 <= tries <= 10
    assert sum(answer.status == 202 for answer in answers) >= 95  # four tries: one in 160,000 is told
    assert platform.by_status(ids) == {"processed": len(ids)}
    assert platform.rows("select subject_id from events_event group by 1 having count(*) <> max(seq)") == []


# ------------------------------------------------------------------------------------------------ T27
def test_a_database_that_takes_no_writes_for_a_while(
    platform: Platform, web: Web, own_servers: Servers, survivors: list[Program]
) -> None:
    """T27: for longer than a worker may be silent. Whoever was at work then is not taken for dead afterwards."""
    _, worker, _ = survivors
    running = platform.submit("test.gated", 1, {"gate": "read-only"})
    began(platform, running)
    parked = platform.submit("test.park_once", 2, {"seconds": 3600})
    platform.wait_until(lambda: platform.by_status(parked) == {"parked": 2}, "both to park")
    wanted = keys(5)
    own_servers.configure("alter system set default_transaction_read_only = on")
    try:
        # Each time with a new key: a job that was accepted before the server heard of it is told again, read-only or not.
        platform.wait_until(lambda: create(web, str(uuid4())).status == 503, "a refusal")
        assert {create(web, key).body["code"] for key in wanted} == {"database_unavailable"}
        platform.wait_until(partial(silent, platform), "the workers to be silent for too long")
    finally:
        own_servers.configure("alter system reset default_transaction_read_only")
    the_relay_looks_first(platform, worker, parked)
    ids = insist(platform, web, wanted)
    all_done(platform, ids)
    platform.effects.open("read-only")

    all_done(platform, running, runs="began")
    assert platform.value("select max(claim_no) from jobs_job where id = any(%s)", running) == 1


def silent(platform: Platform) -> bool:
    """Whether no worker has been heard of for longer than one that lives."""
    seconds = LIVE_SECONDS + 3
    query = "select max(heartbeat_at) < clock_timestamp() - %s * interval '1 second' from jobs_worker"
    return bool(platform.value(query, seconds))


def the_relay_looks_first(platform: Platform, worker: Program, parked: list[UUID]) -> None:
    """Keep the worker from beating until the relay has done its chores: each time, it wakes what is parked first."""
    children = worker.children()
    for child in children:
        send(child, signal.SIGSTOP)
    for job in parked:
        platform.execute("update jobs_job set due_at = platform_now() where id = %s", job)
        platform.wait_until(lambda job=job: platform.job(job)["status"] == "queued", "it to wake")  # type: ignore[misc]
    for child in children:
        send(child, signal.SIGCONT)


# ------------------------------------------------------------------------------------------------ T29
def test_a_database_that_takes_no_more_connections(
    platform: Platform, web: Web, own_servers: Servers, survivors: list[Program]
) -> None:
    """T29: who has a connection works on, who has none waits for one, and nobody starts over and over at full speed."""
    relay, worker, _ = survivors
    running = platform.submit("test.gated", 2, {"gate": "exhausted"})
    began(platform, running)
    own_servers.configure(f"alter role {OWNER} connection limit 1")
    try:
        began_at, said = time.monotonic(), len(worker.log)
        victim = worker.children()[0]
        send(victim, signal.SIGKILL)
        with ThreadPoolExecutor(3 * MOST) as clients:
            answers = list(clients.map(partial(create, web), keys(3 * MOST)))
        platform.wait_until(lambda: worker.log[said:].count("no database") >= 4, "a child to try several times")
        starts, took = worker.log[said:].count("no database"), time.monotonic() - began_at
        platform.wait_until(lambda: create(web, str(uuid4())).status in {202, 503}, "an answer")
    finally:
        own_servers.configure(f"alter role {OWNER} connection limit -1")
    assert {answer.status for answer in answers} <= {202, 503}
    assert starts <= 2 * (took / 0.5) + 2
    made = [UUID(answer.body["id"]) for answer in answers if answer.status == 202]
    ids = made + insist(platform, web, keys(20))
    platform.effects.open("exhausted")

    all_done(platform, ids)
    platform.wait_ended(running, seconds=BOUND)
    assert platform.by_status(running) == {"processed": 2}
    assert platform.value("select count(*) from effect where job_id = any(%s)", running) == 2
    platform.wait_until(lambda: len(platform.live_children(worker)) == 2, "both children at work")
    assert relay.alive


# ------------------------------------------------------------------------------------------------ outcomes
@pytest.mark.usefixtures("survivors")
def test_an_outcome_waits_for_a_database_that_takes_no_writes(platform: Platform, own_servers: Servers) -> None:
    """T27: for some seconds, as it waits for one that is away."""
    running = platform.submit("test.gated_async", 3, {"gate": "outcome"})  # each has one attempt
    began(platform, running)
    own_servers.configure("alter system set default_transaction_read_only = on")
    try:
        platform.effects.open("outcome")
        moment = time.monotonic() + 3.0
        platform.wait_until(lambda: time.monotonic() >= moment, "some seconds to pass")
    finally:
        own_servers.configure("alter system reset default_transaction_read_only")
    platform.wait_ended(running, seconds=BOUND)

    assert platform.by_status(running) == {"processed": 3}


@pytest.mark.usefixtures("survivors", "conflicts")
def test_a_conflict_in_a_commit_with_within_is_not_the_jobs_error(platform: Platform) -> None:
    """T26: an outcome without `within` is committed again; so should one with it be."""
    (job,) = platform.submit("test.gated", 1, {"gate": "conflict"}, max_attempts=1)
    began(platform, [job])
    platform.execute("update conflicts set share = 1, code = '40P01'")
    before = platform.value("select nextval('tries')")
    platform.effects.open("conflict")
    platform.wait_until(lambda: platform.value("select last_value from tries") > before + 1, "a try")
    platform.execute("update conflicts set share = 0")
    platform.wait_ended([job])

    assert platform.job(job)["status"] == "processed"
