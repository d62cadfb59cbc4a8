"""Object storage in a directory and through a Django storage class. S3: tests/integration/ingestion/test_gateway.py."""

import contextlib
import datetime as dt
import os
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.files.storage import FileSystemStorage, InMemoryStorage

from ingestion import gateway
from ingestion.errors import ObjectConflict, ObjectMissing, StorageUnavailable
from ingestion.gateway import AnyStorage, Bucket, Directory, store_of

COMPANY = "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a"
KEY = f"{COMPANY}/0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0b.json"
BODY = b'{"a":\n "\xc3\xa9"}  \n'
NOW = dt.datetime(2026, 11, 22, 6, tzinfo=dt.UTC)


def key(company: int, message: int) -> str:
    return f"00000000-0000-4000-8000-{company:012x}/00000000-0000-4000-8000-{message:012x}.json"


@pytest.fixture(params=["file", "class"])
def root(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> Path:
    """An empty storage of each sort, on this directory."""
    folder = tmp_path / "storage"
    settings.STORAGE_URL = {
        "file": f"file://{folder}",
        "class": f"class:django.core.files.storage.FileSystemStorage?location={folder}",
    }[request.param]
    if request.param == "class":
        folder.mkdir()
    return folder


@pytest.fixture
def folder(settings: Any, tmp_path: Path) -> Path:
    """An empty directory as storage."""
    settings.STORAGE_URL = f"file://{tmp_path}/storage"
    return tmp_path / "storage"


def test_an_object_comes_back_byte_for_byte(root: Path) -> None:
    assert gateway.put(KEY, BODY) is True

    assert gateway.get(KEY) == BODY
    assert (root / KEY).read_bytes() == BODY


def test_the_same_bytes_once_more_change_nothing(root: Path) -> None:
    gateway.put(KEY, BODY)
    written = (root / KEY).stat().st_mtime_ns

    assert gateway.put(KEY, BODY) is False
    assert (root / KEY).stat().st_mtime_ns == written


def test_other_content_is_never_overwritten(root: Path) -> None:
    gateway.put(KEY, BODY)

    with pytest.raises(ObjectConflict):
        gateway.put(KEY, BODY + b" ")

    assert gateway.get(KEY) == BODY
    assert [path for path in root.rglob("*.json") if path.is_file()] == [root / KEY]


def test_an_object_that_is_not_there_is_said_to_be_missing(root: Path) -> None:
    with pytest.raises(ObjectMissing):
        gateway.get(KEY)


def test_the_listing_has_every_object_once_in_the_order_of_keys(root: Path) -> None:
    keys = sorted(key(company, message) for company in range(4) for message in range(7))
    for each in keys:
        gateway.put(each, b"{}")
    for stranger in ("README.md", f"{COMPANY}x/a.json", f"{COMPANY}/a.json", f"orphaned/1/{KEY}"):
        (root / stranger).parent.mkdir(parents=True, exist_ok=True)
        (root / stranger).write_bytes(b"")

    found: list[str] = []
    while True:
        page = gateway.listing(after=found[-1] if found else "", limit=5)
        found += [each.key for each in page.objects]
        assert len(page.objects) <= 5
        if not page.more:
            break

    assert found == keys


def test_a_listing_tells_size_and_time(root: Path) -> None:
    gateway.put(KEY, BODY)
    os.utime(root / KEY, (NOW.timestamp(), NOW.timestamp()))

    (found,) = gateway.listing(after="", limit=10).objects

    assert (found.key, found.size, found.modified_at) == (KEY, len(BODY), NOW)


def test_a_listing_of_nothing_is_empty(root: Path) -> None:
    assert gateway.listing(after="", limit=10) == gateway.Listing([], more=False)


def test_an_object_is_copied_aside_under_the_time_of_its_move(root: Path) -> None:
    gateway.put(KEY, BODY)

    aside = gateway.copy_aside(KEY, now=NOW)
    gateway.delete(KEY)

    assert aside == f"orphaned/20261122T060000000000Z/{KEY}"
    assert gateway.get(aside) == BODY
    assert gateway.listing(after="", limit=10).objects == []


def test_deleting_what_is_not_there_is_fine(root: Path) -> None:
    gateway.put(KEY, BODY)
    gateway.delete(KEY)

    gateway.delete(KEY)


# ------------------------------------------------------------------------------------------------ a directory
def test_of_many_writers_one_wins_and_nobody_sees_half_an_object(folder: Path) -> None:
    bodies = [bytes([number]) * 300_000 for number in range(8)]
    outcomes: list[str] = []
    start = threading.Barrier(len(bodies))

    def write(body: bytes) -> None:
        start.wait()
        try:
            outcomes.append("written" if gateway.put(KEY, body) else "there")
        except ObjectConflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=write, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(outcomes) == ["conflict"] * 7 + ["written"]
    assert gateway.get(KEY) in bodies
    assert list((folder / ".incoming").iterdir()) == []


def test_an_interrupted_write_leaves_a_draft_that_nobody_sees_and_that_is_removed_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", die)
        patch.setattr(Path, "unlink", lambda *_, **__: None)  # a process that is killed does not clean up
        with pytest.raises(Killed):
            gateway.put(KEY, BODY)

    with pytest.raises(ObjectMissing):
        gateway.get(KEY)
    now = dt.datetime.now(dt.UTC)
    assert gateway.remove_leftovers(before=now - dt.timedelta(minutes=1)) == 0
    assert gateway.remove_leftovers(before=now + dt.timedelta(minutes=1)) == 1
    assert gateway.put(KEY, BODY) is True


def test_a_folder_that_cannot_be_made_is_an_error_that_may_pass(folder: Path) -> None:
    folder.mkdir()
    (folder / COMPANY).write_bytes(b"in the way")

    with pytest.raises(StorageUnavailable) as refused:
        gateway.put(KEY, BODY)

    assert str(folder) not in str(refused.value)
    (folder / COMPANY).unlink()
    assert gateway.put(KEY, BODY) is True


def test_a_key_cannot_lead_out_of_the_directory(folder: Path) -> None:
    with pytest.raises(Exception, match="located outside"):
        gateway.put("../../escaped.json", BODY)

    assert not (folder.parent / "escaped.json").exists()


# ------------------------------------------------------------------------------------------------ a Django storage
class Late(FileSystemStorage):
    """A storage class that looks a moment too early: another writer comes between the look and the write."""

    looks = 0

    def exists(self, name: str | None) -> bool:
        self.looks += 1
        return self.looks > 1 and super().exists(name or "")


def test_a_class_that_makes_up_another_name_does_not_leave_it_behind(tmp_path: Path) -> None:
    (tmp_path / COMPANY).mkdir()
    (tmp_path / KEY).write_bytes(BODY)
    store = AnyStorage(Late(location=tmp_path))

    assert store.create(KEY, b"other") is False

    assert [path.name for path in tmp_path.rglob("*.json")] == [Path(KEY).name]
    assert store.read(KEY) == BODY


# ------------------------------------------------------------------------------------------------ the URL
@pytest.mark.parametrize(
    "url, kind",
    [
        ("file:///var/lib/storage", Directory),
        ("file:///var/my%20storage", Directory),
        ("s3://bucket", Bucket),
        ("s3://bucket/prefix?region=eu-central-1", Bucket),
        ("s3://bucket?endpoint_url=http://127.0.0.1:9000&region=us-east-1&addressing_style=path", Bucket),
        ("class:django.core.files.storage.InMemoryStorage", AnyStorage),
    ],
)
def test_a_storage_url_names_its_store(url: str, kind: type) -> None:
    assert isinstance(store_of(url), kind)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/var/lib/storage",
        "file://",
        "file://host/var",
        "file:///var?x=1",
        "file:relative",
        "s3://",
        "s3://bucket?endpoint=http://x",
        "gs://bucket",
        "class:",
    ],
)
def test_a_storage_url_that_names_nothing_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="STORAGE_URL must be"):
        store_of(url)


