"""One seed, one order of faults and load; and the meter of a soak can fail."""

import itertools
import random

import pytest

from tests.chaos.whole import kinds
from tests.chaos.whole.faults import RECONNECTS, SORTS, schedule
from tests.chaos.whole.forms import MEGABYTE, flat

BETWEEN = (4.0, 14.0)


def test_a_seed_has_one_schedule() -> None:
    first = schedule("7", 600, BETWEEN, tuple(SORTS))

    assert first == schedule("7", 600, BETWEEN, tuple(SORTS))
    assert first != schedule("8", 600, BETWEEN, tuple(SORTS))
    assert first[:3] == schedule("7", 60, BETWEEN, tuple(SORTS))[:3]


def test_a_schedule_keeps_its_bounds_and_leaves_out_no_sort() -> None:
    planned = schedule("1", 6000, BETWEEN, tuple(SORTS))
    moments = [0.0, *(fault.at for fault in planned)]

    assert {fault.sort for fault in planned} == set(SORTS)
    assert all(3.98 < later - before < 14.02 for before, later in itertools.pairwise(moments))
    assert {fault.sort for fault in schedule("1", 6000, BETWEEN, RECONNECTS)} == set(RECONNECTS)


@pytest.mark.parametrize("kind", kinds.ALL)
def test_a_seed_has_one_payload(kind: str) -> None:
    made = [kinds.payload(kind, random.Random("7"), n=1, client=1) for _ in range(2)]

    assert made[0] == made[1]


def samples(*sizes: tuple[int, int]) -> dict[tuple[str, int], list[tuple[int, int]]]:
    return {("worker", 7): [(memory * MEGABYTE, files) for memory, files in sizes]}


def test_processes_that_stay_as_they_are_are_flat() -> None:
    assert flat(samples(*[(50, 9)] * 5, *[(100, 20)] * 10)).ok


def test_a_process_that_grows_is_found() -> None:
    assert not flat(samples(*[(100 + 10 * number, 20) for number in range(15)])).ok


def test_a_process_that_keeps_files_open_is_found() -> None:
    assert not flat(samples(*[(100, 20 + 2 * number) for number in range(15)])).ok


def test_nothing_measured_is_nothing_proved() -> None:
    assert not flat({}).ok
    assert not flat(samples((100, 20), (100, 20))).ok
