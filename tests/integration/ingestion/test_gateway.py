"""Object storage in S3: a real server process (moto) on loopback, and a proxy before it that makes trouble."""

import datetime as dt
import http.client
import http.server
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from django.core.files.storage import FileSystemStorage
from uuid_utils.compat import uuid7

from ingestion import gateway, selectors
from ingestion.errors import ObjectConflict, ObjectMissing, StorageUnavailable
from ingestion.handlers import reconcile_messages
from ingestion.models import Message
from ingestion.selectors import KnownMessage
from ingestion.states import MessageStatus
from jobplatform import processes
from jobs.outcomes import Done
from jobs.states import PLATFORM
from jobs.testing import run_once

pytestmark = pytest.mark.s3

KEY = "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a/0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0b.json"
BODY = b'{"a":\n "\xc3\xa9"}  \n'


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a moto server of this module alone."""
    port = free_port()
    log = tmp_path_factory.mktemp("moto") / "server.log"
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    with log.open("wb") as output:
        process = processes.spawn(command, env=os.environ, cwd=log.parent, output=output)
        try:
            assert processes.wait_until(lambda: answers(port) or process.poll() is not None, seconds=60)
            assert process.poll() is None, log.read_text()
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


class Bucket:
    """A bucket, seen by a client that has nothing to do with the platform."""

    def __init__(self, server: str) -> None:
        self.name = f"b-{uuid7()}"
        self.client = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
        self.client.create_bucket(Bucket=self.name)

    def listed(self) -> list[str]:
        return [found["Key"] for found in self.client.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def body(self, key: str) -> bytes:
        body: bytes = self.client.get_object(Bucket=self.name, Key=key)["Body"].read()
        return body

    def put(self, key: str, body: bytes = b"{}") -> None:
        self.client.put_object(Bucket=self.name, Key=key, Body=body)


@pytest.fixture
def bucket(server: str, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket as object storage, below a prefix."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "3")
    bucket = Bucket(server)
    settings.STORAGE_URL = f"s3://{bucket.name}/some/prefix?endpoint_url={server}&region=us-east-1"
    return bucket


# ------------------------------------------------------------------------------------------------ the store
def test_an_object_is_stored_byte_for_byte_below_the_prefix(bucket: Bucket) -> None:
    assert gateway.put(KEY, BODY) is True

    assert bucket.listed() == [f"some/prefix/{KEY}"]
    assert bucket.body(f"some/prefix/{KEY}") == BODY == gateway.get(KEY)
    assert bucket.client.head_object(Bucket=bucket.name, Key=f"some/prefix/{KEY}")["ContentType"] == "application/json"


def test_the_same_bytes_once_more_change_nothing_and_others_are_a_conflict(bucket: Bucket) -> None:
    gateway.put(KEY, BODY)

    assert gateway.put(KEY, BODY) is False
    with pytest.raises(ObjectConflict):
        gateway.put(KEY, BODY + b" ")
    assert gateway.get(KEY) == BODY


def test_what_is_missing_is_said_to_be_missing(bucket: Bucket) -> None:
    with pytest.raises(ObjectMissing):
        gateway.get(KEY)


def test_the_listing_has_every_object_once_in_order_and_no_stranger(bucket: Bucket) -> None:
    keys = sorted(f"00000000-0000-4000-8000-{n % 3:012x}/00000000-0000-4000-8000-{n:012x}.json" for n in range(11))
    for key in keys:
        gateway.put(key, b"{}")
    for number in range(7):
        bucket.put(f"some/prefix/0{number}.txt")
        bucket.put(f"some/prefix/orphaned/{number}/{KEY}")
        bucket.put(f"other/{KEY}")

    found: list[str] = []
    while True:
        page = gateway.listing(after=found[-1] if found else "", limit=3)
        found += [each.key for each in page.objects]
        if not page.more:
            break

    assert found == keys
    assert {each.size for each in gateway.listing(after="", limit=100).objects} == {2}
    young = dt.datetime.now(dt.UTC) - dt.timedelta(minutes=1)
    assert all(each.modified_at > young for each in gateway.listing(after="", limit=100).objects)


def test_an_object_is_copied_aside_and_deleted(bucket: Bucket) -> None:
    gateway.put(KEY, BODY)

    aside = gateway.copy_aside(KEY, now=dt.datetime(2026, 11, 22, 6, tzinfo=dt.UTC))
    gateway.delete(KEY)

    assert bucket.listed() == [f"some/prefix/orphaned/20261122T060000000000Z/{KEY}"]
    assert gateway.get(aside) == BODY


def test_a_bucket_that_is_not_there_is_an_error_that_may_pass(bucket: Bucket, server: str, settings: Any) -> None:
    settings.STORAGE_URL = f"s3://no-such-bucket?endpoint_url={server}&region=us-east-1"

    for ask in (lambda: gateway.put(KEY, BODY), lambda: gateway.get(KEY), lambda: gateway.listing(after="", limit=1)):
        with pytest.raises(StorageUnavailable, match="NoSuchBucket"):
            ask()


def test_a_service_that_does_not_answer_is_an_error_that_may_pass(bucket: Bucket, settings: Any) -> None:
    settings.STORAGE_URL = f"s3://{bucket.name}?endpoint_url=http://127.0.0.1:{free_port()}&region=us-east-1"

    with pytest.raises(StorageUnavailable, match="Could not connect"):
        gateway.put(KEY, BODY)


# ------------------------------------------------------------------------------------------------ a service in trouble
class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to the server, unless `trouble` answers first with (status, code)."""

    daemon_threads = True
    trouble: Callable[[http.server.BaseHTTPRequestHandler], tuple[int, str] | None]

    def __init__(self, target: str) -> None:
        self.target = target.removeprefix("http://")
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Passing)


