"""Who lives and gets nowhere is seen."""

import signal
import time
from collections.abc import Iterator
from uuid import UUID

import pytest
from pytest_django import DjangoDbBlocker

from tests.acceptance.jobs.web import Web
from tests.often import often
from tests.processes import Platform, Program, Servers, send

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def web(servers: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[Web]:
    """A platform with canaries, its web server, relay, worker and beat."""
    env = {"ALLOWED_HOSTS": "127.0.0.1", "CANARY_SECONDS": "1"}
    platform = Platform(servers.cluster, servers.broker_url, env=env)
    with django_db_blocker.unblock(), platform:
        yield Web(platform)


def reasons(web: Web) -> list[str]:
    """Why the platform is not ready; nothing when it is."""
    answer = web.call("GET", "/readyz")
    found: list[str] = answer.body["reasons"]
    assert answer.status == (503 if found else 200)
    return [reason.partition(":")[0] for reason in found]


def beat(platform: Platform) -> Program:
    """Start beat; its first look is its first pulse."""
    program = platform._start("beat", ["-m", "celery", "-A", "jobplatform", "beat", "--loglevel", "INFO"], None, None)
    noted = "select count(*) from jobs_pulse where role = 'beat' and pid = %s and stopped_at is null"
    platform.wait_until(lambda: platform.value(noted, program.pid), "beat to look")
    return program


@pytest.mark.parametrize("role", often({"relay"}, ["relay", "beat"]))
def test_who_is_frozen_is_a_reason_until_it_goes_on(web: Web, role: str) -> None:
    platform = web.platform
    relay = platform.some_relay()
    program = beat(platform) if role == "beat" else relay
    platform.wait_until(lambda: reasons(web) == [], "all to be ready")
    began = time.monotonic()
    send(program.pid, signal.SIGSTOP)
    platform.wait_until(lambda: role in reasons(web), f"{role} to be missed")
    taken = time.monotonic() - began
    assert reasons(web) == [role]
    send(program.pid, signal.SIGCONT)
    platform.wait_until(lambda: reasons(web) == [], f"{role} to be back")

    assert taken < (15 if role == "relay" else 30)
    if role == "beat":  # it says goodbye, and nobody misses it
        assert program.stop() == 0
        assert platform.value("select stopped_at is not null from jobs_pulse where role = 'beat'")


def test_a_broker_that_is_killed_is_a_reason_until_it_is_back(web: Web, servers: Servers) -> None:
    platform = web.platform
    platform.some_relay()
    platform.wait_until(lambda: reasons(web) == [], "all to be ready")
    servers.kill("redis")
    try:
        platform.wait_until(lambda: "broker" in reasons(web), "the broker to be missed")
    finally:
        servers.revive()
    platform.wait_until(lambda: reasons(web) == [], "the broker to be back")


def test_canaries_prove_each_queue_and_none_comes_through_a_frozen_worker(web: Web) -> None:
    platform = web.platform
    platform.some_relay()
    worker = platform.some_worker()
    passed = "select count(*) from jobs_canary where queue = any(%s) and seconds is not null"
    platform.wait_until(lambda: platform.value(passed, ["default", "events"]) == 2, "canaries of both queues")
    (kind,) = platform.rows("select distinct kind from jobs_job where kind like 'engine.canary.default'")
    assert kind["kind"] == "engine.canary.default"
    assert platform.value("select count(*) from jobs_job where kind like 'engine.canary.%%'") <= 2

    for pid in (worker.pid, *worker.children()):
        send(pid, signal.SIGSTOP)
    age = "select extract(epoch from clock_timestamp() - passed_at) from jobs_canary where queue = 'default'"
    platform.wait_until(lambda: platform.value(age) > 4, "no canary to come through")
    for pid in (*worker.children(), worker.pid):
        send(pid, signal.SIGCONT)
    platform.wait_until(lambda: platform.value(age) < 4, "one to come through again")


def test_a_worker_that_hangs_is_a_reason_as_long_as_it_lives(web: Web) -> None:
    platform = web.platform
    platform.some_relay()
    mark = platform.directory / "hangs"
    handlers = ("tests.handlers.good", "tests.handlers.failpoints")
    env = {
        "FAILPOINT": "jobs.outbox:Outbox.flush:hang:1",
        "FAILPOINT_ONCE": str(mark),
        "WORKER_STALLED_SECONDS": "0",  # never
    }
    worker = platform.worker(concurrency=1, env=env, handlers=handlers)
    ids: list[UUID] = platform.submit("test.done", 1)
    platform.wait_until(mark.exists, "the worker to hang")
    platform.wait_until(lambda: reasons(web) == ["workers"], "it to be seen")
    worker.kill()
    platform.worker(concurrency=1)
    platform.wait_until(lambda: reasons(web) == [], "the next worker to get on")
    platform.wait_ended(ids)
