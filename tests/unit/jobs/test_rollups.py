"""Histograms of the rollups: percentiles from buckets, and parts taken together."""

import math
import random

import pytest

from jobs.rollups import LAST_BUCKET, PER_OCTAVE, SMALLEST_MS, Cell, Histogram, Measure, Sums, together, upper_edge


def bucket_of(size: float) -> int:
    return min(LAST_BUCKET, max(0, math.ceil(PER_OCTAVE * math.log2(max(size, 1e-9) / SMALLEST_MS))))


def histogram(sizes: list[float]) -> Histogram:
    buckets: dict[int, int] = {}
    for size in sizes:
        buckets[bucket_of(size)] = buckets.get(bucket_of(size), 0) + 1
    return Histogram(buckets, max(sizes, default=0.0))


@pytest.mark.parametrize("percent", [1, 50, 90, 99, 100])
def test_a_percentile_is_true_to_the_width_of_a_bucket(percent: int) -> None:
    draw = random.Random(percent)
    sizes = sorted(draw.lognormvariate(3, 1.4) for _ in range(4_000))

    found = histogram(sizes).percentile(percent)

    true = sizes[math.ceil(len(sizes) * percent / 100) - 1]
    assert found is not None
    assert true / 2 ** (1 / PER_OCTAVE) <= found <= true * 2 ** (1 / PER_OCTAVE)


def test_nothing_has_no_percentile() -> None:
    assert Histogram({}).percentile(50) is None
    assert Sums({}, {}).percentile(Measure.WAIT, 50) is None


def test_a_percentile_is_never_above_the_largest_size() -> None:
    assert histogram([40.0, 40.0, 41.0]).percentile(99) <= 41.0  # type: ignore[operator]


def test_a_size_of_nothing_is_in_the_smallest_bucket() -> None:
    found = histogram([0.0, 0.0])

    assert (found.number, found.percentile(99)) == (2, 0.0)


def test_the_edges_of_buckets_double_every_so_many() -> None:
    assert upper_edge(0) == SMALLEST_MS
    assert upper_edge(7 * PER_OCTAVE) == pytest.approx(SMALLEST_MS * 2**7)


def test_parts_are_taken_together() -> None:
    first = Sums({Measure.DURATION: Cell(2, 30.0, 20.0)}, {Measure.DURATION: Histogram({30: 2}, 20.0)})
    second = Sums(
        {Measure.DURATION: Cell(1, 90.0, 90.0), Measure.FAILED: Cell(4, 0.0, 0.0)},
        {Measure.DURATION: Histogram({30: 1, 40: 1}, 90.0)},
    )

    whole = together([first, second])

    assert whole.count(Measure.FAILED) == 4
    assert whole.cells[Measure.DURATION] == Cell(3, 120.0, 90.0)
    assert whole.cells[Measure.DURATION].mean == 40.0
    assert whole.histograms[Measure.DURATION] == Histogram({30: 3, 40: 1}, 90.0)
