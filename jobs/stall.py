"""A worker process that gets nowhere ends itself: its parent gives its jobs back and starts another in its place.

A heartbeat says that a process lives, not that it gets on. Here a thread that touches neither the database nor the
broker looks once a second at marks that change whenever somebody gets on: the pump in the main thread, and the watch.
A handler is not watched as long as it has time left: its timeout ends it (`jobs/alarm.py`), and its parent
(`jobs/parent.py`) where that does not help.
"""

import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

logger = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
GAP_SECONDS = 5.0  # who looks so late was held up itself (a frozen process, a handler that holds the interpreter)
LAST_WORDS_SECONDS = 2.0  # the log may be what hangs

Mark = Callable[[float], object]
"""What changes whenever somebody gets on, asked with the time (monotonic seconds); the time itself: nothing to do."""


@dataclass(slots=True)
class Line:
    """Somebody who must get on."""

    name: str
    mark: Mark
    _seen: object = field(default=None)
    _since: float = field(default_factory=time.monotonic)

    def quiet(self, now: float) -> float:
        """For how many seconds there has been no progress."""
        mark = self.mark(now)
        if mark != self._seen:
            self._seen, self._since = mark, now
        return now - self._since

    def anew(self, now: float) -> None:
        """Count from now."""
        self._since = now


class Guard:
    """Looks at the lines, and ends the process when one of them has been quiet for `limit` seconds (0: never)."""

    def __init__(self, limit: float, *lines: Line, end: Callable[[str], None] | None = None) -> None:
        self._limit = limit
        self._lines = lines
        self._end = end or end_process
        self._looked = time.monotonic()
        self.quiet = 0.0
        """For how long the one that has been quiet for longest has been so, in seconds."""

    def start(self) -> None:
        """Start looking."""
        threading.Thread(target=self._run, name="stall", daemon=True).start()

    def _run(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)  # the tick of the guard, not a wait for an event
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """One look."""
        if now - self._looked > GAP_SECONDS:
            for line in self._lines:
                line.anew(now)
        self._looked = now
        worst = max(self._lines, key=lambda line: line.quiet(now))
        self.quiet = worst.quiet(now)
        if self._limit and self.quiet > self._limit:
            self._end(f"{worst.name} has made no progress for {self.quiet:.0f} s")


def end_process(why: str) -> None:
    """End this process at once, whatever its other threads hold. The slot that it wrote tells what had started."""
    last = threading.Timer(LAST_WORDS_SECONDS, os._exit, [os.EX_SOFTWARE])
    last.daemon = True
    last.start()
    logger.critical("worker stalled", handler="worker", action="end", details=why)
    os._exit(os.EX_SOFTWARE)
