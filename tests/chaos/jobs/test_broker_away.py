"""The broker hangs, is full, or comes and goes (T15, T16, T18): jobs are accepted as ever, and dispatch resumes alone."""

import signal
import time
from collections.abc import Iterator
from functools import partial
from uuid import UUID

import pytest
from pytest_django import DjangoDbBlocker

from tests.acceptance.jobs.web import JOBS, Web
from tests.chaos.jobs.test_workers import ended_once
from tests.processes import Platform, Program, Servers, broker, send
from tests.tunnel import Tunnel

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

BOUND = 60.0  # seconds from the end of a fault until work that waited for the broker is done
REFUSED = "used memory > 'maxmemory'"  # what Redis says when it takes no writes
AT_ONCE = 5.0  # seconds for an answer of the API on a busy machine: half of what it would wait for a broker that hangs


@pytest.fixture(scope="module")
def tunnel(own_servers: Servers) -> Iterator[Tunnel]:
    with Tunnel(str(own_servers.redis.socket_path)) as tunnel:
        yield tunnel


@pytest.fixture(scope="module")
def platform(own_servers: Servers, tunnel: Tunnel, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    """Its processes reach Redis through the tunnel."""
    url = f"redis://127.0.0.1:{tunnel.port}/0"
    platform = Platform(own_servers.cluster, url, env={"ALLOWED_HOSTS": "127.0.0.1"})
    with django_db_blocker.unblock(), platform:
        yield platform


@pytest.fixture(scope="module")
def web(platform: Platform) -> Web:
    return Web(platform)


def create(web: Web, number: int) -> list[UUID]:
    """Create jobs over HTTP, each of which must be accepted at once."""
    made = []
    for n in range(number):
        began = time.monotonic()
        answer = web.call("POST", JOBS, {"kind": "test.open", "payload": {"n": n}})
        assert answer.status == 202, answer
        assert time.monotonic() - began < AT_ONCE
        made.append(UUID(answer.body["id"]))
    return made


def quiet(platform: Platform) -> None:
    """No pump is at work or lingers: only a message through the broker can start one."""
    platform.wait_until(lambda: platform.value("select count(*) from jobs_doorbell") == 0, "every pump to end")


def done_once(platform: Platform, ids: list[UUID], *, seconds: float = BOUND) -> None:
    platform.wait_ended(ids, seconds=seconds)
    assert platform.by_status(ids) == {"processed": len(ids)}
    assert set(platform.effects.count("ran", ids).values()) == {1}
    assert platform.value("select max(attempt) from jobs_job where id = any(%s)", ids) == 1


def new_words(program: Program, words: str, platform: Platform, *, after: int) -> None:
    """Wait until a program has said something that it had not said by then."""
    platform.wait_until(lambda: words in program.log[after:], f"{program.name} to say {words!r}")


def one_of_each_child(platform: Platform, workers: list[Program], gate: str) -> None:
    """Every child of every worker takes a job: as many run at once as there are children."""
    children = [pid for worker in workers for pid in worker.children()]
    ids = platform.submit("test.gated", len(children), {"gate": gate})

    def at_work() -> set[int]:
        return {effect["pid"] for effect in platform.effects.of("began", ids)}

    platform.wait_until(lambda: at_work() >= set(children), f"each of {children} to take a job", seconds=BOUND)
    platform.effects.open(gate)
    platform.wait_ended(ids)
    assert platform.by_status(ids) == {"processed": len(ids)}


# ------------------------------------------------------------------------------------------------ T15
def test_a_half_open_broker_delays_no_creation_and_dispatch_resumes(
    platform: Platform, tunnel: Tunnel, web: Web
) -> None:
    """T15. Links that stood when it began stay dead for ever: relay and worker have to find that out alone."""
    relay, worker = platform.some_relay(), platform.some_worker()
    done_once(platform, create(web, 5))
    assert tunnel.peers([relay.pid, worker.pid])[worker.pid]  # this is the way
    quiet(platform)
    held = platform.submit("test.gated", len(worker.children()), {"gate": "stalled"})
    platform.wait_until(lambda: len(platform.effects.of("began", held)) == len(held), "every child to be at work")
    heard, worked = len(relay.log), len(worker.log)
    tunnel.stall()
    platform.effects.open("stalled")
    ids = create(web, 20)
    dead = ("Couldn't ack", "Connection to broker lost")
    platform.wait_until(lambda: any(words in worker.log[worked:] for words in dead), "the worker to find it dead")
    new_words(relay, "broker away", platform, after=heard)
    ids += create(web, 20)
    tunnel.heal()
    done_once(platform, ids)

    assert platform.by_status(held) == {"processed": len(held)}
    family = [web.program.pid, *web.program.children()]
    assert not any(tunnel.peers(family).values())  # the API has nothing to do with the broker
    one_of_each_child(platform, [worker], "after the stall")
    assert (relay.alive, worker.alive) == (True, True)


def test_a_broker_that_answers_nobody_for_a_while(platform: Platform, web: Web, own_servers: Servers) -> None:
    """T15. Longer than a publish waits."""
    relay, worker = platform.some_relay(), platform.some_worker()
    quiet(platform)
    heard = len(relay.log)
    with broker(own_servers.broker_url) as client:
        client.execute_command("CLIENT", "PAUSE", 15_000, "ALL")
    ids = create(web, 20)
    new_words(relay, "broker away", platform, after=heard)
    ids += create(web, 20)
    done_once(platform, ids)

    one_of_each_child(platform, [worker], "after the pause")
    assert (relay.alive, worker.alive) == (True, True)


# ------------------------------------------------------------------------------------------------ T16
def test_a_broker_without_memory_refuses_doorbells_and_no_job_is_lost(
    platform: Platform, web: Web, own_servers: Servers
) -> None:
    """T16."""
    relay, worker = platform.some_relay(), platform.some_worker()
    quiet(platform)
    heard = len(relay.log)
    with broker(own_servers.broker_url) as client:
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", 1)
        try:
            ids = create(web, 20)
            new_words(relay, "broker away", platform, after=heard)
            ids += create(web, 20)
            assert set(platform.by_status(ids)) == {"queued"}
            assert client.llen("default") == 0  # nothing piles up
        finally:
            client.config_set("maxmemory", before)
    done_once(platform, ids)

    assert REFUSED in relay.log[heard:]  # who reads the log is told why
    one_of_each_child(platform, [worker], "after the flood")
    assert (relay.alive, worker.alive) == (True, True)


def test_a_broker_without_memory_for_the_note_of_what_a_worker_took_stops_no_worker(
    platform: Platform, own_servers: Servers
) -> None:
    """T16. Messages are on their way when it fills up: what takes one also has to write that it did."""
    platform.some_relay()
    worker = platform.some_worker()
    children = worker.children()
    quiet(platform)
    send(worker.pid, signal.SIGSTOP)
    ids = platform.submit("test.within", 5) + platform.submit("test.done", 5)
    with broker(own_servers.broker_url) as client:
        platform.wait_until(lambda: platform.value("select count(*) from jobs_doorbell") > 0, "a doorbell")
        before = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", 1)
        try:
            send(worker.pid, signal.SIGCONT)
            platform.wait_until(lambda: REFUSED in worker.log, "the worker to be refused")
        finally:
            client.config_set("maxmemory", before)
            send(worker.pid, signal.SIGCONT)
    done_once(platform, ids)

    one_of_each_child(platform, [worker], "after the note")
    assert worker.alive
    assert worker.children() == children


# ------------------------------------------------------------------------------------------------ T18
def restart(platform: Platform, servers: Servers, times: int) -> list[UUID]:
    """Kill Redis again and again, a second apart, with jobs created before and after."""
    ids: list[UUID] = []
    for _ in range(times):
        ids += platform.submit("test.within", 10)
        moment = time.monotonic() + 1.0
        servers.kill("redis")
        servers.revive()
        ids += platform.submit("test.within", 10)
        platform.wait_until(partial(_passed, moment), "a second to pass")
    return ids


def _passed(moment: float) -> bool:
    return time.monotonic() >= moment


def restarted(platform: Platform, servers: Servers, times: int) -> list[Program]:
    """Restart Redis so often; returns the workers, of which all work again, with the same children."""
    relay = platform.some_relay()
    workers = [platform.worker(), platform.worker(beside=True)]
    children = [worker.children() for worker in workers]
    ids = restart(platform, servers, times)
    platform.wait_ended(ids, seconds=BOUND)

    ended_once(platform, ids)
    one_of_each_child(platform, workers, f"after {times} restarts")
    assert relay.alive
    assert [worker.children() for worker in workers] == children
    return workers


def test_every_worker_resumes_alone_after_a_broker_that_was_restarted_again_and_again(
    own_platform: Platform, servers: Servers
) -> None:
    """T18."""
    restarted(own_platform, servers, 6)


@pytest.mark.long
@pytest.mark.timeout(7 * 3600)
def test_every_worker_resumes_after_twenty_restarts_and_still_works_six_hours_later(
    own_platform: Platform, servers: Servers
) -> None:
    """T18: nothing happens in these hours, so that whatever grows old, grows old."""
    workers = restarted(own_platform, servers, 20)
    moment = time.monotonic() + 6 * 3600
    own_platform.wait_until(partial(_passed, moment), "six hours to pass", seconds=7 * 3600)
    one_of_each_child(own_platform, workers, "six hours later")
