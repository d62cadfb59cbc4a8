"""Somebody changes the settings of a kind, and every process goes by them without a restart."""

import contextlib
import os
import signal
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from pytest_django import DjangoDbBlocker

from jobs import tuning
from jobs.errors import InvalidOption
from jobs.tuning import Settings
from tests.acceptance.jobs.web import Web
from tests.databases import Cluster
from tests.often import often
from tests.processes import HANDLERS, Platform, Program, send

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def web(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Web]:
    """A web server, a relay and a worker with one process."""
    handlers = (*HANDLERS, "tests.handlers.tunable")
    platform = Platform(cluster, os.environ["BROKER_URL"], handlers=handlers, env={"ALLOWED_HOSTS": "127.0.0.1"})
    with django_db_blocker.unblock(), platform:
        platform.relay()
        yield Web(platform)


@pytest.fixture
def worker(web: Web) -> Program:
    """A worker with one process, new for each test: it has learned nothing yet."""
    return web.platform.worker(concurrency=1)


def change(kind: str, **settings: Any) -> int:
    row = tuning.change(kind=kind, settings=Settings(**settings), actor="user:olga", reason="a test")
    return row.version


def reset(kind: str) -> None:
    """As the code says; a test that runs alone finds it so."""
    with contextlib.suppress(InvalidOption):
        change(kind)


def outcomes(platform: Platform, job: UUID) -> list[str]:
    return [attempt["outcome"] for attempt in platform.attempts(job)]


def test_a_worker_web_and_explanations_learn_of_a_change_without_a_restart(web: Web, worker: Program) -> None:
    platform = web.platform
    (before,) = platform.submit("tune.fail")
    platform.wait_ended([before])
    children = worker.children()
    assert outcomes(platform, before) == ["retried", "retried", "failed"]
    assert web.call("GET", "/api/v1/kinds/tune.fail").body["retry"]["max_attempts"] == 3

    change("tune.fail", max_attempts=2)

    def learned() -> bool:
        (job,) = platform.submit("tune.fail")
        platform.wait_ended([job])
        return outcomes(platform, job) == ["retried", "failed"]

    platform.wait_until(learned, "a job with two attempts")
    platform.wait_until(
        lambda: web.call("GET", "/api/v1/kinds/tune.fail").body["retry"]["max_attempts"] == 2, "the web server"
    )
    # Another process of the server may answer, which looks at its own time.
    job = {"kind": "tune.fail", "payload": {"n": 1}}
    platform.wait_until(
        lambda: web.call("POST", "/api/v1/jobs", job).body["max_attempts"] == 2, "whichever process answers"
    )
    assert worker.children() == children

    change("tune.fail")
    platform.wait_until(
        lambda: web.call("GET", "/api/v1/kinds/tune.fail").body["retry"]["max_attempts"] == 3, "the reset"
    )


@pytest.mark.parametrize(
    "kind", often({"tune.fail_async"}, ["tune.fail", "tune.fail_async"]), ids=["batches", "a window"]
)
def test_a_pump_that_never_rests_learns_of_it(web: Web, worker: Program, kind: str) -> None:
    """All of it in one pump: there is always something due, so it ends with its budget of 30 s at the earliest.

    Unless it lends its slot to another kind meanwhile: that pump did rest, and the next one is asked.
    """
    platform = web.platform
    doorbells = "select id from jobs_doorbell where kind = %s and answered_by is not null"
    retried = "select count(*) from jobs_attempt where outcome = 'retried' and job_id = any(%s)"
    once = "select count(*) from jobs_job where id = any(%s) and status = 'failed' and attempt = 1"

    def learned_by_one_pump() -> bool:
        reset(kind)
        jobs = platform.submit(kind, 4000)
        platform.wait_until(lambda: platform.value(retried, jobs), "first attempts")
        before = platform.rows(doorbells, kind)
        change(kind, max_attempts=1)
        platform.wait_until(lambda: platform.value(once, jobs), "a job that failed at once")
        after = platform.rows(doorbells, kind)
        platform.wait_ended(jobs, seconds=60)
        return len(before) == 1 and after == before

    platform.wait_until(learned_by_one_pump, "a pump that learned without an end", seconds=150)
    reset(kind)


def test_an_attempt_that_runs_long_ends_by_what_is_set_by_then(web: Web, worker: Program) -> None:
    platform = web.platform
    (job,) = platform.submit("tune.hold", payload={"gate": "long"})
    platform.wait_until(lambda: platform.effects.of("began", [job]), "the handler")

    version = change("tune.hold", max_attempts=1)
    platform.wait_until(lambda: f"version {version}" in worker.log, "the worker to learn of it")
    platform.effects.open("long")
    platform.wait_ended([job])

    assert outcomes(platform, job) == ["failed"]


def test_a_timeout_counts_for_attempts_that_start_after_it(web: Web, worker: Program) -> None:
    platform = web.platform
    (held,) = platform.submit("tune.hang", payload={"gate": "held"})
    platform.wait_until(lambda: platform.effects.of("began", [held]), "the handler")
    version = change("tune.hang", timeout=0.3)
    platform.wait_until(lambda: f"version {version}" in worker.log, "the worker to learn of it")

    (late,) = platform.submit("tune.hang", payload={"gate": "never"})
    (patient,) = platform.submit("tune.hang", payload={"gate": "held"}, timeout=500)
    platform.effects.open("held")
    platform.wait_ended([held, late, patient])

    assert outcomes(platform, held) == ["done"]
    assert [attempt["error"]["code"] for attempt in platform.attempts(late)] == ["timeout"]
    assert outcomes(platform, patient) == ["done"]


def test_the_parent_of_a_dead_worker_judges_by_what_is_set(web: Web, worker: Program) -> None:
    platform = web.platform
    reset("tune.hold")
    (job,) = platform.submit("tune.hold", payload={"gate": "child"})
    platform.wait_until(lambda: platform.effects.of("began", [job]), "the handler")
    (child,) = worker.children()
    send(child, signal.SIGSTOP)  # it learns nothing any more
    change("tune.hold", max_attempts=1)

    send(child, signal.SIGKILL)
    platform.wait_ended([job])

    assert outcomes(platform, job) == ["failed"]


def test_the_relay_judges_by_what_is_set(web: Web, worker: Program) -> None:
    platform = web.platform
    (job,) = platform.submit("tune.hang", payload={"gate": "host"})
    platform.wait_until(lambda: platform.effects.of("began", [job]), "the handler")
    worker.kill()
    change("tune.hang", max_attempts=2)

    platform.wait_until(lambda: platform.attempts(job), "the relay")

    assert outcomes(platform, job) == ["retried"]
