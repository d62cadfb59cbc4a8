"""Windows of the front page, and how its numbers are written."""

import datetime as dt

import pytest

from jobplatform.admin.drawings import WINDOWS, draw, milliseconds, number
from jobs.rollups import Cell, Histogram, Measure, Sums

NOW = dt.datetime(2026, 3, 4, 12, 34, 56, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("key", "since", "bins"),
    [
        ("1h", dt.datetime(2026, 3, 4, 11, 35, tzinfo=dt.UTC), 60),
        ("24h", dt.datetime(2026, 3, 3, 13, 0, tzinfo=dt.UTC), 95),
        ("7d", dt.datetime(2026, 2, 26, tzinfo=dt.UTC), 79),
        ("30d", dt.datetime(2026, 2, 3, tzinfo=dt.UTC), 119),
    ],
)
def test_a_window_begins_where_its_rows_do_and_ends_now(key: str, since: dt.datetime, bins: int) -> None:
    window = WINDOWS[key]

    found = window.bins(NOW)

    assert window.since(NOW) == since == found.starts[0]
    assert len(found.starts) == bins
    assert found.starts[-1] <= NOW < found.starts[-1] + dt.timedelta(seconds=window.bin_seconds)
    assert window.since(NOW).timestamp() % window.table_rows == 0
    assert window.bin_seconds % window.chart_rows == 0


def test_throughput_is_a_rate_also_in_the_bin_that_has_just_begun() -> None:
    latest = Sums({Measure.PROCESSED: Cell(300, 0.0, 0.0)}, {})

    chart = draw({94: latest}, WINDOWS["24h"], NOW, everyone=True)[0]

    assert chart.frame.key == "throughput"
    assert chart.series[0].values[94] == pytest.approx(300 / (4 + 56 / 60))  # since 12:30
    assert chart.series[0].latest == "300"


def test_the_charts_show_what_was_measured() -> None:
    minute = Sums(
        {
            Measure.PROCESSED: Cell(8, 0.0, 0.0), Measure.FAILED: Cell(2, 0.0, 0.0), Measure.AGE: Cell(1, 4000.0, 4000.0),
            Measure.SLOTS: Cell(1, 6.0, 6.0), Measure.BUSY: Cell(1, 2.0, 2.0), Measure.DURATION: Cell(8, 80.0, 12.0),
        },
        {Measure.DURATION: Histogram({27: 8}, 12.0)},
    )  # fmt: skip

    charts = {chart.frame.key: chart for chart in draw({59: minute}, WINDOWS["1h"], NOW, everyone=True)}

    assert list(charts) == ["throughput", "duration", "wait", "age", "outcomes", "workers"]
    assert charts["age"].series[0].values[59] == 4000.0
    assert [row.latest for row in charts["outcomes"].series] == ["8", "0", "2", "0", "0", "0"]
    assert [(row.name, row.latest) for row in charts["workers"].series] == [("slots", "6"), ("busy", "2")]
    assert not charts["wait"].rows
    assert len(charts["duration"].rows) == 1


def test_the_workers_of_all_are_not_shown_as_those_of_one_project() -> None:
    assert "workers" not in [chart.frame.key for chart in draw({}, WINDOWS["1h"], NOW, everyone=False)]


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0, "0"), (0.123, "0.123 ms"), (19.08, "19.1 ms"), (999.9, "1 s"), (2920, "2.92 s"), (40_000, "40 s"),
     (5_400_000, "1.5 h"), (86_400_000 * 1200, "1,200 d")],
)  # fmt: skip
def test_times_are_written_in_three_digits(value: float | None, text: str) -> None:
    assert milliseconds(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (0.5, "0.5"), (12, "12"), (1234, "1,234"), (20_000, "20k"), (2e6, "2M")]
)
def test_numbers_of_an_axis_are_short(value: float, text: str) -> None:
    assert number(value) == text
