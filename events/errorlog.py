"""How many errors the processes log: a handler of `logging` counts, and a thread adds them up in the database.

Where there are none, nothing runs and nothing is asked. Counting harms nobody: what cannot be written is tried again,
and goes with its process.
"""

import logging
import os
import threading

from django.db import connection

from events import log

FLUSH_SECONDS = 5.0
KEPT_DAYS = 8
"""As long as alarms can be tried on the past."""


class ErrorCounter(logging.Handler):
    """Counts lines of the level of an error and above."""

    def __init__(self, level: int = logging.ERROR) -> None:
        super().__init__(level)
        self._thread: threading.Thread | None = None
        self._forget()
        os.register_at_fork(after_in_child=self._forget)

    def emit(self, record: logging.LogRecord) -> None:
        """Count a line. Its own thread is not heard: what it logs is that it could not count."""
        if threading.current_thread() is self._thread:
            return
        with self._own:
            self._number += 1
            if self._thread is not None:
                return
            self._thread = threading.Thread(target=self._run, name="errors", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """The process ends: what was counted is written now, if that can be."""
        self._ends.set()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(FLUSH_SECONDS)
        super().close()

    def _forget(self) -> None:
        """In a child of a fork there is no thread, and its parent writes what it has counted."""
        self._number = 0
        self._thread = None
        self._ends = threading.Event()
        self._own = threading.Lock()  # `logging` holds that of the handler while it closes it

    def _run(self) -> None:
        over = False
        while not over:
            over = self._ends.wait(FLUSH_SECONDS)
            number = self._taken()
            if not number:
                return
            try:
                add(number)
            except Exception:  # noqa: BLE001 - the database may be away for any reason, and nobody is to hear of it here
                self._give_back(number)
            finally:
                connection.close()

    def _taken(self) -> int:
        """What was counted. Where that is nothing, the thread ends, and the next line begins another."""
        with self._own:
            number, self._number = self._number, 0
            if not number:
                self._thread = None
            return number

    def _give_back(self, number: int) -> None:
        with self._own:
            self._number += number


def add(number: int) -> None:
    """Add up errors of this minute."""
    with log.cursor() as cur:
        cur.execute(
            "insert into events_errorminute as m (at, number)"
            " values (date_trunc('minute', (select platform_now()), 'UTC'), %s)"
            " on conflict (at) do update set number = m.number + excluded.number",
            (number,),
        )


def a_minute(seconds: float) -> float:
    """How many errors a minute were logged within the last seconds."""
    with log.cursor() as cur:
        cur.execute(
            "select coalesce(sum(number), 0)::float8 from events_errorminute"
            " where at > (select platform_now()) - %s::float8 * interval '1 second'",
            (seconds,),
        )
        ((number,),) = cur.fetchall()
    return float(number) * 60 / seconds


def tidy() -> int:
    """Remove what is older than anybody asks for. Returns how many rows went."""
    with log.cursor() as cur:
        cur.execute(
            "delete from events_errorminute where at < (select platform_now()) - %s * interval '1 day'", (KEPT_DAYS,)
        )
        return cur.rowcount
