"""Nobody writes lines into the logs of the processes by what he sends, stores or raises (S20)."""

import json
import os
from collections.abc import Iterator
from urllib.parse import quote

import pytest
from pytest_django import DjangoDbBlocker

from tests.acceptance.jobs.web import JOBS, Web
from tests.chaos.jobs.test_broker import message
from tests.databases import Cluster
from tests.processes import PROJECT, Platform, broker

pytestmark = pytest.mark.timeout(240)

LINE = '{"level":"critical","event":"written by a stranger"}'
EVIL = (f"a\n{LINE}", f"b\r\n{LINE}\r\n", f"c\x1b[2K\x1b[1G{LINE}", f"d\u2028{LINE}\u2029", f"e\x85{LINE}\x0b\x0c")
BELOW_SPACE = {chr(n) for n in range(32)} - {"\n"}


@pytest.fixture(scope="module")
def web(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Web]:
    env = {"ALLOWED_HOSTS": "127.0.0.1", "LOG_FORMAT": "json"}
    platform = Platform(cluster, os.environ["BROKER_URL"], env=env)
    with django_db_blocker.unblock(), platform:
        platform.relay()
        platform.worker()
        beat = ["-m", "celery", "-A", "jobplatform", "-q", "beat", "--loglevel", "INFO"]
        platform._start("beat", beat, None, None)
        yield Web(platform)


def asked_for(web: Web, evil: str) -> None:
    """The text in every part of a request that may hold it."""
    printable = quote(evil)
    for path in (f"/api/v1/{printable}", f"/{printable}", f"/admin/{printable}/", f"{JOBS}?status={printable}"):
        assert web.call("GET", path).status < 500
    for name in ("User_Agent", "Referer", "Accept", "X_Project", "Host", "Idempotency_Key"):
        assert web.call("GET", JOBS, **{name: printable}).status < 500
    for body in ({"kind": evil}, {"kind": "test.open", "payload": {evil: evil}, "metadata": {"a": evil}}):
        assert web.call("POST", JOBS, body).status < 500


def test_what_strangers_say_stays_within_one_line(web: Web) -> None:
    platform = web.platform
    ids = platform.submit("test.evil", len(EVIL), lambda n: {"text": EVIL[n]})
    for evil in EVIL:
        asked_for(web, evil)
    with broker(platform.broker_url) as client:
        for evil in EVIL:
            client.lpush("default", message(evil, [evil]), message("test.done", [evil]), evil.encode())
        platform.wait_until(lambda: client.llen("default") == 0, "the messages to be taken")
    platform.wait_ended([*ids, *platform.submit("test.done", 5)])

    seen = 0
    for program in platform.programs:
        if program.name in {"effects", "provision"}:
            continue
        text = program.log_path.read_bytes().decode()  # every line is whole characters
        assert BELOW_SPACE & set(text) == set(), program.name
        for line in text.splitlines():
            assert line.startswith("{"), (program.name, line)
            said = json.loads(line)
            assert list(said)[:5] == ["time", "level", "handler", "action", "details"], (program.name, line)
            if "written by a stranger" in line:
                seen += 1
                assert said["level"] != "critical", line
                assert LINE not in (said.get("event"), said["action"]), line
    assert seen > len(EVIL)
    worker = next(program for program in platform.programs if program.name.startswith("w"))
    theirs = [said for said in map(json.loads, worker.log.splitlines()) if said["handler"] == "handler"]
    assert {said["job"] for said in theirs} == {str(job) for job in ids}  # Python's own logging, in a handler
    assert {(said["kind"], said["project"], type(said["attempt"])) for said in theirs} == {
        ("test.evil", str(PROJECT), int)
    }
    assert {platform.job(job)["status"] for job in ids} == {"failed"}
