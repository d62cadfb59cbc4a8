"""The bell: tells lingering pumps and the relay that a shelf was filled, after the commit that filled it.

NOTIFY takes a lock of the whole database at commit, so it is never sent inside a business transaction: it goes over a
connection of its own, one for all that was submitted within a few milliseconds. A bell that does not ring
costs latency only; the relay's sweep finds the job.
"""

import os
import threading
import time
from collections.abc import Iterable
from typing import Any

import psycopg
import structlog
from django.db import connection
from psycopg.errors import error_from_result
from psycopg.generators import fetch_many
from psycopg.pq import ExecStatus, TransactionStatus

from jobs import alarm

logger = structlog.get_logger(__name__)

CHANNEL = "jobs_due"
COALESCE_SECONDS = 0.004
AGAIN_SECONDS = 0.5
LONGEST_PAYLOAD = 7000  # Postgres takes 8000 bytes
ALL = "*"

_NOTIFY = b"ring"  # the prepared statement
_USABLE = (TransactionStatus.IDLE, TransactionStatus.INTRANS)


class Bell:
    """Rings for one process. Threads and forked children may share the module's instance.

    Who rings hands the notification to the socket itself when the line is free, and does not wait for the answer: a
    thread that must be woken first would cost more than all the rest. The thread reads the answer, and sends what was
    rung while the line was taken.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._start_lock = threading.Lock()
        self._reset()

    def _reset(self) -> None:
        self._wake = threading.Event()
        self._lock = threading.Lock()
        self._shelves: dict[int, bool] = {}
        self._line = threading.Lock()  # guards the two below; the thread holds it while notifications are held back
        self._link: psycopg.Connection[object] | None = None
        self._unanswered = False

    def ring(self, shelves: Iterable[int], *, sweep: bool = False) -> None:
        """Say that these shelves were filled. `sweep`: perhaps with jobs due earlier than their marks."""
        with alarm.masked():  # or the end of a handler's time would leave the locks taken
            if self._pid != os.getpid():
                self._start()
            self._note(dict.fromkeys(shelves, sweep))
            if self._line.acquire(blocking=False):
                try:
                    self._send()
                except psycopg.Error as error:
                    self._not_heard(error)
                finally:
                    self._line.release()
            self._wake.set()

    def _note(self, shelves: dict[int, bool]) -> None:
        with self._lock:
            for shelf, sweep in shelves.items():
                self._shelves[shelf] = sweep or self._shelves.get(shelf, False)

    def settle(self, patience: float) -> None:
        """Wait until what was rung is heard, at most so many seconds: for a process that is about to end."""
        ends = time.monotonic() + patience
        while time.monotonic() < ends:
            with self._line:  # so that nothing is just being sent
                if not self._shelves and not self._unanswered:
                    return
            time.sleep(COALESCE_SECONDS)

    def hang_up(self) -> None:
        """Close the line; who rings next opens it anew, to wherever Django's connection leads by then."""
        with self._line:
            if self._link is not None:
                self._link.close()
            self._unanswered = False
            with self._lock:
                self._shelves = {}

    def _start(self) -> None:
        with self._start_lock:
            if self._pid != os.getpid():
                self._reset()
                threading.Thread(target=self._run, name="bell", daemon=True).start()
                self._pid = os.getpid()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._line:
                try:
                    self._receive()
                    if self._shelves:
                        self._connect()
                        self._send()
                        self._receive()
                except psycopg.Error as error:
                    self._not_heard(error)
                    self._wake.set()
                    time.sleep(AGAIN_SECONDS)  # the database is away; there is no named moment to wait for
                time.sleep(COALESCE_SECONDS)  # what is submitted meanwhile goes with the next notification

    def _connect(self) -> None:
        if self._link is None or self._link.closed:
            self._link = connect("bell")
            self._link.pgconn.prepare(_NOTIFY, b"select pg_notify($1, $2)")

    def _send(self) -> None:
        """Send what was rung so far, if the line is up and nothing is on its way."""
        if self._link is None or self._link.closed or self._unanswered:
            return
        with self._lock:
            shelves, self._shelves = self._shelves, {}
        if shelves:
            self._unanswered = True
            try:
                self._link.pgconn.send_query_prepared(_NOTIFY, [CHANNEL.encode(), encode(shelves).encode()])
            except psycopg.Error:
                self._note(shelves)  # for the next line
                raise

    def _receive(self) -> None:
        """Wait for the answer to what was sent."""
        if self._link is None or not self._unanswered:
            return
        self._unanswered = False
        for result in self._link.wait(fetch_many(self._link.pgconn)):
            if result.status == ExecStatus.FATAL_ERROR:
                raise error_from_result(result)

    def _not_heard(self, error: psycopg.Error) -> None:
        """The relay's sweep finds the jobs; a bell must never fail the work that rang it."""
        logger.warning("bell not heard", handler="bell", action="ring", details=str(error)[:200])
        if self._link is not None:
            self._link.close()
        self._unanswered = False


class Ear:
    """Hears the bell. It may stay open while one job runs, so that the next is heard at once."""

    def __init__(self) -> None:
        self._link: psycopg.Connection[Any] | None = None

    def open(self, link: psycopg.Connection[Any]) -> bool:
        """Listen on a connection. False when it listened already, so that nothing can have been missed."""
        if self._link is link:
            return False
        psycopg.Cursor(link).execute(f"listen {CHANNEL}")
        self._link = link
        return True

    def hear(self, patience: float) -> dict[int, bool] | None:
        """Wait up to `patience` seconds for notifications. Returns what they name, as `decode` does."""
        heard: dict[int, bool] = {}
        if self._link is None:
            return heard
        # The generator holds the connection until it ends, so it ends before anything else is asked.
        for notice in list(self._link.notifies(timeout=patience, stop_after=1)):
            named = decode(notice.payload)
            if named is None:
                return None
            for shelf, sweep in named.items():
                heard[shelf] = sweep or heard.get(shelf, False)
        return heard

    def close(self) -> None:
        """Stop listening."""
        link, self._link = self._link, None
        if link is not None and link.pgconn.transaction_status in _USABLE:
            psycopg.Cursor(link).execute(f"unlisten {CHANNEL}")


def encode(shelves: dict[int, bool]) -> str:
    """`12 13!`: shelf ids, marked with `!` when the shelf must be swept; `*` when there are too many to name."""
    text = " ".join(f"{shelf}!" if sweep else str(shelf) for shelf, sweep in shelves.items())
    return text if len(text) <= LONGEST_PAYLOAD else ALL


def decode(payload: str) -> dict[int, bool] | None:
    """The shelves of a notification; None means any."""
    if payload == ALL:
        return None
    return {int(part.rstrip("!")): part.endswith("!") for part in payload.split()}


def connect(name: str) -> psycopg.Connection[object]:
    """A connection of a thread's own, with the settings of Django's, in autocommit mode."""
    params = connection.get_connection_params()
    params.pop("cursor_factory", None)
    params.pop("context", None)
    params["application_name"] = f"{params.get('application_name', 'jobplatform')}:{name}"
    return psycopg.connect(**params, autocommit=True)


bell = Bell()