@pytest.mark.parametrize("name", ["no.such.module.Storage", "django.core.files.storage.NoSuch", "nodots"])
def test_a_storage_class_that_cannot_be_made_is_refused_with_a_sentence(name: str) -> None:
    with pytest.raises(ImproperlyConfigured, match="cannot be made"):
        store_of(f"class:{name}")
    with pytest.raises(ImproperlyConfigured, match="cannot be made"):
        store_of("class:django.core.files.storage.FileSystemStorage?place=/tmp")


def test_a_storage_in_memory_will_do(settings: Any) -> None:
    store = AnyStorage(InMemoryStorage())

    assert store.create(KEY, BODY) is True
    assert store.create(KEY, BODY) is False
    assert store.read(KEY) == BODY
    assert [found.key for found in store.listing("", 10).objects] == [KEY]


# ------------------------------------------------------------------------------------------------ S3 that hangs
class Hanging(socketserver.ThreadingTCPServer):
    """A service that takes every request and answers `head`, then a byte now and then, or nothing."""

    daemon_threads = True

    def __init__(self, head: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Hangs)
        self.head = head
        self.requests = 0
        self.over = threading.Event()


class _Hangs(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        service = cast("Hanging", self.server)
        self.request.recv(65536)
        service.requests += 1
        with contextlib.suppress(OSError):
            self.request.sendall(service.head)
            while not service.over.wait(0.05):
                self.request.sendall(b" " if service.head else b"")


@pytest.fixture
def hanging(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], Hanging]]:
    """Start a service that hangs, as the object storage."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    running = []

    def start(head: bytes) -> Hanging:
        service = Hanging(head)
        running.append(service)
        threading.Thread(target=service.serve_forever, args=(0.05,), daemon=True).start()
        port = service.server_address[1]
        settings.STORAGE_URL = f"s3://bucket?endpoint_url=http://127.0.0.1:{port}&region=us-east-1"
        return service

    yield start
    for service in running:
        service.over.set()
        service.shutdown()
        service.server_close()


def test_who_waits_for_an_original_waits_for_two_tries(
    hanging: Callable[[bytes], Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "GET_READ_SECONDS", 0.2)
    service = hanging(b"")

    with pytest.raises(StorageUnavailable):
        gateway.get(KEY)

    assert service.requests == gateway.GET_TRIES == 2


def test_who_waits_for_an_original_that_drips_waits_so_many_seconds(
    hanging: Callable[[bytes], Hanging], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "GET_SECONDS", 0.5)
    service = hanging(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    began = time.monotonic()

    with pytest.raises(StorageUnavailable, match="longer than"):
        gateway.get(KEY)

    assert time.monotonic() - began < 5
    assert service.requests == 1
