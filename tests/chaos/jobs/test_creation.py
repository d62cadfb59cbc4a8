"""A client that got no answer asks again with the same key, and gets the same job (T24), wherever it went wrong."""

import json
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from typing import Any
from uuid import uuid4

import pytest

from tests.often import often
from tests.processes import Platform
from tests.wire import When, Wire

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

WEB = "web"


@dataclass
class Web:
    """A web server whose connections to the database go through the wire."""

    port: int
    key: str

    def create(self, mark: str, idempotency_key: str | None = None) -> tuple[int, dict[str, str], bytes]:
        """POST a job. Status, headers and body of the answer."""
        return self.post("jobs", job(mark), idempotency_key)

    def post(self, path: str, body: Any, idempotency_key: str | None = None) -> tuple[int, dict[str, str], bytes]:
        """POST something to the API. Status, headers and body of the answer."""
        link = HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {"Authorization": f"Bearer {self.key}", "Content-Type": "application/json"}
        if idempotency_key:
            headers["Idempotency-Key"] = idempotency_key
        try:
            link.request("POST", f"/api/v1/{path}", json.dumps(body), headers)
            answer = link.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            link.close()


def job(mark: str) -> dict[str, Any]:
    return {"kind": "test.open", "payload": {"n": 1}, "metadata": {"mark": mark}}


def message(mark: str) -> dict[str, Any]:
    metadata = {"message_time": "2026-11-22T06:00:00Z", "company_id": mark, "message_id": mark}
    return {"metadata": metadata, "data": {"order_id": "A-1"}}


@pytest.fixture(scope="module")
def wire(platform: Platform) -> Iterator[Wire]:
    with Wire(platform.database_url, platform.directory) as wire:
        yield wire


@pytest.fixture(scope="module")
def web(platform: Platform, wire: Wire) -> Web:
    key, _ = platform.provision()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = ["-m", "granian", "--interface", "wsgi", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--blocking-threads", "1", "jobplatform.wsgi:application"]
    server = platform._start(WEB, command, {"DATABASE_URL": wire.url, "ALLOWED_HOSTS": "127.0.0.1"}, None)

    def answers() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    platform.wait_until(lambda: answers() or not server.alive, "the web server")
    web = Web(port, key)
    for _ in range(3):  # everything is prepared
        assert web.create("warm", str(uuid4()))[0] == 202
    return web


def made(platform: Platform, mark: str) -> list[dict[str, Any]]:
    return platform.rows("select id, seq from jobs_job where metadata ->> 'mark' = %s", mark)


@pytest.mark.parametrize("when", often({When.REPLY_LOST}, When), ids=lambda when: when.name.lower())
def test_a_creation_that_is_asked_for_again_is_one_job_wherever_the_connection_broke(
    platform: Platform, wire: Wire, web: Web, when: When
) -> None:
    before = len(wire.seen)
    assert web.create("count", str(uuid4()))[0] == 202
    sequence = Counter(unit for application, unit in wire.seen[before:] if application == WEB)
    assert {"BEGIN", "submit_one", "COMMIT"} <= set(sequence)
    cut = set()
    for name, number in sequence.items():
        for k in range(1, number + 1):
            mark, key = str(uuid4()), str(uuid4())
            trap = wire.trap(when, partial(_is_step, name), nth=k)
            status, headers, first = web.create(mark, key)
            wire.disarm()  # what was prepared meanwhile is not prepared again
            cut.add(trap.cut)
            assert status in {202, 503}, f"{name} {k}: {status} {first!r}"
            if status == 503:
                assert headers["content-type"] == "application/problem+json"
                assert json.loads(first)["code"]
                assert "retry-after" in headers
            again, headers, body = web.create(mark, key)
            assert again == 202, f"after {name} {k}: {body!r}"
            (row,) = made(platform, mark)
            assert json.loads(body)["id"] == str(row["id"])
            if name == "COMMIT" and when is When.REPLY_LOST:
                assert headers["idempotency-replayed"] == "true"
            if status == 202:
                assert body == first
            assert platform.events(row["id"]) == ["job.queued"]
            third, _, replay = web.create(mark, key)
            assert (third, replay) == (202, body), f"after {name} {k}"
    assert cut - {""} == set(sequence)


def breaks(wire: Wire, before: int) -> list[tuple[str, int]]:
    """Each statement that the web server has sent since then, as its name and how many of that name came before."""
    sequence = Counter(unit for application, unit in wire.seen[before:] if application == WEB)
    return [(name, k) for name, number in sequence.items() for k in range(1, number + 1)]


@pytest.mark.parametrize("when", often({When.REPLY_LOST}, When), ids=lambda when: when.name.lower())
def test_a_batch_that_is_asked_for_again_is_one_batch_wherever_the_connection_broke(
    platform: Platform, wire: Wire, web: Web, when: When
) -> None:
    before = len(wire.seen)
    assert web.post("jobs/batch", {"jobs": [job("count")] * 3}, str(uuid4()))[0] == 202
    for name, k in breaks(wire, before):
        mark, key = str(uuid4()), str(uuid4())
        wire.trap(when, partial(_is_step, name), nth=k)
        status, _, first = web.post("jobs/batch", {"jobs": [job(mark)] * 3}, key)
        wire.disarm()
        assert status in {202, 503}, f"{name} {k}: {status} {first!r}"
        assert len(made(platform, mark)) in {0, 3}, f"{name} {k}"
        again, _, body = web.post("jobs/batch", {"jobs": [job(mark)] * 3}, key)

        rows = made(platform, mark)
        assert (again, len(rows)) == (202, 3), f"after {name} {k}: {body!r}"
        assert {item["id"] for item in json.loads(body)["jobs"]} == {str(row["id"]) for row in rows}
        assert {tuple(platform.events(row["id"])) for row in rows} == {("job.queued",)}
        if status == 202:
            assert body == first


@pytest.mark.parametrize("when", often({When.REPLY_LOST}, When), ids=lambda when: when.name.lower())
def test_a_message_that_is_handed_in_again_is_one_message_wherever_the_connection_broke(
    platform: Platform, wire: Wire, web: Web, when: When
) -> None:
    """Without any key: the message's own id says that it is the same."""
    before = len(wire.seen)
    assert web.post("messages", message(str(uuid4())))[0] == 202
    steps = breaks(wire, before)
    assert len(steps) > 2
    for name, k in steps:
        mark = str(uuid4())
        wire.trap(when, partial(_is_step, name), nth=k)
        status, _, first = web.post("messages", message(mark))
        wire.disarm()
        assert status in {200, 202, 503}, f"{name} {k}: {status} {first!r}"
        again, _, body = web.post("messages", message(mark))

        assert again in ({200} if status < 300 else {200, 202}), f"after {name} {k}: {body!r}"
        (row,) = platform.rows("select id from ingestion_message where message_id = %s", mark)
        assert json.loads(body)["id"] == str(row["id"])
        assert platform.value("select count(*) from jobs_job where payload ->> 'message_id' = %s", mark) == 1
        assert platform.events(row["id"]) == ["job.queued"]


def test_without_a_key_a_lost_request_leaves_nothing_behind(platform: Platform, wire: Wire, web: Web) -> None:
    mark = str(uuid4())
    wire.trap(When.REQUEST_LOST, lambda application, unit: (application, unit) == (WEB, "submit_one"))
    status, _, _ = web.create(mark)

    assert (status, made(platform, mark)) in [(503, []), (202, made(platform, mark))]
    assert len(made(platform, mark)) == (status == 202)


def _is_step(name: str, application: str, unit: str) -> bool:
    return (application, unit) == (WEB, name)
