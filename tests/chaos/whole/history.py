"""What a run knows from outside of the platform, in a file of one JSON object per line: requests, answers, faults.

The checker reads it beside the effects that the handlers reported (tests/effects.py) and the database.
"""

import json
import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

JOURNAL = "journal.jsonl"
EFFECTS = "effects.jsonl"


@dataclass(slots=True)
class Request:
    """Jobs that somebody asked for, under one Idempotency-Key. `ids`: what was answered, None where nothing was."""

    key: str
    kinds: list[str]
    at: float
    due_in: float = 0.0
    wall: float = 0.0
    ids: list[str] | None = None
    status: int = 0
    tries: int = 0


@dataclass(slots=True)
class Act:
    """A decision of the client or the person about one job: cancel, retry, resume, skip, supply."""

    what: str
    job: str
    status: int
    at: float


@dataclass(slots=True)
class Fault:
    """What was done, to which processes, and when: `at` by the monotonic clock, `wall` by the database's.

    `until`: when the process or the server was let go on or started again.
    """

    sort: str
    victim: str
    pids: list[int]
    at: float
    wall: float
    until: float = 0.0
    detail: str = ""


@dataclass(slots=True)
class Run:
    """One run of one handler, as it reported it. `ended` None: its process died, or the recorder never heard."""

    job: str
    kind: str
    attempt: int
    pid: int
    began: float
    wall: float
    ended: float | None = None


@dataclass(slots=True)
class History:
    """Everything that is known of a run of the platform without asking it."""

    requests: dict[str, Request] = field(default_factory=dict)
    acts: list[Act] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """What a directory of a run holds."""
        history = cls()
        for line in _lines(directory / JOURNAL):
            history.take(line)
        history.runs = runs(_lines(directory / EFFECTS))
        return history

    def take(self, line: dict[str, Any]) -> None:
        """One line of the journal."""
        what, line = line["what"], {name: value for name, value in line.items() if name != "what"}
        if what == "asked":
            self.requests[line["key"]] = Request(**line)
        elif what == "answered":
            request = self.requests[line["key"]]
            request.ids, request.status, request.tries = line["ids"], line["status"], line["tries"]
        elif what == "act":
            self.acts.append(Act(what=line.pop("act"), **line))
        elif what == "fault":
            self.faults.append(Fault(**line))

    @property
    def accepted(self) -> dict[str, str]:
        """Kind by id of every job that a client was told of."""
        return {
            job: kind
            for request in self.requests.values()
            if request.ids is not None
            for job, kind in zip(request.ids, request.kinds, strict=True)
        }


class Journal:
    """Writes the file; from any thread."""

    def __init__(self, directory: Path) -> None:
        self._file = (directory / JOURNAL).open("a", buffering=1)
        self._lock = threading.Lock()
        self.history = History()

    def write(self, what: str, **facts: Any) -> None:
        """One line; what is remembered is what is written."""
        line = {"what": what, **facts}
        with self._lock:
            self._file.write(json.dumps(line) + "\n")
            self.history.take(line)

    def fault(self, sort: str, victim: str, pids: Sequence[int] = (), *, detail: str = "", until: float = 0.0) -> None:
        """A fault happens now."""
        at = time.monotonic()
        self.write(
            "fault", sort=sort, victim=victim, pids=list(pids), at=at, wall=time.time(), until=until, detail=detail
        )

    def close(self) -> None:
        """No more lines."""
        self._file.close()


def runs(effects: Iterable[dict[str, Any]]) -> list[Run]:
    """Pair begins with ends. A process runs a job once at a time, so (job, process, attempt) names a run."""
    found: list[Run] = []
    open_runs: dict[tuple[str, int, int], Run] = {}
    for effect in effects:
        name = (effect["job"], effect["pid"], effect["attempt"])
        if effect["what"] == "began":
            run = Run(effect["job"], effect["kind"], effect["attempt"], effect["pid"], effect["at"], effect["wall"])
            open_runs[name] = run
            found.append(run)
        elif run_ := open_runs.pop(name, None):
            run_.ended = effect["at"]
    return found


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    with path.open() as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)
