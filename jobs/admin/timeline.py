"""The life of one job as spans of time: where it waited, ran or stood still. Pure; the clock is passed in.

Built from the job's events, oldest first, and its attempts; both carry the real clock of the database. A span begins
at an event and ends at the next; an attempt that ran in between cuts it in two.
"""

import datetime as dt
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Protocol

from jobplatform.backoffice.markup import duration

LISTED_FIRST, LISTED_LAST = 10, 30
"""Spans that are listed at the beginning and at the end of a long life; those between become one line."""
NARROWEST = 0.4
"""Percent of the whole below which neighbours on the drawing become one block."""


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
    """One bar: `tone` and `look` (a pattern) are those of the style sheet; an open one still grows."""

    title: str
    tone: str
    start: dt.datetime
    end: dt.datetime
    note: str = ""
    open: bool = False
    look: str = "queued"
    stage: str = ""
    attempt: bool = False

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
class Block:
    """A piece of a track, in percent of the whole: one span, or several that are too narrow to tell apart."""

    look: str
    left: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Track:
    """One row of the drawing."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Share:
    """What all spans of one look take together: `number` of them, and how long (seconds)."""

    look: str
    title: str
    number: int
    seconds: float

    @property
    def lasted(self) -> str:
        """How long, for people."""
        return duration(self.seconds)


@dataclass(frozen=True, slots=True)
class Gap:
    """The spans between the first and the last that are listed, in one line."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Drawing:
    """The life on one scale: tracks to look at, shares as their legend, bars to read, `gap` in the midst of them."""

    first: Sequence[Bar]
    gap: Gap | None
    last: Sequence[Bar]
    tracks: Sequence[Track]
    shares: Sequence[Share]
    start: dt.datetime
    end: dt.datetime

    @property
    def bars(self) -> Sequence[Bar]:
        """All that are listed."""
        return [*self.first, *self.last]

    @property
    def looks(self) -> Sequence[str]:
        """The patterns that are needed."""
        return list(dict.fromkeys(block.look for track in self.tracks for block in track.blocks))

    @property
    def scale(self) -> tuple[str, str, str]:
        """What stands at the beginning, the middle and the end of the axis."""
        seconds = (self.end - self.start).total_seconds()
        return "0", duration(seconds / 2), duration(seconds)


# What a job does after an event: title, tone, look. None: nothing any more.
_AFTER: dict[str, tuple[str, str, str] | None] = {
    "job.queued": ("Queued", "wait", "queued"),
    "job.retrying": ("Waits for the next attempt", "wait", "backoff"),
    "job.released": ("Queued again, handed back", "wait", "queued"),
    "job.woken": ("Queued again, woken", "wait", "queued"),
    "job.resumed": ("Queued again, resumed", "wait", "queued"),
    "job.redriven": ("Queued again, retried by hand", "wait", "queued"),
    "job.parked": ("Parked", "wait", "parked"),
    "job.blocked": ("Blocked, needs a person", "ask", "blocked"),
    "job.failed": ("Dead letter", "bad", "dead"),
    "job.rejected": ("Rejected", "bad", "dead"),
    "job.cancelled": ("Cancelled", "off", "cancelled"),
    "job.processed": None,
    "job.approved": None,
    "job.confirmed": None,
    "job.retracted": ("On its way to the chain again", "run", "chain"),
}
_TO_THE_CHAIN = ("On its way to the chain", "run", "chain")
_BY_THE_CHAIN = frozenset({"job.confirmed", "job.unconfirmed"})
"""What ends such a way, which begins with `job.processed`: most jobs have none, and nothing happens after that."""
_ENDS = frozenset({"job.failed", "job.rejected", "job.cancelled", "job.processed", "job.approved", *_BY_THE_CHAIN})
_TRACKS: tuple[tuple[str, frozenset[str]], ...] = (
    ("Waits", frozenset({"queued", "backoff"})),
    ("Stands", frozenset({"parked", "blocked", "dead", "cancelled"})),
    ("Chain", frozenset({"chain"})),
)
_NAMES = {
    "done": "Attempt done", "retried": "Attempt retried", "failed": "Attempt failed", "rejected": "Attempt rejected",
    "stopped": "Attempt stopped", "running": "Attempt running", "queued": "Queued", "backoff": "Backoff",
    "parked": "Parked", "blocked": "Blocked", "dead": "Dead letter or rejected", "cancelled": "Cancelled",
    "chain": "On its way to the chain",
}  # fmt: skip
_LOOKS = {"done": "done", "retried": "retried", "failed": "failed", "rejected": "rejected"}
_TONES = {"done": "good", "retried": "ask", "failed": "bad", "rejected": "bad", "blocked": "ask", "cancelled": "off"}


def spans(
    events: Sequence[Happening],
    attempts: Iterable[Run],
    *,
    now: dt.datetime,
    running: int | None = None,
    confirming: bool = False,
) -> list[Span]:
    """The spans of a job, oldest first. `running`: number of the attempt that a worker holds now, if any.

    `confirming`: its result is on its way to the chain now.
    """
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
            title, end = f"Attempt {running}", max(began, now)
            found.append(Span(title, "run", began, end, "running", open=True, look="running", attempt=True))
        elif confirming if last else turns[index + 1].type in _BY_THE_CHAIN:
            title, tone, look = _AFTER.get(event.type) or _TO_THE_CHAIN
            found.append(Span(title, tone, start, max(start, end), open=last, look=look))
        elif not (last and event.type in _ENDS):
            _wait(found, event.type, start, end, still=last)
    return _with_stages(found)


