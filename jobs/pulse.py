"""The pulse of what runs in rounds (relay, beat): one small UPDATE every few seconds, so that a stall is seen.

A process that is frozen, hangs in a statement or loops without an end lives, and makes no rounds.
"""

import os
import platform
import time

import psycopg

from jobs import store

EVERY_SECONDS = 5.0

_STAMP = """
insert into jobs_pulse (role, host, pid, rounded_at, slowest, skew, stopped_at)
values (%s, %s, %s, clock_timestamp(), %s, extract(epoch from to_timestamp(%s) - clock_timestamp()), null)
on conflict (role) do update
set (host, pid, rounded_at, slowest, skew, stopped_at)
  = (excluded.host, excluded.pid, excluded.rounded_at, excluded.slowest, excluded.skew, null)
"""
# Another one of the same role may have gone on: then it is not stopped.
_STOP = "update jobs_pulse set stopped_at = clock_timestamp() where (role, host, pid) = (%s, %s, %s)"


class Pulse:
    """The pulse of one process. `round` after each round; most of its calls do nothing."""

    def __init__(self, role: str) -> None:
        self._who = (role, platform.node(), os.getpid())
        self._stamped = float("-inf")
        self._slowest = 0.0

    def round(self, seconds: float) -> None:
        """A round has ended that took so long. Raises whatever the database does."""
        self._slowest = max(self._slowest, seconds)
        now = time.monotonic()
        if now - self._stamped < EVERY_SECONDS:
            return
        self._stamped = now
        self._execute(_STAMP, (*self._who, self._slowest, time.time()))
        self._slowest = 0.0

    def stop(self) -> None:
        """The process ends in order: nobody shall miss it."""
        self._execute(_STOP, self._who)

    @staticmethod
    def _execute(statement: str, values: tuple[object, ...]) -> None:
        psycopg.Cursor(store.connection_of_django()).execute(statement.encode(), values)
