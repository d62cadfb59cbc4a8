"""Consumers of the log: functions that see every event once, in order, in the transaction that moves their cursor."""

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from django.db import DatabaseError, connection, transaction

from events import log
from events.log import LoggedEvent
from events.models import Consumer

logger = structlog.get_logger(__name__)

Consume = Callable[[Sequence[LoggedEvent]], None]

BATCH = 1000
QUEUE = "events"
LONGEST_PAUSE = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A registered consumer. `kind` is the name of its Celery task."""

    name: str
    consume: Consume
    batch: int

    @property
    def kind(self) -> str:
        """Name of its Celery task."""
        return f"events.{self.name}"


SUBSCRIPTIONS: dict[str, Subscription] = {}


def consumer(name: str, *, batch: int = BATCH) -> Callable[[Consume], Consume]:
    """Register a function as the consumer `name` of the log.

    It is called with batches of events inside the transaction that moves its cursor, so what it writes to the
    database happens exactly once. It must not call the network. When it raises, the batch comes again after a
    pause that doubles up to five minutes; nothing is skipped.
    """

    def register(consume: Consume) -> Consume:
        if name in SUBSCRIPTIONS:
            message = f"The consumer {name!r} is registered twice."
            raise ValueError(message)
        SUBSCRIPTIONS[name] = Subscription(name, consume, batch)
        return consume

    return register


def ensure_rows() -> None:
    """Make the cursor row of every registered consumer; a new one starts at the end of what is committed now."""
    for name in SUBSCRIPTIONS:
        with log.cursor() as cur:
            cur.execute(
                "insert into events_consumer (name, position, last_id, failures, error, moved_at)"
                " values (%s, (select event_horizon()) - 1, 9223372036854775807, 0, '', clock_timestamp())"
                " on conflict do nothing",
                (name,),
            )


def run(name: str) -> int:
    """Read and consume one batch. Returns the number of events; 0 when there is nothing, or another process is at it.

    An error of the consumer rolls its batch back, is written on its row and delays the next try.
    """
    subscription = SUBSCRIPTIONS[name]
    try:
        with transaction.atomic():
            row = (
                Consumer.objects.select_for_update(skip_locked=True)
                .extra(where=["(retry_at is null or retry_at <= (select platform_now()))"])
                .filter(name=name)
                .first()
            )
            if row is None:
                return 0
            events = log.read(row.position, row.last_id, subscription.batch)
            if not events:
                return 0
            subscription.consume(events)
            last = events[-1]
            _move(name, last.position, last.id)
    except Exception as error:  # noqa: BLE001 - a consumer may raise anything; its row says what
        connection.close_if_unusable_or_obsolete()
        _note_failure(name, error)
        return 0
    return len(events)


def waiting() -> list[str]:
    """Consumers with something to read now, a pause after a failure observed."""
    with log.cursor() as cur:
        cur.execute(
            "select c.name from events_consumer c where c.name = any(%s)"
            " and (c.retry_at is null or c.retry_at <= (select platform_now()))"
            " and exists (select 1 from events_event e where (e.position, e.id) > (c.position, c.last_id)"
            "             and e.position < (select event_horizon()) limit 1)",
            (list(SUBSCRIPTIONS),),
        )
        return [row[0] for row in cur.fetchall()]


def replay(name: str, *, since: dt.datetime) -> None:
    """Put the cursor of a consumer back to the first event at or after `since`; it reads from there again."""
    with log.cursor() as cur:
        cur.execute(
            "update events_consumer set retry_at = null, failures = 0, error = '', last_id = 0,"
            " position = coalesce((select min(position) from events_event where occurred_at >= %s), position)"
            " where name = %s",
            (since, name),
        )
        if cur.rowcount != 1:
            message = f"There is no consumer {name!r}."
            raise LookupError(message)


def _move(name: str, position: int, last_id: int) -> None:
    with log.cursor() as cur:
        cur.execute(
            "update events_consumer set position = %s, last_id = %s, moved_at = clock_timestamp(),"
            " failures = 0, retry_at = null, error = '' where name = %s",
            (position, last_id, name),
            prepare=True,
        )


def _note_failure(name: str, error: Exception) -> None:
    logger.error("consumer failed", handler=f"events.{name}", action="failed", details=repr(error)[:500])
    try:
        with log.cursor() as cur:
            cur.execute(
                "update events_consumer set failures = failures + 1, error = %s,"
                " retry_at = (select platform_now()) + least(interval '1 second' * power(2, least(failures, 10)), %s)"
                " where name = %s",
                (repr(error)[:2000].replace("\x00", "\\x00"), LONGEST_PAUSE, name),
            )
    except DatabaseError as lost:
        logger.warning("failure not noted", handler=f"events.{name}", action="note", details=repr(lost)[:200])
