"""The arithmetic of a result, and how the file keeps what was measured before."""

import json
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.results import Row, compare, percentile

KEYS = ["name", "unit", "ours", "peer", "peer_name", "ratio", "must", "aim", "lower_is_better"]


def row(name: str = "drain", *, ours: float = 100.0, peer: float = 50.0) -> Row:
    return compare(name, "jobs/s", [ours], [peer], peer_name="peer", must=1.5, aim=3)


def test_a_row_compares_the_medians_not_the_means() -> None:
    found = compare("drain", "jobs/s", [10, 20, 900], [4, 5, 6], peer_name="peer")
    assert (found.ours, found.peer, found.ratio) == (20, 5, 4)


def test_the_ratio_comes_from_unrounded_medians() -> None:
    assert compare("drain", "jobs/s", [10000.4], [3.00004], peer_name="peer").ratio == 3333


def test_figures_have_four_significant_digits() -> None:
    assert [results.rounded(value) for value in (123456.0, 0.123456, 2.0)] == [123500.0, 0.1235, 2.0]


@pytest.mark.parametrize(
    "ours, verdict", [(149.0, "missed"), (150.0, "must"), (299.0, "must"), (300.0, "aim"), (301.0, "aim")]
)
def test_a_higher_is_better_row_reaches_its_bounds_from_below(ours: float, verdict: str) -> None:
    assert compare("drain", "jobs/s", [ours], [100.0], peer_name="peer", must=1.5, aim=3).verdict == verdict


@pytest.mark.parametrize("ours, verdict", [(1.01, "missed"), (1.0, "must"), (0.71, "must"), (0.7, "aim")])
def test_a_lower_is_better_row_reaches_its_bounds_from_above(ours: float, verdict: str) -> None:
    found = compare("p50", "ms", [ours], [1.0], peer_name="peer", must=1, aim=0.7, lower_is_better=True)
    assert found.verdict == verdict


def test_without_a_peer_the_bounds_are_those_of_our_own_figure() -> None:
    found = compare("confirmations", "tx/s", [80.0], None, must=50, aim=100)
    assert (found.peer, found.peer_name, found.ratio, found.verdict) == (None, None, None, "must")


def test_a_row_without_a_must_is_only_shown() -> None:
    assert compare("drain", "jobs/s", [1.0], [100.0], peer_name="peer").verdict == "shown"


def test_a_side_without_runs_is_refused() -> None:
    with pytest.raises(ValueError, match="no runs"):
        compare("drain", "jobs/s", [], [1.0], peer_name="peer")
    with pytest.raises(ValueError, match="no runs"):
        compare("drain", "jobs/s", [1.0], [], peer_name="peer")


def test_a_peer_that_did_nothing_is_not_divided_by() -> None:
    with pytest.raises(ValueError, match="median is 0"):
        compare("drain", "jobs/s", [1.0], [0.0], peer_name="peer")


@pytest.mark.parametrize("percent, expected", [(50, 50), (99, 99), (100, 100), (1, 1), (0.5, 1)])
def test_a_percentile_is_the_smallest_sample_that_covers_that_share(percent: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), percent) == expected


def test_the_median_of_an_odd_number_of_samples_is_the_middle_one() -> None:
    assert percentile([3.0, 1.0, 2.0], 50) == 2.0


def test_the_file_is_a_list_of_objects_with_the_agreed_keys(tmp_path: Path) -> None:
    results.write(tmp_path / "results.json", [row()])
    [found] = json.loads((tmp_path / "results.json").read_text())
    assert list(found) == KEYS


def test_measuring_one_row_again_keeps_the_others_and_their_order(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    results.write(path, [row("a"), row("b"), row("c")])
    returned = results.write(path, [row("b", ours=200), row("d")])
    assert returned == results.read(path) == [row("a"), row("b", ours=200), row("c"), row("d")]


def test_a_missing_file_has_no_rows(tmp_path: Path) -> None:
    assert results.read(tmp_path / "results.json") == []
