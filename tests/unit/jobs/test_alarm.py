"""The end of a handler's time strikes at once, but not inside of what must not be torn."""

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from jobs import alarm
from jobs.errors import TimedOut

SOON, LONG = 0.02, 10.0


@pytest.fixture(autouse=True)
def taken_over() -> Iterator[None]:
    before = signal.getsignal(signal.SIGALRM)
    timer = signal.getitimer(signal.ITIMER_REAL)
    alarm.install()
    yield
    alarm.end()
    signal.setitimer(signal.ITIMER_REAL, 0)
    alarm._next = 0.0
    alarm._main = 0
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, *timer)


def struck(within: float) -> bool:
    """Whether the time ends while somebody waits for nothing."""
    try:
        threading.Event().wait(within)
    except TimedOut:
        return True
    return False


def test_a_handler_is_struck_when_its_time_is_over() -> None:
    alarm.start(time.monotonic() + SOON)

    assert struck(LONG)


def test_what_is_masked_is_finished_first() -> None:
    alarm.start(time.monotonic() + SOON)
    with alarm.masked():
        assert not struck(0.2)

    assert struck(LONG)


def test_other_threads_mask_nothing() -> None:
    begun, ended = threading.Event(), threading.Event()

    def hold() -> None:
        with alarm.masked():
            begun.set()
            ended.wait(LONG)

    thread = threading.Thread(target=hold)
    thread.start()
    begun.wait(LONG)
    try:
        alarm.start(time.monotonic() + SOON)
        assert struck(LONG)
    finally:
        alarm.end()
        ended.set()
        thread.join()


def test_nothing_strikes_when_the_handler_has_ended() -> None:
    alarm.start(time.monotonic() + SOON)
    alarm.end()

    assert not struck(0.1)
