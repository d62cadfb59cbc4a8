"""The database connections of a web process: a few, passed from request to request, whatever thread runs it.

Django gives every thread a connection of its own, so a server with many threads (they cost nothing while a request
waits) would need as many connections, and one that ends idle threads would leave theirs behind. Here a request takes
one of a fixed number of places when it begins, with the connection that stands there, and gives it back when it ends
or while it waits. So the number of places is also the number of requests that work at the same time: more than a few
only get in one another's way.

    application = Places(get_wsgi_application())
"""

import select
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from queue import Empty, SimpleQueue
from threading import local
from typing import Any

import psycopg
from django.db import DEFAULT_DB_ALIAS, connections
from psycopg.pq import TransactionStatus

from jobplatform.api.encoding import dumps
from jobplatform.api.problems import CONTENT_TYPE, Problem

Environ = dict[str, Any]
StartResponse = Callable[[str, list[tuple[str, str]]], object]
Application = Callable[[Environ, Any], Iterable[bytes]]
RawConnection = psycopg.Connection[Any]

MOST = 8
"""Places of one process."""
PATIENCE = 20.0  # seconds until a request that finds no place is sent away
_WITHOUT = frozenset({"/healthz"})  # addresses that need no database, and must answer when it hangs


class Places:
    """A WSGI application that gives each request a place, and a connection, before it passes it on."""

    def __init__(self, application: Application, most: int = MOST) -> None:
        self._application = application
        self._free: SimpleQueue[RawConnection | None] = SimpleQueue()
        for _ in range(most):
            self._free.put(None)

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Answer in a place, or 503 when none becomes free."""
        if environ.get("PATH_INFO") in _WITHOUT:
            return self._application(environ, start_response)
        try:
            self.enter()
        except Empty:
            return answer(too_many(), start_response)
        try:
            return self._application(environ, start_response)
        finally:
            if _mine.places is self:  # else it was lost on the way: see `away`
                self.leave()

    def enter(self) -> None:
        """Take a place. Raises `queue.Empty` when none becomes free in time."""
        raw = self._free.get(timeout=PATIENCE)
        if raw is not None and _died(raw):
            raw.close()
            raw = None  # it is opened anew by the first statement
        wrapper = connections[DEFAULT_DB_ALIAS]
        if wrapper.connection is not None:  # opened outside of a request
            wrapper.close()
        wrapper.connection = raw
        wrapper.autocommit = raw is not None
        _mine.places = self

    def leave(self) -> None:
        """Give the place back, with the connection if it can serve another request."""
        _mine.places = None
        wrapper = connections[DEFAULT_DB_ALIAS]
        if wrapper.errors_occurred:
            wrapper.close_if_unusable_or_obsolete()
        raw: RawConnection | None = wrapper.connection
        if raw is not None and (
            wrapper.in_atomic_block or not raw.autocommit or raw.pgconn.transaction_status != TransactionStatus.IDLE
        ):
            wrapper.close()
            raw = None
        wrapper.connection = None
        self._free.put(raw)


_mine = local()


def _died(raw: RawConnection) -> bool:
    """Whether a connection at rest was ended by the server: it says goodbye or hangs up, unasked.

    So a restart of PostgreSQL costs no request its answer. Whatever else a server says unasked is rare, and costs no
    more than a new connection.
    """
    if raw.closed:
        return True
    poll = select.poll()
    poll.register(raw.fileno(), select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def away() -> Iterator[None]:
    """Give up the place, or what a thread without one holds of the database, while the block waits for something else.

    Inside of a transaction nothing is given up. Raises `Problem` 503 when there is no place to come back to.
    """
    places: Places | None = getattr(_mine, "places", None)
    wrapper = connections[DEFAULT_DB_ALIAS]
    if wrapper.in_atomic_block:
        yield
        return
    if places is None:
        wrapper.close()
        yield
        return
    places.leave()
    try:
        yield
    finally:
        try:
            places.enter()
        except Empty:
            raise too_many() from None


def too_many() -> Problem:
    """There is no place."""
    detail = "Too many requests are under way. Try again in a moment."
    return Problem(503, "overloaded", detail, headers={"Retry-After": "1"})


def answer(problem: Problem, start_response: StartResponse) -> Iterable[bytes]:
    """Refuse a request before anything looks at it."""
    body = dumps(problem.body())
    headers = [("Content-Type", CONTENT_TYPE), ("Content-Length", str(len(body))), *problem.headers.items()]
    start_response(f"{problem.status} {HTTPStatus(problem.status).phrase}", headers)
    return [body]
