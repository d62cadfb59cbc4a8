"""How jobs and events look on a terminal, in a pipe, and for another program.

With `--json` every line is one JSON object, as the API shows it. Texts that tenants wrote are shown without what would
steer a terminal; colours and bars appear on a terminal only.
"""

import datetime as dt
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, TextIO

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jobplatform.api.encoding import dumps
from jobs.states import DEAD_LETTERS, Status

PIPE_WIDTH = 240  # characters of a line where nobody looks
LONGEST_CELL = 200

STYLES = {
    Status.PROCESSED: "green",
    Status.CONFIRMED: "green",
    Status.PROCESSING: "cyan",
    Status.BLOCKED: "yellow",
    Status.PENDING_APPROVAL: "yellow",
    Status.CANCELLED: "dim",
    **dict.fromkeys(DEAD_LETTERS, "red"),
}


def printable(text: object) -> str:
    """A text without control characters, and not without measure."""
    shown = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in str(text))
    return shown if len(shown) <= LONGEST_CELL else f"{shown[:LONGEST_CELL]} …"


def clock(moment: dt.datetime | None) -> str:
    """A moment, to the second, in UTC."""
    return "" if moment is None else f"{moment.astimezone(dt.UTC):%Y-%m-%d %H:%M:%SZ}"


def status_text(status: str) -> Text:
    """A status in its colour."""
    known = Status(status) if status in list(Status) else None
    return Text(printable(status), STYLES.get(known, "") if known else "")


class Terminal:
    """Where a command writes to."""

    def __init__(self, file: TextIO | None = None, *, as_json: bool = False, no_color: bool = False) -> None:
        self.as_json = as_json
        self.file = file or sys.stdout
        self.interrupted = False
        self.is_terminal = self.file.isatty() and not as_json
        width = None if self.is_terminal else PIPE_WIDTH
        self.console = Console(
            file=self.file, width=width, no_color=no_color or None, highlight=False, force_terminal=self.is_terminal
        )

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Ctrl-C ends the block, at the next `rest` at the latest.

        Where Python cannot raise (in a finalizer, in a callback of a library) it drops what a signal raises.
        """

        def interrupt(_number: int, _frame: object) -> NoReturn:
            self.interrupted = True
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)

    def rest(self, seconds: float) -> None:
        """Wait between two questions. Raises KeyboardInterrupt when Ctrl-C came before and was dropped."""
        if self.interrupted:
            raise KeyboardInterrupt
        time.sleep(seconds)  # the interval of asking

    def json(self, value: Mapping[str, Any]) -> None:
        """One line for a program."""
        self.file.write(dumps(value).decode() + "\n")
        self.file.flush()

    def line(self, *cells: object) -> None:
        """One line for a person."""
        self.console.print(Text(" ").join(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in cells))
        self.file.flush()

    def table(self, names: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
        """A table for a person; nothing when it has no rows."""
        box = SIMPLE_HEAD if self.is_terminal else None
        shown = Table(*names, box=box, title=title, title_justify="left", pad_edge=False)
        for row in rows:
            shown.add_row(*(cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row))
        if shown.row_count:
            self.console.print(shown)
