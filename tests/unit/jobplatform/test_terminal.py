"""The terminal: Ctrl-C is not lost."""

import io
import os
import signal

import pytest

from jobplatform.management.terminal import Terminal


class Finalized:
    """Python drops what is raised while it goes, with a note on standard error."""

    def __del__(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


def drop_an_interruption(terminal: Terminal, seen: list[bool]) -> None:
    with terminal.interruptible():
        Finalized()
        seen.append(terminal.interrupted)
        terminal.rest(60)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interruption_that_python_dropped_is_found_at_the_next_rest() -> None:
    seen: list[bool] = []

    with pytest.raises(KeyboardInterrupt):
        drop_an_interruption(Terminal(io.StringIO()), seen)

    assert seen == [True]


def test_what_was_done_at_an_interruption_before_is_done_again_afterwards() -> None:
    terminal = Terminal(io.StringIO())
    before = signal.getsignal(signal.SIGINT)

    with terminal.interruptible():
        assert signal.getsignal(signal.SIGINT) is not before

    assert signal.getsignal(signal.SIGINT) is before
