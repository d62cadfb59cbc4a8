"""The life of one job as spans of time: where it waited, ran or stood still. Pure; the clock is passed in.

Built from the job's events, oldest first, and its attempts; both carry the real clock of the database. A span begins
at an event and ends at the next; an attempt that ran in between cuts it in two.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from jobplatform.backoffice.markup import duration

MOST_SPANS = 60
"""Spans that are drawn: the newest."""


class Happening(Protocol):
    """What is read of an event."""

    type: str
    occurred_at: dt.datetime


class Run(Protocol):
    """What is read of an attempt."""

    claim_no: int
    attempt: int
    stage: str
    outcome: str
    started_at: dt.datetime
    ended_at: dt.datetime


@dataclass(frozen=True, slots=True)
class Span:
    """One bar: `tone` is that of the style sheet; an open one still grows."""

    title: str
    tone: str
    start: dt.datetime
    end: dt.datetime
    note: str = ""
    open: bool = False

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return max(0.0, (self.end - self.start).total_seconds())


@dataclass(frozen=True, slots=True)
class Bar:
    """A span with its place on the drawing, in percent of the whole."""

    span: Span
    left: float
    width: float

    @property
    def style(self) -> str:
        """Its place as a style sheet says it; however short, it stays visible."""
        return f"left: min({self.left:.3f}%, 100% - 3px); width: max({self.width:.3f}%, 3px)"

    @property
    def lasted(self) -> str:
        """How long, for people."""
        return duration(self.span.seconds)


@dataclass(frozen=True, slots=True)
class Drawing:
    """All bars, and what they span. `hidden`: older spans that are left out."""

    bars: Sequence[Bar]
    start: dt.datetime
    end: dt.datetime
    hidden: int = 0

    @property
    def scale(self) -> tuple[str, str, str]:
        """What stands at the beginning, the middle and the end of the axis."""
        seconds = (self.end - self.start).total_seconds()
        return "0", duration(seconds / 2), duration(seconds)


# What a job does after an event: title, tone. None: nothing any more.
_AFTER: dict[str, tuple[str, str] | None] = {
    "job.queued": ("Queued", "wait"),
    "job.retrying": ("Waits for the next attempt", "wait"),
    "job.released": ("Queued again, handed back", "wait"),
    "job.woken": ("Queued again, woken", "wait"),
    "job.resumed": ("Queued again, resumed", "wait"),
    "job.redriven": ("Queued again, retried by hand", "wait"),
    "job.parked": ("Parked", "wait"),
    "job.blocked": ("Blocked, needs a person", "ask"),
    "job.failed": ("Dead letter", "bad"),
    "job.rejected": ("Rejected", "bad"),
    "job.cancelled": ("Cancelled", "off"),
    "job.processed": None,
    "job.approved": None,
    "job.confirmed": None,
}
_ENDS = frozenset({"job.failed", "job.rejected", "job.cancelled", "job.processed", "job.confirmed", "job.approved"})
_TONES = {"done": "good", "retried": "ask", "failed": "bad", "rejected": "bad", "blocked": "ask", "cancelled": "off"}


def spans(
    events: Sequence[Happening], attempts: Iterable[Run], *, now: dt.datetime, running: int | None = None
) -> list[Span]:
    """The spans of a job, oldest first. `running`: number of the attempt that a worker holds now, if any."""
    turns = [event for event in events if event.type != "job.processing"]
    left = sorted(attempts, key=lambda run: run.claim_no)
    found: list[Span] = []
    for index, event in enumerate(turns):
        last = index + 1 == len(turns)
        end = now if last else turns[index + 1].occurred_at
        start = event.occurred_at
        while left and (last or left[0].ended_at <= end + _SLACK):
            run = left.pop(0)
            _wait(found, event.type, start, run.started_at)
            found.append(_attempt(run))
            start = max(start, run.ended_at)
        if last and running is not None:
            began = next((e.occurred_at for e in reversed(events) if e.type == "job.processing"), None)
            began = max(start, began) if began else start
            _wait(found, event.type, start, began)
            found.append(Span(f"Attempt {running}", "run", began, max(began, now), "running", open=True))
        elif not (last and event.type in _ENDS):
            _wait(found, event.type, start, end, still=last)
    return found


_SLACK = dt.timedelta(milliseconds=5)  # an attempt and the event that ends it are stamped within one statement


def _wait(found: list[Span], event: str, start: dt.datetime, end: dt.datetime, *, still: bool = False) -> None:
    after = _AFTER.get(event, ("Waits", "wait"))
    if after is not None and (end > start or still):
        title, tone = after
        found.append(Span(title, tone, start, max(start, end), open=still))


def _attempt(run: Run) -> Span:
    stage = "" if run.stage == "process" else f", {run.stage}"
    return Span(
        f"Attempt {run.attempt}{stage}", _TONES.get(run.outcome, "run"), run.started_at, run.ended_at, run.outcome
    )


def draw(found: Sequence[Span]) -> Drawing | None:
    """Place the spans side by side on one scale; None when there is nothing to draw."""
    if not found:
        return None
    shown = found[-MOST_SPANS:]
    start = min(span.start for span in shown)
    end = max(span.end for span in shown)
    whole = max((end - start).total_seconds(), 1e-6)
    bars = []
    for span in shown:
        offset = max(0.0, (span.start - start).total_seconds())
        left = 100 * offset / whole
        bars.append(Bar(span, left, min(100 - left, 100 * span.seconds / whole)))
    return Drawing(bars, start, end, len(found) - len(shown))
