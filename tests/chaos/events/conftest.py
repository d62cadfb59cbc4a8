"""A consumer on a database of the test's own, and connections that hold their transactions open."""

import contextlib
from collections.abc import Callable, Iterator

import psycopg
import pytest
from django.db import connection

from events import consumers
from events.consumers import Subscription
from tests.chaos.events.reading import NAME, Link, Reader


@pytest.fixture
def reader(database: str) -> Iterator[Reader]:
    """A consumer that stands at the end of the log."""
    reader = Reader()
    with connection.cursor() as cursor:
        cursor.execute(
            "create table seen (number bigserial, position bigint, event_id bigint, subject_id uuid, seq int, type text)"
        )
    before = dict(consumers.SUBSCRIPTIONS)
    consumers.SUBSCRIPTIONS.clear()
    consumers.SUBSCRIPTIONS[NAME] = Subscription(NAME, reader.consume, 7)
    consumers.ensure_rows()
    yield reader
    consumers.SUBSCRIPTIONS.clear()
    consumers.SUBSCRIPTIONS.update(before)


@pytest.fixture
def links(database: str) -> Iterator[Callable[[], Link]]:
    """Opens connections of their own; each statement is in the transaction that the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda: stack.enter_context(contextlib.closing(psycopg.connect(database)))