def _with_stages(found: Sequence[Span]) -> list[Span]:
    """A wait belongs to the stage of the attempt that it leads to; at the end, to that of the latest one."""
    stage = next((span.stage for span in reversed(found) if span.stage), "process")
    told: list[Span] = []
    for span in reversed(found):
        stage = span.stage or stage
        told.append(replace(span, stage=stage))
    return told[::-1]


_SLACK = dt.timedelta(milliseconds=5)  # an attempt and the event that ends it are stamped within one statement


def _wait(found: list[Span], event: str, start: dt.datetime, end: dt.datetime, *, still: bool = False) -> None:
    after = _AFTER.get(event, ("Waits", "wait", "queued"))
    if after is not None and (end > start or still):
        title, tone, look = after
        found.append(Span(title, tone, start, max(start, end), open=still, look=look))


def _attempt(run: Run) -> Span:
    stage = "" if run.stage == "process" else f", {run.stage}"
    return Span(
        f"Attempt {run.attempt}{stage}", _TONES.get(run.outcome, "run"), run.started_at, run.ended_at, run.outcome,
        look=_LOOKS.get(run.outcome, "stopped"), stage=run.stage, attempt=True,
    )  # fmt: skip


def draw(found: Sequence[Span]) -> Drawing | None:
    """Place the spans side by side on one scale; None when there is nothing to draw."""
    if not found:
        return None
    start = min(span.start for span in found)
    end = max(span.end for span in found)
    whole = max((end - start).total_seconds(), 1e-6)
    bars = []
    for span in found:
        left = 100 * max(0.0, (span.start - start).total_seconds()) / whole
        bars.append(Bar(span, left, min(100 - left, 100 * span.seconds / whole)))
    first, between, last = bars, [], []
    if len(bars) > LISTED_FIRST + LISTED_LAST + 1:
        first, between, last = bars[:LISTED_FIRST], bars[LISTED_FIRST:-LISTED_LAST], bars[-LISTED_LAST:]
    return Drawing(first, _gap(between), last, _tracks(bars), _shares(found), start, end)


def _gap(between: Sequence[Bar]) -> Gap | None:
    if not between:
        return None
    attempts = [bar.span for bar in between if bar.span.attempt]
    waits = [bar.span for bar in between if not bar.span.attempt]
    text = (
        f"{len(attempts)} attempts of {duration(sum(span.seconds for span in attempts))} in all, "
        f"{len(waits)} waits of {duration(sum(span.seconds for span in waits))} in all"
    )
    return Gap(len(between), text)


def _shares(found: Sequence[Span]) -> list[Share]:
    looks = [look for look in _NAMES if any(span.look == look for span in found)]
    return [
        Share(look, _NAMES[look], len(spans), sum(span.seconds for span in spans))
        for look in looks
        if (spans := [span for span in found if span.look == look])
    ]


def _tracks(bars: Sequence[Bar]) -> list[Track]:
    """Stages where there are several, attempts, and what the job did between them."""
    stages = _bands(bars)
    tracks = [Track("Stage", stages)] if len(stages) > 1 else []
    tracks.append(Track("Attempts", _blocks([bar for bar in bars if bar.span.attempt])))
    for title, looks in _TRACKS:
        if chosen := [bar for bar in bars if not bar.span.attempt and bar.span.look in looks]:
            tracks.append(Track(title, _blocks(chosen)))
    return tracks


def _bands(bars: Sequence[Bar]) -> list[Block]:
    """One block per stage, from its first span to its last."""
    bands: list[Block] = []
    for stage, group in groupby(bars, key=lambda bar: bar.span.stage):
        spans = list(group)
        left, right = spans[0].left, spans[-1].left + spans[-1].width
        bands.append(Block(f"stage-{len(bands) % 2}", left, right - left, stage))
    return bands


def _blocks(bars: Sequence[Bar]) -> list[Block]:
    """The spans of a track. Narrow neighbours become one block, which looks like the gravest of them."""
    blocks: list[Block] = []
    group: list[Bar] = []
    for bar in bars:
        near = group and bar.left - (group[-1].left + group[-1].width) < NARROWEST
        if near and bar.width < NARROWEST and group[-1].width < NARROWEST:
            group.append(bar)
            continue
        if group:
            blocks.append(_block(group))
        group = [bar]
    return [*blocks, _block(group)] if group else blocks


_GRAVITY = ("failed", "rejected", "dead", "blocked", "stopped", "running", "retried", "done")


def _block(group: Sequence[Bar]) -> Block:
    looks = {bar.span.look for bar in group}
    look = next((name for name in _GRAVITY if name in looks), group[0].span.look)
    left, right = group[0].left, group[-1].left + group[-1].width
    seconds = sum(bar.span.seconds for bar in group)
    if len(group) == 1:
        note = f", {group[0].span.note}" if group[0].span.note else ""
        text = f"{group[0].span.title}{note}: {duration(seconds)}"
    else:
        text = f"{len(group)} together: {duration(seconds)}"
    width = max(NARROWEST, right - left)
    return Block(look, min(left, 100 - width), width, text)
