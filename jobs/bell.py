"""The bell: tells lingering pumps and the relay that a shelf was filled, after the commit that filled it.

NOTIFY takes a lock of the whole database at commit, so it is never sent inside a business transaction: a thread with
a connection of its own sends one for all that was submitted within a few milliseconds. A bell that does not ring
costs latency only; the relay's sweep finds the job.
"""

import os
import threading
import time
from collections.abc import Iterable

import psycopg
import structlog
from django.db import connection

logger = structlog.get_logger(__name__)

CHANNEL = "jobs_due"
COALESCE_SECONDS = 0.004
LONGEST_PAYLOAD = 7000  # Postgres takes 8000 bytes
ALL = "*"


class Bell:
    """Rings for one process. Threads and forked children may share the module's instance."""

    def __init__(self) -> None:
        self._pid = 0
        self._start_lock = threading.Lock()
        self._wake = threading.Event()
        self._shelves: dict[int, bool] = {}
        self._lock = threading.Lock()

    def ring(self, shelves: Iterable[int], *, sweep: bool = False) -> None:
        """Say that these shelves were filled. `sweep`: perhaps with jobs due earlier than their marks."""
        if self._pid != os.getpid():
            self._start()
        with self._lock:
            for shelf in shelves:
                self._shelves[shelf] = sweep or self._shelves.get(shelf, False)
        self._wake.set()

    def _start(self) -> None:
        with self._start_lock:
            if self._pid != os.getpid():
                self._wake = threading.Event()
                self._lock = threading.Lock()
                self._shelves = {}
                threading.Thread(target=self._run, name="bell", daemon=True).start()
                self._pid = os.getpid()

    def _run(self) -> None:
        link: psycopg.Connection[object] | None = None
        while True:
            self._wake.wait()
            self._wake.clear()
            with self._lock:
                shelves, self._shelves = self._shelves, {}
            if not shelves:
                continue
            try:
                if link is None or link.closed:
                    link = connect("bell")
                link.execute("select pg_notify(%s, %s)", (CHANNEL, encode(shelves)), prepare=True)
            except psycopg.Error as error:
                # The relay's sweep finds the jobs; a bell must never fail the work that rang it.
                logger.warning("bell not heard", handler="bell", action="ring", details=str(error)[:200])
                if link is not None:
                    link.close()
            time.sleep(COALESCE_SECONDS)  # what is submitted meanwhile goes with the next notification


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
