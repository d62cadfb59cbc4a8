"""PostgreSQL is stopped at once again and again, under load (T21): what was answered with 202 ends once."""

import random
import signal
import time
from collections.abc import Iterator
from functools import partial
from uuid import UUID, uuid4

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from tests.acceptance.jobs.web import Answer, Web
from tests.chaos.jobs.test_workers import ended_once
from tests.processes import Platform, Servers

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

BATCH = 100


@pytest.fixture(scope="module")
def lasting(own_servers: Servers) -> Servers:
    """Servers that an immediate stop costs nothing that they have acknowledged. Power loss is not tried here."""
    own_servers.configure("alter system set synchronous_commit = on")
    return own_servers


@pytest.fixture
def platform(lasting: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    platform = Platform(lasting.cluster, lasting.broker_url, env={"ALLOWED_HOSTS": "127.0.0.1"})
    with django_db_blocker.unblock(), platform:
        yield platform


class Client:
    """Asks for batches of jobs with a key of its own for each, until they are accepted."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self.accepted: list[UUID] = []
        self.sent_away = 0

    def create(self, key: str) -> bool:
        """Ask once; says whether the batch was accepted."""
        body = {"jobs": [{"kind": "test.open_within", "payload": {"seconds": 0.002}}] * BATCH}
        try:
            answer: Answer = self._web.call("POST", "/api/v1/jobs/batch", body, Idempotency_Key=key)
        except OSError as error:
            message = "The web server must answer, whatever its database does."
            raise AssertionError(message) from error
        if answer.status == 202:
            self.accepted += [UUID(item["id"]) for item in answer.body["jobs"]]
            return True
        assert (answer.status, answer.body["code"]) == (503, "database_unavailable"), answer
        assert "retry-after" in answer.headers
        self.sent_away += 1
        return False


def stop_again_and_again(platform: Platform, servers: Servers, *, stops: int, jobs: int, seed: int) -> None:
    """Stop PostgreSQL at random moments, keep it away for up to five seconds, and ask for jobs all the while."""
    chance = random.Random(seed)
    print(f"seed {seed}")
    relay, worker, web = platform.relay(), platform.worker(), Web(platform)
    client = Client(web)

    def worked(goal: int) -> bool:
        return len(platform.effects.of("ran", client.accepted)) >= goal

    for stop in range(1, stops + 1):
        while len(client.accepted) < jobs * stop / stops:
            platform.wait_until(partial(client.create, str(uuid4())), "a batch to be accepted")
        done = len(platform.effects.of("ran", client.accepted))
        platform.wait_until(partial(worked, done + chance.randrange(1, jobs // stops // 2)), "work")
        servers.kill("postgres", signal.SIGQUIT)
        until = time.monotonic() + chance.uniform(0, 5)
        key = str(uuid4())
        assert not client.create(key)
        platform.wait_until(lambda until=until: time.monotonic() >= until, "its time away")  # type: ignore[misc]
        servers.revive()
        connection.close()
        platform.wait_until(partial(client.create, key), "what was refused to be accepted")
    ids = client.accepted
    platform.wait_ended(ids, seconds=60 + jobs / 50)

    assert len(ids) == len({*ids}) >= jobs
    assert platform.value("select count(*) from jobs_job where kind = 'test.open_within'") == len(ids)
    assert client.sent_away >= stops
    ended_once(platform, ids, crashes=2 * stops)
    assert (relay.alive, worker.alive, web.program.alive) == (True, True, True)


def test_jobs_end_once_while_the_database_is_stopped_again_and_again(platform: Platform, lasting: Servers) -> None:
    stop_again_and_again(platform, lasting, stops=4, jobs=800, seed=21)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(3))
def test_five_thousand_jobs_end_once_while_the_database_is_stopped_again_and_again(
    platform: Platform, lasting: Servers, seed: int
) -> None:
    stop_again_and_again(platform, lasting, stops=25, jobs=5000, seed=seed)
