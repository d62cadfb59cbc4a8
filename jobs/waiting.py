"""`GET jobs/{id}?wait=`: many requests wait, one thread of the process asks.

A waiting request holds nothing but its thread: its database connection is given back before, and the row that it waits
for is handed to it by the one who asked (docs/decisions/0004).
"""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

import psycopg
import structlog

from jobplatform.api.connections import away
from jobs import selectors
from jobs.bell import connect
from jobs.selectors import JobRow

logger = structlog.get_logger(__name__)

MOST = 128
"""Requests that may wait at the same time in one process; beyond it the job is answered as it stands. The web process
has more threads than this (Procfile), so that waiting requests never hold the last of them."""
LONGEST_SECONDS = 25.0
EVERY_SECONDS = 0.05
SHARE = 0.01
"""Of the time of a process, asking takes at most so much: where many wait, or the database is slow, it asks seldom."""
SELDOM_SECONDS = 0.5  # but not less often than this
LINGER_SECONDS = 10.0  # the connection is kept for so long after the last waiter
GRACE_SECONDS = 5.0  # the database may be slow to answer the last look


@dataclass(eq=False, slots=True)
class _Place:
    """One request that waits."""

    job_id: UUID
    project_id: UUID
    until: float  # monotonic
    woken: threading.Event = field(default_factory=threading.Event)
    row: JobRow | None = None


class WaitingRoom:
    """The waiting requests of one process and the thread that asks for all of them."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._lock = threading.Lock()
        self._places: set[_Place] = set()
        self._thread: threading.Thread | None = None
        self._called = threading.Event()

    def __len__(self) -> int:
        return len(self._places)

    def wait(self, job_id: UUID, project_id: UUID, seconds: float) -> JobRow | None:
        """Wait until a job is settled, at most so many seconds, and return it as it stands then.

        None, at once, when too many wait already; None, too, when the database could not be asked in the end.
        The thread holds no database connection meanwhile, unless a transaction is open on it.
        """
        place = _Place(job_id, project_id, time.monotonic() + seconds)
        with self._lock:
            if len(self._places) >= self._most:
                return None
            self._places.add(place)
            if self._thread is None:
                self._thread = threading.Thread(target=self._ask, name="waiting", daemon=True)
                self._thread.start()
        self._called.set()
        try:
            with away():
                place.woken.wait(seconds + GRACE_SECONDS)
        finally:
            with self._lock:
                self._places.discard(place)
        return place.row

    def _ask(self) -> None:
        """Ask every 50 ms while somebody waits, or less often (see `SHARE`); end when nobody has for a while."""
        link: psycopg.Connection[object] | None = None
        while True:
            with self._lock:
                places = list(self._places)
                self._called.clear()
            if not places and not self._called.wait(LINGER_SECONDS) and self._leave():
                break
            if places:
                began = time.monotonic()
                try:
                    link = link or connect("waiting")
                    self._look(places, link)
                except psycopg.Error as error:
                    logger.warning("cannot ask", handler="waiting", action="ask", details=str(error)[:200])
                    _close(link)
                    link = None
                took = time.monotonic() - began
                time.sleep(min(SELDOM_SECONDS, max(EVERY_SECONDS, took / SHARE)))  # the interval of asking
        _close(link)

    def _leave(self) -> bool:
        with self._lock:
            if self._places:
                return False
            self._thread = None
            return True

    def _look(self, places: Sequence[_Place], link: psycopg.Connection[object]) -> None:
        now = time.monotonic()
        wanted = [(place.job_id, place.project_id, now >= place.until) for place in places]
        found = selectors.awaited(wanted, on=link)
        for place, (*_, last_look) in zip(places, wanted, strict=True):
            row = found.get(place.job_id)
            if row is not None and (last_look or row.status in selectors.SETTLED):
                place.row = row
            if place.row is not None or last_look:
                place.woken.set()


def _close(link: psycopg.Connection[object] | None) -> None:
    if link is not None:
        link.close()


waiting_room = WaitingRoom()
