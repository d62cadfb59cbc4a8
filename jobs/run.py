"""What a handler receives: a job, without any database behind it."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar
from uuid import UUID

P = TypeVar("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Woken:
    """What woke a job that was parked. `type` is "job.resumed" when a person did, and empty when its time was over."""

    type: str
    subject: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    occurred_at: dt.datetime | None = None


class Desk(Protocol):
    """What the engine does for a run while its handler works. The runner has the real one; tests may bring another."""

    def step(self, run: "Run[Any]", name: str, work: Callable[[], Any]) -> Any:
        """Return the remembered result of a step, or do its work and remember it."""

    def progress(self, run: "Run[Any]", done: float, total: float, note: str) -> None:
        """Take note of progress."""

    def log(self, run: "Run[Any]", message: str, values: Mapping[str, Any]) -> None:
        """Keep a line of the attempt's log."""

    def cancelled(self, run: "Run[Any]") -> bool:
        """Whether somebody asked to stop the job."""

    def woken(self, run: "Run[Any]") -> Woken | None:
        """What ended the last waiting of the job; None when it has not waited."""


@dataclass(slots=True)  # not frozen: that costs four times as much, once per job
class Run(Generic[P]):
    """One attempt at one job."""

    id: UUID
    kind: str
    attempt: int
    payload: P
    project_id: UUID
    metadata: Mapping[str, Any]
    lane: str | None
    desk: Desk = field(repr=False, compare=False)

    def step(self, name: str, work: Callable[[], T]) -> T:
        """Do a part of the work once: its result (a JSON value) is stored before this returns.

        A later attempt gets the stored result and does not run `work` again.
        """
        result: T = self.desk.step(self, name, work)
        return result

    def progress(self, done: float, total: float, note: str = "") -> None:
        """Show how far the work is. Cheap: written at most once a second."""
        self.desk.progress(self, done, total, note)

    def log(self, message: str, **values: Any) -> None:
        """Keep a line with the attempt (at most 1,000 lines of 1 KiB)."""
        self.desk.log(self, message, values)

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop the job; a cooperative handler then answers `Cancel()`."""
        return self.desk.cancelled(self)

    @property
    def woken_by(self) -> Woken | None:
        """The event that ended the last `Park(event=)`; None when the time did, or the job has not waited."""
        woken = self.desk.woken(self)
        return woken if woken is not None and woken.type else None

    @property
    def timed_out(self) -> bool:
        """Whether the job was parked, and runs again because the time was over."""
        woken = self.desk.woken(self)
        return woken is not None and not woken.type
