"""The charts of the front page, from the rollups: which windows there are, and what is drawn in each."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jobplatform.backoffice import charts, markup
from jobplatform.backoffice.charts import Bins, Chart, Frame, Series
from jobs import rollups
from jobs.rollups import DAY, HOUR, MINUTE, Measure, Sums


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time until now. It begins where a row of the tables begins, so that charts and tables agree.

    `bin_seconds`: of a chart; `chart_rows` and `table_rows`: length of the rollups that either reads, in seconds.
    """

    key: str
    title: str
    bin_seconds: int
    chart_rows: int
    table_rows: int
    whole: int
    number: int

    def since(self, now: dt.datetime) -> dt.datetime:
        """When it begins: so many whole minutes, hours or days ago, the one that has just begun among them."""
        began = dt.datetime.fromtimestamp(now.timestamp() // self.whole * self.whole, dt.UTC)
        return began - dt.timedelta(seconds=self.whole * (self.number - 1))

    def bins(self, now: dt.datetime) -> Bins:
        """The bins of its charts, the one that has just begun among them."""
        since = self.since(now)
        number = int((now - since).total_seconds() // self.bin_seconds) + 1
        step = dt.timedelta(seconds=self.bin_seconds)
        return Bins([since + step * index for index in range(number)], self.bin_seconds)


WINDOWS: Mapping[str, Window] = {
    window.key: window
    for window in (
        Window("1h", "1 hour", MINUTE, MINUTE, MINUTE, MINUTE, 60),
        Window("24h", "24 hours", 15 * MINUTE, MINUTE, HOUR, HOUR, 24),
        Window("7d", "7 days", 2 * HOUR, HOUR, DAY, DAY, 7),
        Window("30d", "30 days", 6 * HOUR, HOUR, DAY, DAY, 30),
    )
}
SOON = 20
"""Seconds that a bin must have lasted before its rate says something."""
LOOKS = ("done", "retried", "failed", "rejected", "blocked", "cancelled")
"""The patterns that the bars of these charts need."""

OUTCOMES: tuple[tuple[Measure, str, str], ...] = (
    (Measure.PROCESSED, "processed", "done"),
    (Measure.RETRYING, "retried", "retried"),
    (Measure.FAILED, "failed", "failed"),
    (Measure.REJECTED, "rejected", "rejected"),
    (Measure.BLOCKED, "blocked", "blocked"),
    (Measure.CANCELLED, "cancelled", "cancelled"),
)


def draw(found: Mapping[int, Sums], window: Window, now: dt.datetime, *, everyone: bool) -> list[Chart]:
    """The charts of a window. `everyone`: of all projects, so that the workers, which serve all, are among them."""
    bins = window.bins(now)
    sums = [found.get(index) for index in range(len(bins.starts))]
    wait = Frame("wait", "Wait", "Of a processed job, from due to started. Powers of ten.", bins, milliseconds)
    duration = Frame("duration", "Duration", "Of a processed attempt. Powers of ten.", bins, milliseconds)
    drawn = [
        _throughput(sums, bins, now),
        _times(duration, Measure.DURATION, sums),
        _times(wait, Measure.WAIT, sums),
        _age(sums, bins),
        _outcomes(sums, bins),
    ]
    return [*drawn, _workers(sums, bins)] if everyone else drawn


Row = Sequence[Sums | None]


def _throughput(sums: Row, bins: Bins, now: dt.datetime) -> Chart:
    """Jobs a minute. The latest bin is divided by the time that it has lasted, and left out while that says little."""
    lasted = [min(bins.seconds, (now - start).total_seconds()) for start in bins.starts]

    def rate(measure: Measure) -> list[float | None]:
        return [
            (part.count(measure) if part else 0) * 60 / seconds if seconds >= SOON else None
            for part, seconds in zip(sums, lasted, strict=True)
        ]

    def series(name: str, measure: Measure, look: str) -> Series:
        total = sum(part.count(measure) for part in sums if part)
        return Series(name, rate(measure), look, f"{total:,}")

    rows = [series("processed", Measure.PROCESSED, "solid"), series("accepted", Measure.QUEUED, "dashed")]
    frame = Frame("throughput", "Throughput", "Jobs a minute; in bold, all of this time.", bins, number)
    return charts.lines(frame, rows)


def _times(frame: Frame, measure: Measure, sums: Row) -> Chart:
    whole = rollups.together(part for part in sums if part)

    def series(percent: float, look: str) -> Series:
        values = [part.percentile(measure, percent) if part else None for part in sums]
        return Series(f"p{percent:g}", values, look, milliseconds(whole.percentile(measure, percent)))

    return charts.lines(frame, [series(50, "solid"), series(99, "dashed")], logarithmic=True)


def _age(sums: Row, bins: Bins) -> Chart:
    values = [part.cells[Measure.AGE].most if part and Measure.AGE in part.cells else None for part in sums]
    frame = Frame(
        "age", "Queue age", "For how long the oldest job is due, looked at once a minute.", bins, milliseconds
    )
    return charts.lines(frame, [Series("oldest due job", values, "solid", milliseconds(_latest(values)))])


def _outcomes(sums: Row, bins: Bins) -> Chart:
    rows = []
    for measure, name, look in OUTCOMES:
        values: list[float | None] = [part.count(measure) if part else 0 for part in sums]
        rows.append(Series(name, values, look, f"{sum(value or 0 for value in values):,.0f}"))
    span = "minute" if bins.seconds == MINUTE else markup.rough(bins.seconds)
    return charts.stacked(Frame("outcomes", "Outcomes", f"How attempts ended, each {span}.", bins, number), rows)


def _workers(sums: Row, bins: Bins) -> Chart:
    def series(name: str, measure: Measure, look: str) -> Series:
        values = [part.cells[measure].mean if part and measure in part.cells else None for part in sums]
        latest = _latest(values)
        return Series(name, values, look, "" if latest is None else number(latest))

    note = "Worker processes alive, and at work, looked at once a minute."
    frame = Frame("workers", "Workers and their slots", note, bins, number)
    return charts.lines(frame, [series("slots", Measure.SLOTS, "dashed"), series("busy", Measure.BUSY, "solid")])


def _latest(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def number(value: float) -> str:
    """A number for an axis: `0`, `0.5`, `12`, `3.4k`, `2M`."""
    for size, unit in ((1_000_000, "M"), (10_000, "k")):
        if value >= size:
            return f"{value / size:.3g}M" if unit == "M" else f"{value / 1000:.3g}k"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"  # noqa: PLR2004 - two digits


_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))


def milliseconds(value: float | None) -> str:
    """A time in milliseconds for people, in three digits: `0`, `0.12 ms`, `19.1 ms`, `2.92 s`, `40 s`, `1.5 h`."""
    if value is None:
        return markup.NOTHING
    for size, unit in _UNITS:
        if value >= size * 0.9995:
            return f"{value / size:.3g} {unit}" if value < size * 999 else f"{value / size:,.0f} {unit}"
    return f"{value:.3g} ms" if value else "0"
