"""The bell rings over a line of its own, and the ear hears what was rung while a job ran."""

import os
from collections.abc import Iterator

import psycopg
import pytest

from jobplatform import processes
from jobs import bell as module
from jobs import store
from jobs.bell import Bell, Ear

pytestmark = pytest.mark.usefixtures("committed")


@pytest.fixture
def bell() -> Iterator[Bell]:
    made = Bell()
    yield made
    made.hang_up()


@pytest.fixture
def ear() -> Iterator[Ear]:
    made = Ear()
    assert made.open(store.connection_of_django())
    yield made
    made.close()


def heard(ear: Ear, wanted: dict[int, bool]) -> dict[int, bool]:
    """All that comes until the wanted shelves were named."""
    found: dict[int, bool] = {}

    def complete() -> bool:
        named = ear.hear(0.05)
        assert named is not None
        found.update(named)
        return wanted.items() <= found.items()

    assert processes.wait_until(complete, seconds=10)
    return found


def test_what_is_rung_is_heard_with_the_shelves_to_sweep(bell: Bell, ear: Ear) -> None:
    bell.ring([3, 4])
    bell.ring([4, 5], sweep=True)

    assert heard(ear, {3: False, 4: True, 5: True}) == {3: False, 4: True, 5: True}


def test_who_rings_on_an_open_line_sends_without_waiting_for_the_thread(bell: Bell, ear: Ear) -> None:
    bell.ring([1])
    heard(ear, {1: False})
    # The thread holds the line until notifications that came together have been gathered.
    assert processes.wait_until(lambda: not bell._line.locked() and not bell._unanswered, seconds=10)

    bell.ring([2])

    assert bell._shelves == {}  # nothing is left to the thread but to read the answer
    assert heard(ear, {2: False}) == {2: False}


def test_a_line_that_broke_is_opened_anew(bell: Bell, ear: Ear) -> None:
    bell.ring([1])
    heard(ear, {1: False})
    assert bell._link is not None
    with psycopg.connect(bell._link.info.dsn, password=bell._link.info.password, autocommit=True) as other:
        assert other.execute("select pg_terminate_backend(%s)", (bell._link.info.backend_pid,)).fetchone() == (True,)

    def answered() -> bool:
        bell.ring([2])  # the first ones may be lost with the line; they cost latency only
        return ear.hear(0.05) == {2: False}

    assert processes.wait_until(answered, seconds=10)


def test_an_ear_stays_open_and_keeps_what_comes_between_two_looks(bell: Bell, ear: Ear) -> None:
    assert not ear.open(store.connection_of_django())
    bell.ring([7])
    assert processes.wait_until(lambda: not bell._unanswered and bell._link is not None, seconds=10)

    assert heard(ear, {7: False}) == {7: False}


def test_a_closed_ear_hears_nothing_and_says_that_it_had_to_be_opened() -> None:
    ear = Ear()
    assert ear.open(store.connection_of_django())
    ear.close()

    assert ear.hear(0) == {}
    assert ear.open(store.connection_of_django())
    ear.close()


def test_a_child_process_has_a_line_of_its_own(bell: Bell) -> None:
    bell.ring([1])
    bell._pid = os.getpid() + 1  # as after a fork
    bell.hang_up()

    bell.ring([2])

    assert bell._pid == os.getpid()


def test_too_many_shelves_to_name_are_all() -> None:
    assert module.decode(module.encode(dict.fromkeys(range(10_000), False))) is None
