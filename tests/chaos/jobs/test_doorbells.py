"""The messages that were really sent come again (T19): late, several times, in any order."""

import datetime as dt
import json
import random
from uuid import UUID

import pytest

from events import log
from tests.chaos.jobs.test_broker import done_once
from tests.processes import Platform, Servers, broker

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


def sent(servers: Servers, start: int) -> list[bytes]:
    """The doorbells that were sent since the broker's own file was `start` bytes long, byte for byte."""
    data = (servers.redis_data / "appendonly.aof").read_bytes()
    found: list[bytes] = []
    at = start
    while at < len(data):
        end = data.index(b"\r\n", at)
        words = int(data[at + 1 : end])
        at = end + 2
        command = []
        for _ in range(words):
            end = data.index(b"\r\n", at)
            size = int(data[at + 1 : end])
            command.append(data[end + 2 : end + 2 + size])
            at = end + 2 + size + 2
        if command[0].upper() == b"LPUSH" and command[1] == b"default":
            found += command[2:]
    return found


def test_every_message_of_a_run_comes_three_times_more_a_day_later(own_platform: Platform, servers: Servers) -> None:
    platform = own_platform
    relay, worker = platform.relay(), platform.worker()
    start = (servers.redis_data / "appendonly.aof").stat().st_size
    ids: list[UUID] = []
    for kind in ("test.within", "test.done", "test.flaky") * 3:
        ids += platform.submit(kind, 10, {"n": 0})
        platform.wait_ended(ids)
    doorbells = sent(servers, start)
    assert len(doorbells) >= 6
    assert {json.loads(each)["headers"]["task"] for each in doorbells} >= {"test.within", "test.done", "test.flaky"}

    log.move_clock(dt.timedelta(days=1))
    again = doorbells * 3
    random.Random(19).shuffle(again)
    with broker(platform.broker_url) as client:
        for kind in ("test.within", "test.done"):
            client.lpush("default", *again)
            ids += platform.submit(kind, 20)
        done_once(platform, ids)
        platform.wait_until(lambda: client.llen("default") == 0, "every message to be taken", seconds=90)
        platform.wait_until(lambda: client.hlen("unacked") == 0, "every message to be answered")

    done_once(platform, ids)
    assert platform.value("select max(attempt) from jobs_job where id = any(%s)", ids) == 1
    assert platform.rows("select job_id from effect group by 1 having count(*) > 1") == []
    assert relay.alive
    assert worker.alive
