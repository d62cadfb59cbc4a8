"""Charts as values: lines and stacked bars on a plane of 0 to 100 each way, drawn by `backoffice/chart.html` as SVG.

Pure. Words stand beside the drawing as HTML, so that they stay readable however narrow it is; every chart has its
figures as a table, and its series differ by dash and pattern as well as by colour.
"""

import datetime as dt
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from jobplatform.backoffice.markup import NOTHING

Values = Sequence[float | None]
Format = Callable[[float], str]

THINNEST = 1.2
"""Percent of the height that a part of a bar has at least, so that one failure among thousands is seen."""
DECADES = 5
"""Powers of ten that a logarithmic scale shows at most: the upper ones."""


@dataclass(frozen=True, slots=True)
class Series:
    """One row of values, a value per bin; None: nothing was measured. `look`: its class in the style sheet."""

    name: str
    values: Values
    look: str
    latest: str = ""


@dataclass(frozen=True, slots=True)
class Bins:
    """The spans of time of a chart, all of one length (seconds)."""

    starts: Sequence[dt.datetime]
    seconds: int

    def name(self, index: int) -> str:
        """A bin as its beginning, in UTC."""
        short = self.seconds * len(self.starts) <= 2 * 86_400  # two days
        return self.starts[index].strftime("%H:%M" if short else "%a %d %b %H:%M")

    def marks(self, number: int = 4) -> list[tuple[float, str]]:
        """Where along the axis (percent) which moment stands. None so near its end that the text would stick out."""
        every = max(1, len(self.starts) // number)
        short = self.seconds * len(self.starts) <= 2 * 86_400
        return [
            (100 * index / len(self.starts), self.starts[index].strftime("%H:%M" if short else "%d %b"))
            for index in range(0, max(1, len(self.starts) - every // 2), every)
        ]


@dataclass(frozen=True, slots=True)
class Rect:
    """A part of a bar."""

    look: str
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class Line:
    """A line with its gaps: the `d` of an SVG path, and dots where a value stands alone."""

    look: str
    path: str


@dataclass(frozen=True, slots=True)
class Spot:
    """A bin to point at: its place, and what it holds in words."""

    x: float
    width: float
    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What every chart has: a key for addresses, a title, a line below it, the bins, and how a value is written."""

    key: str
    title: str
    note: str
    bins: Bins
    show: Format


@dataclass(frozen=True, slots=True)
class Chart:
    """What the template draws. `summary` says in words what the drawing shows; `rows` are its figures, newest first."""

    frame: Frame
    summary: str
    series: Sequence[Series]
    lines: Sequence[Line]
    rects: Sequence[Rect]
    spots: Sequence[Spot]
    levels: Sequence[tuple[float, str]]
    marks: Sequence[tuple[float, str]]
    rows: Sequence[tuple[str, Sequence[str]]]
    bars: bool


def lines(frame: Frame, series: Sequence[Series], *, logarithmic: bool = False) -> Chart:
    """A chart of lines. Values that are None leave a gap."""
    known = [value for row in series for value in row.values if value is not None]
    scale = _Logarithmic(known) if logarithmic else _Linear(known)
    drawn = [Line(row.look, _path(row.values, scale.height)) for row in series]
    return _chart(frame, series, scale, lines=drawn)


def stacked(frame: Frame, series: Sequence[Series]) -> Chart:
    """A chart of bars, the series one upon the other, the first at the bottom."""
    number = len(frame.bins.starts)
    scale = _Linear([sum(row.values[index] or 0 for row in series) for index in range(number)])
    wide = 100 / max(1, number)
    rects = []
    for index in range(number):
        top = 100.0
        for row in series:
            value = row.values[index]
            if value:
                tall = max(THINNEST, 100 - scale.height(value))
                top -= tall
                rects.append(Rect(row.look, wide * index + wide * 0.1, max(0.0, top), wide * 0.8, tall))
    return _chart(frame, series, scale, rects=rects, bars=True)


def _chart(
    frame: Frame,
    series: Sequence[Series],
    scale: "_Linear | _Logarithmic",
    *,
    lines: Sequence[Line] = (),
    rects: Sequence[Rect] = (),
    bars: bool = False,
) -> Chart:
    bins, show = frame.bins, frame.show
    wide = 100 / max(1, len(bins.starts))
    spots, rows = [], []
    for index in range(len(bins.starts)):
        values = [row.values[index] for row in series]
        if any(values) or (not bars and any(value is not None for value in values)):
            shown = [NOTHING if value is None else show(value) for value in values]
            rows.append((bins.name(index), shown))
            told = [f"{row.name} {text}" for row, text in zip(series, shown, strict=True) if text != NOTHING]
            spots.append(Spot(wide * index, wide, f"{bins.name(index)} UTC: {', '.join(told)}"))
    return Chart(
        frame=frame,
        summary="; ".join(text for row in series if (text := _highest(row, show))) or "Nothing yet.",
        series=series,
        lines=lines,
        rects=rects,
        spots=spots,
        levels=scale.levels(show),
        marks=bins.marks(),
        rows=rows[::-1],
        bars=bars,
    )


def _highest(row: Series, show: Format) -> str:
    known = [value for value in row.values if value is not None]
    return f"{row.name}: highest {show(max(known))}" if known else ""


def _path(values: Values, height: Callable[[float], float]) -> str:
    """The `d` of a line through the middles of the bins. A value between two gaps becomes a short stroke."""
    wide = 100 / max(1, len(values))
    parts: list[str] = []
    for index, value in enumerate(values):
        if value is None:
            continue
        x, y = wide * (index + 0.5), height(value)
        alone = index == 0 or values[index - 1] is None
        parts.append(f"{'M' if alone else 'L'}{x:.2f} {y:.2f}")
        if alone and (index + 1 == len(values) or values[index + 1] is None):
            parts.append(f"h{wide * 0.4:.2f}")
    return "".join(parts)


class _Linear:
    """From 0 to a round number above the largest value. Heights are percent from the top."""

    def __init__(self, values: Sequence[float]) -> None:
        self.top = ceiling(max(values, default=0.0))

    def height(self, value: float) -> float:
        return 100 - 100 * min(value, self.top) / self.top

    def levels(self, show: Format) -> list[tuple[float, str]]:
        return [(0.0, show(self.top)), (50.0, show(self.top / 2)), (100.0, show(0))]


class _Logarithmic:
    """Powers of ten around the values, at most `DECADES` of them. What is smaller lies on the ground."""

    def __init__(self, values: Sequence[float]) -> None:
        known = [value for value in values if value > 0] or [1.0]
        self.high = math.ceil(math.log10(max(known)) + 1e-9)
        self.low = max(min(math.floor(math.log10(min(known))), self.high - 1), self.high - DECADES)

    def height(self, value: float) -> float:
        power = math.log10(value) if value > 0 else self.low
        return 100 - 100 * (max(self.low, power) - self.low) / (self.high - self.low)

    def levels(self, show: Format) -> list[tuple[float, str]]:
        return [(self.height(10.0**power), show(10.0**power)) for power in range(self.high, self.low - 1, -1)]


def ceiling(value: float) -> float:
    """The next number above that is 1, 2, 4 or 10 times a power of ten: its half is round as well."""
    if value <= 1:
        return 1.0 if value > 0.5 or value <= 0 else ceiling(value * 1000) / 1000  # noqa: PLR2004 - fractions
    power: float = 10.0 ** math.floor(math.log10(value))
    return next(power * step for step in (1, 2, 4, 6, 10) if power * step >= value * 0.9999)
