"""Charts as values: scales, gaps, stacks, and the words beside them."""

import datetime as dt

import pytest

from jobplatform.backoffice.charts import THINNEST, Bins, Frame, Series, ceiling, lines, stacked

START = dt.datetime(2026, 3, 1, 12, 0, tzinfo=dt.UTC)


def bins(number: int, seconds: int = 60) -> Bins:
    return Bins([START + dt.timedelta(seconds=seconds * n) for n in range(number)], seconds)


def frame(number: int) -> Frame:
    return Frame("key", "Title", "Note.", bins(number), lambda value: f"{value:g}")


@pytest.mark.parametrize(
    ("value", "top"),
    [
        (0, 1),
        (0.2, 0.2),
        (0.7, 1),
        (1, 1),
        (1.2, 2),
        (3, 4),
        (5, 6),
        (7, 10),
        (10, 10),
        (99, 100),
        (101, 200),
        (1234, 2000),
    ],
)
def test_a_scale_ends_at_a_round_number_above(value: float, top: float) -> None:
    assert ceiling(value) == pytest.approx(top)


def test_a_line_has_gaps_and_a_lone_value_is_a_stroke() -> None:
    chart = lines(frame(5), [Series("a", [1, 2, None, 2, None], "solid")])

    assert chart.lines[0].path == "M10.00 50.00L30.00 0.00M70.00 0.00h8.00"
    assert chart.levels == [(0.0, "2"), (50.0, "1"), (100.0, "0")]
    assert [text for text, _ in chart.rows] == ["12:03", "12:01", "12:00"]
    assert chart.spots[0].text == "12:00 UTC: a 1"
    assert chart.summary == "a: highest 2"


def test_a_logarithmic_scale_shows_powers_of_ten() -> None:
    chart = lines(
        frame(3), [Series("p50", [2, 30, 0], "solid"), Series("p99", [500, None, 0], "dashed")], logarithmic=True
    )

    assert [text for _, text in chart.levels] == ["1000", "100", "10", "1"]
    assert chart.lines[0].path.endswith("83.33 100.00")  # nothing lies on the ground
    assert chart.lines[1].path.startswith("M16.67 10.0")


def test_bars_are_stacked_and_one_among_thousands_is_seen() -> None:
    chart = stacked(frame(2), [Series("done", [4000, 0], "done"), Series("failed", [1, 0], "failed")])

    done, failed = chart.rects
    assert (failed.look, failed.height) == ("failed", THINNEST)
    assert failed.y + failed.height == pytest.approx(done.y)
    assert done.y + done.height == pytest.approx(100)
    assert [text for text, _ in chart.rows] == ["12:00"]  # a bar of nothing is no figure


def test_a_chart_of_nothing_says_so() -> None:
    chart = stacked(frame(3), [Series("done", [0, 0, 0], "done")])

    assert (chart.rects, chart.rows) == ([], [])


def test_bins_of_a_long_time_are_named_by_their_day() -> None:
    assert bins(3).name(1) == "12:01"
    assert bins(84, 7200).name(12) == "Mon 02 Mar 12:00"
    assert bins(60).marks() == [(0.0, "12:00"), (25.0, "12:15"), (50.0, "12:30"), (75.0, "12:45")]


@pytest.mark.parametrize("number", [1, 2, 7, 24, 28, 29, 30, 31, 60, 61, 97])
def test_the_last_mark_has_room_for_its_text(number: int) -> None:
    marks = bins(number).marks()

    assert marks[0][0] == 0.0
    assert all(at <= 90 for at, _ in marks)
