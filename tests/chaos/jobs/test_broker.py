"""The broker loses everything, doubles everything, or is written to by a stranger (T13, T14, T19, T20)."""

import base64
import contextlib
import json
import random
import shutil
import threading
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis

from tests.processes import Platform, Servers, broker

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def message(task: str, args: list[Any], *, queue: str = "default", body: bytes | None = None, **properties: Any) -> bytes:
    """A message as kombu writes it into a list of Redis."""
    content = base64.b64encode(json.dumps([args, {}, {}]).encode() if body is None else body).decode()
    ids = str(uuid4())
    return json.dumps(
        {
            "body": content,
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": task, "id": ids, "root_id": ids, "parent_id": None, "argsrepr": "", "kwargsrepr": ""},
            "properties": {
                "correlation_id": ids,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid4()),
            },
        }
        | properties
    ).encode()  # fmt: skip


@contextlib.contextmanager
def load(platform: Platform, ids: list[Any]) -> Iterator[None]:
    """Keep creating jobs from another thread's point of view: here, in slices between the faults."""
    ids += platform.submit("test.within", 100, lambda n: {"n": n, "seconds": 0.005})
    yield
    ids += platform.submit("test.within", 100, lambda n: {"n": n, "seconds": 0.005})


def all_ended_once(platform: Platform, ids: list[Any]) -> None:
    platform.wait_ended(ids, seconds=90)
    assert platform.by_status(ids) == {"processed": len(ids)}
    assert set(platform.effects.count("ran").values()) == {1}


def test_a_broker_that_comes_back_empty_costs_no_job_and_no_hand(platform: Platform, servers: Servers) -> None:
    relay = platform.relay()
    worker = platform.worker()
    ids: list[Any] = []
    with load(platform, ids):
        platform.wait_until(lambda: len(platform.effects.of("ran")) > 20, "work")
        servers.kill("redis")
        shutil.rmtree(servers.redis_data / "appendonlydir", ignore_errors=True)
        (servers.redis_data / "appendonly.aof").unlink(missing_ok=True)
    servers.revive()
    more = platform.submit("test.done", 10)

    all_ended_once(platform, ids + more)
    assert relay.alive
    assert worker.alive


def test_creating_jobs_does_not_wait_for_a_broker_that_is_away(platform: Platform, servers: Servers) -> None:
    platform.relay()
    servers.kill("redis")
    try:
        done = threading.Event()
        ids = platform.submit("test.done", 5)
        done.set()
    finally:
        servers.revive()
    platform.worker()
    all_ended_once(platform, ids)


def test_a_flushed_broker_costs_no_job(platform: Platform) -> None:
    platform.relay()
    platform.worker()
    ids: list[Any] = []
    with broker(platform.broker_url) as client:
        for _ in range(5):
            seen = len(platform.effects.of("ran"))
            with load(platform, ids):
                platform.wait_until(lambda seen=seen: len(platform.effects.of("ran")) > seen + 20, "work")
                client.flushall()

    all_ended_once(platform, ids)


def test_doorbells_doubled_shuffled_and_a_day_old_change_nothing(platform: Platform) -> None:
    """T19: every message of a run comes three times more, in any order, long after."""
    platform.relay()
    chance = random.Random(19)
    with broker(platform.broker_url) as client:
        recorded: list[bytes] = []
        for _ in range(10):  # no worker yet: the doorbells pile up in the list, and are taken from it
            platform.submit("test.within", 5)
        worker = platform.worker(concurrency=2)
        platform.wait_until(lambda: platform.value("select count(*) from jobs_job where status = 'queued'") == 0, "work")
        ids = [row["id"] for row in platform.rows("select id from jobs_job")]
        platform.wait_ended(ids)
        bells = [str(uuid4()) for _ in range(30)]
        recorded = [message("test.within", [bell]) for bell in bells] * 3
        chance.shuffle(recorded)
        client.lpush("default", *recorded)
        more = platform.submit("test.within", 20)
        client.lpush("default", *recorded)
        platform.wait_ended(more)
        platform.wait_until(lambda: client.llen("default") == 0, "every message to be taken")

    assert worker.alive
    all_ended_once(platform, ids + more)
    assert platform.value("select max(claim_no) from jobs_job") == 1


FORGED = {
    "another task": message("celery.backend_cleanup", []),
    "a task that does not exist": message("os.system", ["touch /tmp/forged"]),
    "a doorbell with a job's text": message("test.within", ["'; drop table jobs_job; --"]),
    "a doorbell with an object": message("test.within", [{"project_id": str(uuid4()), "job": str(uuid4())}]),
    "too many arguments": message("test.within", [1, 2, 3, 4]),
    "pickle": message("test.within", [], body=b"cposix\nsystem\n(S'touch FORGED'\ntR.", **{"content-type": "application/x-python-serialize", "content-encoding": "binary"}),
    "yaml": message("test.within", [], body=b"!!python/object/apply:os.system ['touch FORGED']", **{"content-type": "application/x-yaml"}),
    "no body": message("test.within", [], body=b""),
    "not what Celery sends": message("test.within", [], body=b'{"a": 1}'),
    "an unknown compression": message("test.within", [], headers={"task": "test.within", "id": str(uuid4()), "compression": "application/x-nothing"}),
    "no headers": message("test.within", [], headers={}),
    "no properties": json.dumps({"body": "", "headers": {}}).encode(),
    "an empty object": b"{}",
    "a list": b"[1, 2]",
    "no JSON": b"\x80\x04nonsense",
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("forgery", FORGED)
def test_whoever_writes_to_the_broker_runs_no_code_and_stops_no_work(platform: Platform, forgery: str) -> None:
    """T20. A worker that such a message ends is started again by its supervisor: here, by us."""
    platform.relay()
    worker = platform.worker(concurrency=1)
    mark = platform.directory / "forged"
    text = FORGED[forgery].replace(b"FORGED", str(mark).encode()).replace(b"/tmp/forged", str(mark).encode())
    with broker(platform.broker_url) as client:
        client.lpush("default", text)
        platform.wait_until(lambda: client.llen("default") == 0 or not worker.alive, "the message to be taken")
        ids = platform.submit("test.within", 5)
        if not worker.alive:
            platform.worker(concurrency=1)
        platform.wait_ended(ids)

    assert not mark.exists()
    all_ended_once(platform, ids)
    assert isinstance(client, redis.Redis)
