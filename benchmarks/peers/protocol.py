"""The command line that every peer speaks, and how its workers are held at the start line.

    python -m benchmarks.peers.<name> prepare      make its schema                  -> {"versions", "settings"}
    python -m benchmarks.peers.<name> enqueue N    put N no-op jobs into its queue  -> {"jobs", "seconds"}
    python -m benchmarks.peers.<name> drain N      start 2 workers, run the N jobs  -> {"jobs", "seconds"}
    python -m benchmarks.peers.<name> pickup N     N single jobs to an idle worker  -> {"samples": [[...], ...]}

Each prints one line of JSON. The environment carries DATABASE_URL, BROKER_URL and BENCH_RECORD (a fresh directory
per run). Only the standard library is imported here.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from benchmarks import recorder

WORKERS = 2
READY_WITHIN = 60.0  # seconds that workers may take to start
DRAIN_WITHIN = 300.0  # seconds that a drain may take
WARM_SAMPLES = 20
IDLE = (0.025, 0.035)  # seconds between two samples of the idle pick-up: time enough for a worker to be idle again


class Handover(NamedTuple):
    """When a job left the hands of its sender, in monotonic nanoseconds."""

    went_out: int  # the COMMIT, or the message to Redis, is about to be written to its socket
    committed: int  # the transaction has been committed; where there is none, the same moment as above

    @classmethod
    def at(cls, moment: int) -> Self:
        """Of a peer that does not tell the two apart."""
        return cls(moment, moment)


class Peer(ABC):
    """One peer: how its schema is made, its jobs are sent and its workers are run."""

    settings: str  # what was tuned, for the report
    packages: tuple[str, ...]  # distributions whose versions the report names

    def __init__(self) -> None:
        self.workers: list[subprocess.Popen[bytes]] = []

    @abstractmethod
    def prepare(self) -> dict[str, object] | None:
        """Make the schema in an empty database. What it returns is added to the answer."""

    @abstractmethod
    def enqueue(self, jobs: int) -> None:
        """Put `jobs` no-op jobs into the queue, by the fastest means that the peer has."""

    @abstractmethod
    def start(self) -> None:
        """Start the workers and wait until they stand ready: connected, but not yet taking jobs."""

    @abstractmethod
    def open_gate(self) -> None:
        """Let the workers take jobs."""

    @abstractmethod
    def send(self, index: int) -> Handover:
        """Send one job whose handler calls `recorder.picked(index)`; return when the queue has it."""

    def stop(self) -> None:
        """End the workers, by force if they do not go by themselves within ten seconds."""
        for worker in self.workers:
            worker.send_signal(signal.SIGTERM)
        for worker in self.workers:
            try:
                worker.wait(timeout=10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()

    def settled(self, tally: recorder.Tally) -> float:
        """The length of a drain in seconds, as soon as this peer calls its jobs done.

        By default from the start of the first handler to the end of the last one. A peer's own bookkeeping after
        that is not charged to it.
        """
        return tally.seconds

    def verify(self, jobs: int) -> dict[str, object]:
        """Look at what a run of `jobs` jobs left behind, after the workers have ended. Part of the answer."""
        return {}

    def spawn(self, *arguments: str) -> None:
        """Start one worker process: `python arguments...`, its output in the directory of the run."""
        log = recorder.directory() / f"worker{len(self.workers)}.log"
        with log.open("wb") as output:
            self.workers.append(
                subprocess.Popen(
                    [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
                )
            )


class LibraryPeer(Peer):
    """A peer whose workers are a coroutine or thread of a library, run by processes of our own."""

    @abstractmethod
    def work(self) -> None:
        """The body of one worker process: connect, call `at_gate()`, then take jobs until SIGTERM."""

    def start(self) -> None:
        module = Path(sys.modules[type(self).__module__].__file__ or "").stem
        for number in range(WORKERS):
            self.spawn("-m", f"benchmarks.peers.{module}", "work", str(number))
        ready = [recorder.directory() / f"ready.{number}" for number in range(WORKERS)]
        wait_until(lambda: all(path.exists() for path in ready), self.workers)

    def open_gate(self) -> None:
        (recorder.directory() / "gate").touch()

    @staticmethod
    def at_gate() -> None:
        """Say that this worker is ready and wait (polling every 2 ms) until the gate opens."""
        where = recorder.directory()
        (where / f"ready.{sys.argv[-1]}").touch()
        while not (where / "gate").exists():
            time.sleep(0.002)


def wait_until(
    condition: Callable[[], object], workers: Sequence[subprocess.Popen[bytes]], *, within: float = READY_WITHIN
) -> None:
    """Poll until `condition()` holds.

    Raises `RuntimeError`, with the end of the workers' logs, when a worker has ended or `within` seconds have passed.
    """
    deadline = time.monotonic() + within
    while not condition():
        ended = [worker.args for worker in workers if worker.poll() is not None]
        if ended or time.monotonic() > deadline:
            logs = "\n".join(path.read_text()[-2000:] for path in recorder.directory().glob("worker*.log"))
            message = f"not ready after {within:.0f} s at most; ended by themselves: {ended or 'none'}\n{logs}"
            raise RuntimeError(message)
        time.sleep(0.02)


def enqueue(peer: Peer, jobs: int) -> dict[str, object]:
    """Fill the queue while no worker runs."""
    started = time.monotonic()
    peer.enqueue(jobs)
    return {"jobs": jobs, "seconds": time.monotonic() - started}


def drain(peer: Peer, jobs: int) -> dict[str, object]:
    """Run the `jobs` jobs that wait in the queue."""
    peer.start()
    try:
        peer.open_gate()
        tally = recorder.wait_for_jobs(recorder.directory(), jobs, within=DRAIN_WITHIN)
        seconds = peer.settled(tally)
    finally:
        peer.stop()
    return {"jobs": jobs, "ran": tally.jobs, "seconds": seconds, **peer.verify(jobs)}


def pickup(peer: Peer, samples: int) -> dict[str, object]:
    """Send single jobs to idle workers; the first ones warm up and are not part of the answer."""
    total = WARM_SAMPLES + samples
    picked = recorder.PickUps(recorder.directory(), total)
    peer.start()
    try:
        peer.open_gate()
        found = idle_pickups(picked, peer.send, total)
    finally:
        peer.stop()
    return {"samples": found[WARM_SAMPLES:], **peer.verify(total)}


def idle_pickups(picked: recorder.PickUps, send: Callable[[int], Handover], samples: int) -> list[tuple[int, int, int]]:
    """Send single jobs to an idle worker, the next one only when the one before has been picked up.

    Returns per sample the nanoseconds until its handler started: from the start of the sending call, and from the two
    moments of its `Handover`.
    """
    found = []
    for index in range(samples):
        called = time.monotonic_ns()
        handover = send(index)
        time.sleep(random.uniform(*IDLE))
        started = picked.wait(index)
        found.append((started - called, started - handover.went_out, started - handover.committed))
    return found


Command = Callable[[Any, int], dict[str, object]]


def serve(peer: Peer, **more: Command) -> None:
    """Run the command given on the command line and print its answer as one line of JSON. `more` adds commands."""
    # SIGTERM must end the workers as well: as an exception it passes through every `finally`.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    commands: dict[str, Command] = {"enqueue": enqueue, "drain": drain, "pickup": pickup, **more}
    parser = argparse.ArgumentParser(description=type(peer).__doc__)
    parser.add_argument("command", choices=["prepare", "work", *commands])
    parser.add_argument("number", type=int, nargs="?", default=0)
    arguments = parser.parse_args()
    if arguments.command == "work":
        assert isinstance(peer, LibraryPeer)
        peer.work()
        return
    if arguments.command == "prepare":
        made = peer.prepare() or {}
        answer = {"versions": {name: version(name) for name in peer.packages}, "settings": peer.settings, **made}
    else:
        answer = commands[arguments.command](peer, arguments.number)
    print(json.dumps(answer))


def database_url() -> str:
    """The peer's own, empty database: postgresql://user:password@/name?host=/socket/directory."""
    return os.environ["DATABASE_URL"]


def django_database() -> dict[str, object]:
    """The same database as an entry of Django's DATABASES, with lasting connections."""
    parts = urlsplit(database_url())
    query = dict(parse_qsl(parts.query))
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.path.lstrip("/"),
        "USER": parts.username,
        "PASSWORD": unquote(parts.password or ""),
        "HOST": query.get("host", parts.hostname or ""),
        "PORT": query.get("port", parts.port or ""),
        "CONN_MAX_AGE": None,
    }
