"""The broker loses everything, doubles everything, or is written to by a stranger (T13, T14, T19, T20)."""

import base64
import datetime as dt
import json
import random
from typing import Any
from uuid import UUID, uuid4

import pytest

from jobs import services
from jobs.services import JobRequest
from tests.processes import Platform, Servers, broker, new_id

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def message(
    task: str, args: list[Any], *, queue: str = "default", body: bytes | None = None, **properties: Any
) -> bytes:
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


def ran(platform: Platform, ids: list[UUID], number: int) -> None:
    platform.wait_until(lambda: len(platform.effects.of("ran", ids)) >= number, f"{number} runs")


def done_once(platform: Platform, ids: list[UUID]) -> None:
    platform.wait_ended(ids, seconds=90)
    assert platform.by_status(ids) == {"processed": len(ids)}
    assert set(platform.effects.count("ran", ids).values()) == {1}


def test_a_broker_that_comes_back_empty_costs_no_job_and_no_hand(platform: Platform, servers: Servers) -> None:
    """T13. Meanwhile jobs are created as ever: no request waits for the broker."""
    relay, worker = platform.some_relay(), platform.some_worker()
    ids = platform.submit("test.within", 100, lambda n: {"n": n, "seconds": 0.005})
    ran(platform, ids, 20)
    servers.kill("redis")
    (servers.redis_data / "appendonly.aof").unlink()
    ids += platform.submit("test.within", 50)
    servers.revive()
    done_once(platform, ids)
    done_once(platform, platform.submit("test.done", 10))

    assert relay.alive
    assert worker.alive


def test_a_flushed_broker_costs_no_job(platform: Platform) -> None:
    """T14."""
    platform.some_relay()
    platform.some_worker()
    ids: list[UUID] = []
    with broker(platform.broker_url) as client:
        for _ in range(4):
            seen = len(platform.effects.of("ran", ids))
            ids += platform.submit("test.within", 50, lambda n: {"n": n, "seconds": 0.005})
            ran(platform, ids, seen + 20)
            client.flushall()
            ids += platform.submit("test.done", 5)

    done_once(platform, ids)


def test_doorbells_doubled_shuffled_and_a_day_old_change_nothing(platform: Platform) -> None:
    """T19: every message of a run comes three times more, in any order, long after."""
    platform.some_relay()
    worker = platform.some_worker()
    ids = platform.submit("test.within", 30)
    done_once(platform, ids)
    old = [message("test.within", [str(bell)]) for bell in (uuid4() for _ in range(20))] * 3
    random.Random(19).shuffle(old)
    with broker(platform.broker_url) as client:
        client.lpush("default", *old)
        ids += platform.submit("test.within", 30)
        client.lpush("default", *old)
        done_once(platform, ids)
        platform.wait_until(lambda: client.llen("default") == 0, "every message to be taken", seconds=90)

    assert worker.alive
    done_once(platform, ids + platform.submit("test.done", 10))
    assert platform.value("select max(attempt) from jobs_job where id = any(%s)", ids) == 1


FORGED = {
    "another task": message("celery.backend_cleanup", []),
    "a task that does not exist": message("os.system", ["touch FORGED"]),
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
    """T20. The supervisor starts a worker again that such a message has ended: here, we do."""
    platform.some_relay()
    worker = platform.some_worker()
    before = len(worker.log)
    mark = platform.directory / "forged"
    with broker(platform.broker_url) as client:
        client.lpush("default", FORGED[forgery].replace(b"FORGED", str(mark).encode()))
        platform.wait_until(lambda: client.llen("default") == 0 or not worker.alive, "the message to be taken")
        ids = platform.submit("test.within", 5)
        platform.wait_until(
            lambda: platform.by_status(ids) == {"processed": 5} or not worker.alive, "the jobs, or an end"
        )
        platform.some_worker()
        done_once(platform, ids)

    assert not mark.exists()
    assert told(worker.log[before:], FORGED[forgery]), worker.log[before:]


REFUSED = ("message refused", "The message has been ignored and discarded", "Received and deleted unknown message")


def told(lines: str, forged: bytes) -> bool:
    """Whether the log tells of a message: by its id, or that one was refused."""
    try:
        named = [json.loads(forged)["headers"]["id"]]
    except (ValueError, KeyError, TypeError):
        named = []
    return any(words in lines for words in (*named, *REFUSED))


def test_a_message_that_names_a_job_has_no_power_over_it(platform: Platform) -> None:
    """T20: neither over one of another project nor over one that is not due."""
    platform.some_relay()
    platform.some_worker()
    due_at = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    stranger = new_id()
    requests = [JobRequest(kind="test.within", payload={"n": 1}, due_at=due_at)]
    (theirs,) = services.submit_many(project_id=stranger, requests=requests)
    (ours,) = platform.submit("test.within", due_at=due_at)
    named = [theirs.id, ours]
    forged = [message("test.within", [str(job)]) for job in named]
    forged += [message("test.within", [{"job_id": str(job), "project_id": str(stranger)}]) for job in named]
    with broker(platform.broker_url) as client:
        client.lpush("default", *forged)
        platform.wait_until(lambda: client.llen("default") == 0, "the messages to be taken")
        done_once(platform, platform.submit("test.within", 5))

    assert {(platform.job(job)["status"], platform.job(job)["claim_no"]) for job in named} == {("queued", 0)}
    assert platform.effects.count("ran", named) == {}
