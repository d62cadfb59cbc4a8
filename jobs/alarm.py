"""The timeout of sync handlers: a signal that raises in the main thread, and only while a handler runs there."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from jobs.errors import TimedOut

MASKED_SECONDS = 0.02  # how soon a masked signal tries again

_deadline = 0.0
_hastened = -1.0  # the deadline of a handler that is not to wait for it
_installed = False
_active = False


def install() -> None:
    """Take SIGALRM over. Called once in each worker process, from its main thread."""
    global _installed, _main  # noqa: PLW0603 - one handler per process
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGALRM, _ring)
        _installed = True
        _main = threading.get_ident()


def start(deadline: float) -> None:
    """A handler runs until `deadline` (monotonic seconds). The timer itself is set again only when it must ring sooner.

    Setting a timer for each of many short jobs would cost more than the jobs: a timer that rings before the current
    deadline sets itself again.
    """
    global _deadline, _active  # noqa: PLW0603 - one timer per process
    _deadline = deadline
    _active = True
    if _installed and (_next == 0.0 or _next > deadline):
        _set(deadline)


def hasten(deadline: float) -> None:
    """End the handler that runs until this deadline now, if it still does. From any thread."""
    global _hastened  # noqa: PLW0603 - one timer per process
    _hastened = deadline
    if _installed and _active and _deadline == deadline:
        signal.pthread_kill(_main, signal.SIGALRM)


def end() -> None:
    """No handler runs any more: from here the signal raises nothing."""
    global _active  # noqa: PLW0603 - one timer per process
    _active = False


_main = 0  # the thread that the signal strikes, as soon as it is taken over
_masked = 0


@contextmanager
def masked() -> Iterator[None]:
    """The signal raises nothing inside the block, but right after it: what holds a lock or a statement is not torn."""
    global _masked  # noqa: PLW0603 - one timer per process
    if threading.get_ident() != _main:
        yield
        return
    _masked += 1
    try:
        yield
    finally:
        _masked -= 1


_next = 0.0


def _set(deadline: float) -> None:
    global _next  # noqa: PLW0603 - one timer per process
    _next = deadline
    signal.setitimer(signal.ITIMER_REAL, max(0.001, deadline - time.monotonic()))


def _ring(_signum: int, _frame: FrameType | None) -> None:
    global _next  # noqa: PLW0603 - one timer per process
    _next = 0.0
    if not _active:
        return
    if _masked:
        _set(time.monotonic() + MASKED_SECONDS)
        return
    if time.monotonic() >= _deadline or _deadline == _hastened:
        end()
        raise TimedOut
    _set(_deadline)
