"""What no-op handlers leave behind: how many ran, when the first one started and when the last one ended.

Both sides call the same two functions, so both pay the same for being watched (well under a microsecond a job).
Every worker process writes 24 bytes of its own, mapped into memory: no lock, no system call per job. Times are
`time.monotonic_ns()`, which all processes of a machine share. Only the standard library is used: this module is
imported by two virtual environments.
"""

import mmap
import os
import struct
import time
from dataclasses import dataclass
from pathlib import Path

DIRECTORY = "BENCH_RECORD"  # environment variable: where the processes of one run write
_TALLY = struct.Struct("=qqq")  # jobs run, start of the first, end of the last; nanoseconds
_MOMENT = struct.Struct("=q")
_PICKED = "picked"


class _Tally:
    """The 24 bytes of one worker process."""

    def __init__(self, directory: Path) -> None:
        path = directory / f"{os.getpid()}.tally"
        path.write_bytes(bytes(_TALLY.size))
        self._map = _mapped(path, _TALLY.size)
        self._count = 0
        self._first = time.monotonic_ns()

    def add(self) -> None:
        self._count += 1
        _TALLY.pack_into(self._map, 0, self._count, self._first, time.monotonic_ns())


class _Open:
    """What this process has open: nothing until its first job, so that a parent that forks shares nothing."""

    tally: _Tally | None = None
    picked: mmap.mmap | None = None


def directory() -> Path:
    """The directory of this run, from the environment."""
    return Path(os.environ[DIRECTORY])


def tick() -> None:
    """Count one job of this process. To be called once by every no-op handler."""
    if _Open.tally is None:
        _Open.tally = _Tally(directory())
    _Open.tally.add()


def picked(index: int) -> None:
    """Write down that the handler of sample `index` has just started."""
    now = time.monotonic_ns()
    if _Open.picked is None:
        path = directory() / _PICKED
        _Open.picked = _mapped(path, path.stat().st_size)
    _MOMENT.pack_into(_Open.picked, index * _MOMENT.size, now)


def _mapped(path: Path, size: int) -> mmap.mmap:
    with path.open("r+b") as file:
        return mmap.mmap(file.fileno(), size)


@dataclass(frozen=True)
class Tally:
    """The sum over all worker processes. `seconds` runs from the first handler's start to the last one's end."""

    jobs: int
    first_ns: int
    last_ns: int

    @property
    def seconds(self) -> float:
        return (self.last_ns - self.first_ns) / 1e9


def read_tally(where: Path) -> Tally:
    """Add up what the workers of this run have done so far."""
    found = [_TALLY.unpack(raw) for path in where.glob("*.tally") if len(raw := path.read_bytes()) == _TALLY.size]
    begun = [(count, first, last) for count, first, last in found if count]
    if not begun:
        return Tally(0, 0, 0)
    return Tally(
        jobs=sum(count for count, _, _ in begun),
        first_ns=min(first for _, first, _ in begun),
        last_ns=max(last for _, _, last in begun),
    )


def wait_for_jobs(where: Path, jobs: int, *, within: float) -> Tally:
    """Wait until the workers have run `jobs` jobs.

    Raises `TimeoutError`, with the number that did run, after `within` seconds.
    """
    deadline = time.monotonic() + within
    while (tally := read_tally(where)).jobs < jobs:
        if time.monotonic() > deadline:
            message = f"{tally.jobs} of {jobs} jobs ran within {within:.0f} s"
            raise TimeoutError(message)
        time.sleep(0.02)
    return read_tally(where)


class PickUps:
    """The start times of `samples` single jobs, written by whichever worker runs them."""

    def __init__(self, where: Path, samples: int) -> None:
        path = where / _PICKED
        path.write_bytes(bytes(samples * _MOMENT.size))
        self._map = _mapped(path, samples * _MOMENT.size)

    def wait(self, index: int, *, within: float = 10.0) -> int:
        """The moment (monotonic nanoseconds) at which the handler of sample `index` started.

        Raises `TimeoutError` when no worker has started it after `within` seconds.
        """
        deadline = time.monotonic() + within
        while not (moment := int(_MOMENT.unpack_from(self._map, index * _MOMENT.size)[0])):
            if time.monotonic() > deadline:
                message = f"sample {index} was not picked up within {within:.0f} s"
                raise TimeoutError(message)
            time.sleep(0.005)
        return moment