class Passing(http.server.BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(self.command)
        trouble = self.server.trouble(self)
        if trouble:
            status, code = trouble
            self._answer(status, {}, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode())
            return
        link = http.client.HTTPConnection(self.server.target)
        link.request(self.command, self.path, body, dict(self.headers))
        answer = link.getresponse()
        self._answer(answer.status, dict(answer.headers), answer.read())
        link.close()

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name.lower() not in {"content-length", "transfer-encoding", "connection", "date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_GET = do_PUT = do_HEAD = do_DELETE = _pass  # noqa: N815 - names of the standard library

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def proxy(bucket: Bucket, server: str, settings: Any) -> Iterator[Proxy]:
    """A proxy before the server; object storage leads through it."""
    with Proxy(server) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        port = proxy.server_address[1]
        settings.STORAGE_URL = f"s3://{bucket.name}?endpoint_url=http://127.0.0.1:{port}&region=us-east-1"
        yield proxy
        proxy.shutdown()
        thread.join()


def test_a_service_that_is_busy_for_a_moment_is_asked_again_by_the_sdk_itself(proxy: Proxy, bucket: Bucket) -> None:
    proxy.trouble = lambda _: (503, "SlowDown") if len(proxy.asked) <= 2 else None

    assert gateway.put(KEY, BODY) is True

    assert proxy.asked == ["PUT", "PUT", "PUT"]
    assert bucket.body(KEY) == BODY


def test_the_sdk_gives_up_after_its_own_bound(proxy: Proxy, bucket: Bucket) -> None:
    proxy.trouble = lambda _: (503, "SlowDown")

    with pytest.raises(StorageUnavailable, match="SlowDown"):
        gateway.put(KEY, BODY)

    assert proxy.asked == ["PUT"] * 3
    assert bucket.listed() == []


def test_a_service_without_conditional_writes_is_asked_first_and_not_overwritten(proxy: Proxy, bucket: Bucket) -> None:
    def old_service(request: http.server.BaseHTTPRequestHandler) -> tuple[int, str] | None:
        return (501, "NotImplemented") if request.headers.get("If-None-Match") else None

    proxy.trouble = old_service

    assert gateway.put(KEY, BODY) is True
    assert gateway.put(KEY, BODY) is False
    with pytest.raises(ObjectConflict):
        gateway.put(KEY, b"{}")
    assert bucket.body(KEY) == BODY


def test_an_answer_that_was_lost_is_found_to_be_done(proxy: Proxy, bucket: Bucket) -> None:
    """The object was written, and nobody was told: the same bytes once more are no conflict."""
    lost: list[str] = []

    def lose_the_first(request: http.server.BaseHTTPRequestHandler) -> tuple[int, str] | None:
        if request.command == "PUT" and not lost:
            lost.append("answer")
            bucket.put(KEY, BODY)
            return 500, "InternalError"
        return None

    proxy.trouble = lose_the_first

    assert gateway.put(KEY, BODY) is False
    assert bucket.body(KEY) == BODY


# ------------------------------------------------------------------------------------------------ the whole way
@pytest.mark.django_db
def test_a_message_is_processed_and_restored_in_s3(
    bucket: Bucket, receive: Callable[..., KnownMessage], work: Callable[[], dict[str, int]]
) -> None:
    message = receive()
    kept = bytes(Message.objects.get().body)

    assert work() == {"done": 1}
    assert selectors.message(message.id, project_id=message.project_id).status is MessageStatus.PROCESSED
    assert bucket.body(f"some/prefix/{message.object_key}") == kept

    bucket.client.delete_object(Bucket=bucket.name, Key=f"some/prefix/{message.object_key}")
    bucket.put(f"some/prefix/{KEY}", b"nobody's")
    found = run_once(reconcile_messages, {"grace_seconds": 0}, project_id=PLATFORM)

    assert isinstance(found, Done)
    assert (found.output["restored"], found.output["set_aside"], found.output["complete"]) == (1, 1, True)
    assert bucket.body(f"some/prefix/{message.object_key}") == kept
    assert [key.rpartition("orphaned/")[1] for key in bucket.listed()] == ["", "orphaned/"]


# ------------------------------------------------------------------------------------------------ what is no message
HEADS = [f"heads/2026-{month:02}/{day:02}T10Z.json" for month in (10, 11) for day in range(1, 4)]


class Renaming(FileSystemStorage):
    """A storage class of somebody else's, which makes up another name where one is taken."""

    def __init__(self, root: str) -> None:
        super().__init__(location=root)


@pytest.fixture(params=["file", "s3", "class"])
def anywhere(request: pytest.FixtureRequest, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each sort of storage, empty."""
    if request.param == "s3":
        request.getfixturevalue("bucket")
    elif request.param == "class":
        monkeypatch.setitem(sys.modules, "storages_of_this_test", sys.modules[__name__])
        settings.STORAGE_URL = f"class:storages_of_this_test.Renaming?root={tmp_path}"
    else:
        settings.STORAGE_URL = f"file://{tmp_path}/storage"
    return str(request.param)


def test_objects_of_another_kind_are_made_once_listed_in_order_and_no_message_to_anybody(anywhere: str) -> None:
    assert gateway.keys("heads") == []
    for key in reversed(HEADS):
        assert gateway.create(key, key.encode()) is True
    assert gateway.create(HEADS[0], b"another") is False
    gateway.put(KEY, BODY)

    assert gateway.keys("heads") == HEADS
    assert gateway.get(HEADS[0]) == HEADS[0].encode()
    assert [each.key for each in gateway.listing(after="", limit=100).objects] == [KEY]
