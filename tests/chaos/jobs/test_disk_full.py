"""The database's disk is full (T28): nothing is accepted that was not stored, and work resumes when there is room."""

import base64
import contextlib
import os
import random
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import psutil
import pytest
from pytest_django import DjangoDbBlocker

from jobplatform.servers import OWNER
from tests.acceptance.jobs.web import Answer, Web
from tests.databases import Cluster
from tests.often import often
from tests.processes import Platform, Servers

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

BOUND = 60.0
ROOM = 128 * 1024 * 1024  # bytes of the disk
BATCH = 20  # jobs
LARGE = 9_000  # random bytes beside each job, so that the free places in the tables are soon taken
FILE_LIMIT = 16 * 1024 * 1024  # bytes: as large as a file of the write-ahead log, which is not what is full here


class Disk(ABC):
    """Where the database lies, and how it gets full."""

    def __init__(self, servers: Servers) -> None:
        self.servers = servers

    @abstractmethod
    def place(self, database: str) -> None:
        """Put a database on it, to which nobody is connected."""

    @abstractmethod
    def fill(self) -> None:
        """Leave no room."""

    @abstractmethod
    def empty(self) -> None:
        """Make room again."""


class SmallDisk(Disk):
    """A file system of its own below the tables: what root can have."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers)
        self.directory = servers.directory / "small"
        self.directory.mkdir(mode=0o755)
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", self.directory], check=True)
        try:
            space = self.directory / "space"
            space.mkdir(mode=0o700)
            shutil.chown(space, servers.postgres.place.user or os.geteuid())
            servers.configure(f"create tablespace small owner {OWNER} location '{space}'")
        except BaseException:
            self.remove()
            raise

    def place(self, database: str) -> None:
        self.servers.configure(f"alter database {database} set tablespace small")

    def fill(self) -> None:
        with (self.directory / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(4096))

    def empty(self) -> None:
        (self.directory / "filler").unlink(missing_ok=True)

    def remove(self) -> None:
        subprocess.run(["umount", "--lazy", self.directory], check=True)


class ShortFiles(Disk):
    """No file may grow beyond a bound: what everybody can have. PostgreSQL calls it an internal error."""

    def place(self, database: str) -> None:
        """Leave it where it is."""

    def fill(self) -> None:
        self._limit(str(FILE_LIMIT))

    def empty(self) -> None:
        self._limit("unlimited")

    def _limit(self, size: str) -> None:
        user = self.servers.postgres.place.user
        parent = psutil.Process(self.servers.embedded.pids["postgres"])
        for process in (parent, *parent.children()):  # the parent first: who is started from now on has it from there
            limit = ["prlimit", "--pid", str(process.pid), f"--fsize={size}:"]
            # Even root may need to be the owner of a process for this.
            done = subprocess.run(limit, user=user, group=user, check=False, capture_output=True)
            assert done.returncode == 0 or not process.is_running(), done


def can_mount(directory: Path) -> bool:
    """Whether this process may mount a file system."""
    try:
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", directory], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        return False
    subprocess.run(["umount", directory], check=True)
    return True


@pytest.fixture(params=often([SmallDisk], [SmallDisk, ShortFiles]), ids=["no space", "no larger files"])
def disk(own_servers: Servers, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Disk]:
    if request.param is ShortFiles:
        if not shutil.which("prlimit"):
            pytest.skip("prlimit of util-linux limits the files of a process that runs")
        yield ShortFiles(own_servers)
        return
    if not can_mount(tmp_path):
        pytest.skip("only who may mount a file system has a small one")
    disk = SmallDisk(own_servers)
    yield disk
    own_servers.configure("drop tablespace small")
    disk.remove()


class OnDisk(Cluster):
    """A cluster whose databases are put on a disk."""

    def __init__(self, cluster: Cluster, disk: Disk) -> None:
        super().__init__(cluster.url)
        self._cluster, self._disk = cluster, disk

    def make(self) -> str:
        """Make one there."""
        url = self._cluster.make()
        self._disk.place(url.partition("?")[0].rpartition("/")[2])
        return url


@pytest.fixture
def platform(own_servers: Servers, disk: Disk, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    cluster = OnDisk(own_servers.cluster, disk)
    platform = Platform(cluster, own_servers.broker_url, env={"ALLOWED_HOSTS": "127.0.0.1"})
    with django_db_blocker.unblock(), platform:
        yield platform
        disk.empty()


class Client:
    """Asks for batches of large jobs, with a key of its own for each."""

    def __init__(self, web: Web) -> None:
        self._web = web
        self.accepted: list[UUID] = []
        self.refused: dict[str, Answer] = {}

    def ask(self, key: str) -> bool:
        """Ask once; says whether the batch was accepted."""
        large = base64.b64encode(random.Random(key).randbytes(LARGE)).decode()  # the same for the same key
        body = {"jobs": [{"kind": "test.open", "payload": {"n": 1}, "metadata": {"large": large}}] * BATCH}
        answer = self._web.call("POST", "/api/v1/jobs/batch", body, Idempotency_Key=key)
        if answer.status == 202:
            self.refused.pop(key, None)
            self.accepted += [UUID(item["id"]) for item in answer.body["jobs"]]
            return True
        self.refused[key] = answer
        return False


def test_a_full_disk_is_told_and_costs_nothing_that_was_accepted(platform: Platform, disk: Disk) -> None:
    relay, worker, web = platform.relay(), platform.worker(), Web(platform)
    running = platform.submit("test.gated_async", 3, {"gate": "full"})  # of which each has one attempt
    platform.wait_until(lambda: len(platform.effects.of("began", running)) == 3, "all to begin")
    client = Client(web)
    for _ in range(5):
        assert client.ask(str(uuid4()))
    disk.fill()
    platform.wait_until(lambda: not client.ask(str(uuid4())), "a refusal")
    for _ in range(5):
        client.ask(str(uuid4()))
    told = dict(client.refused)
    platform.effects.open("full")
    disk.empty()
    for key in told:
        platform.wait_until(partial(client.ask, key), "room", seconds=BOUND)
    ids = client.accepted + running
    platform.wait_ended(ids, seconds=BOUND)

    stored = platform.value("select count(*) from jobs_job where kind = 'test.open'")
    assert stored == len(client.accepted) == len({*client.accepted})
    assert platform.by_status(ids) == {"processed": len(ids)}
    assert set(platform.effects.count("ran", client.accepted)) == {*client.accepted}
    assert (relay.alive, worker.alive, web.program.alive) == (True, True, True)
    if isinstance(disk, SmallDisk):
        assert {(answer.status, answer.body["code"]) for answer in told.values()} == {(503, "database_unavailable")}
        assert all("retry-after" in answer.headers for answer in told.values())
    else:
        assert all(answer.status >= 500 for answer in told.values())
