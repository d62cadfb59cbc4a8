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


@dataclass(frozen=True, slots=True)
class Counted:
    """How far a counter came: its new place in the log, and how many events it counted up to there.

    `pause`: for how many seconds it rests now, if not for those of its subscription.
    """

    position: int
    last_id: int
    number: int
    pause: float | None = None


Count = Callable[[int, int, int], Counted | None]

BATCH = 1000
QUEUE = "events"
LONGEST_PAUSE = dt.timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Subscription:
    """A registered consumer. `kind` is the name of its Celery task. A counter has `count` instead of `consume`."""

    name: str
    consume: Consume | None
    batch: int
    count: Count | None = None
    pause: float = 0.0
    roused_by: str = ""

    @property
    def kind(self) -> str:
        """Name of its Celery task."""
        return f"events.{self.name}"


SUBSCRIPTIONS: dict[str, Subscription] = {}

batches = 0
"""Batches that this process has read, so that one can see it get on."""


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


def counter(name: str, *, batch: int, pause: float, roused_by: str = "") -> Callable[[Count], Count]:
    """Register a function that counts the log by a statement of its own, so that no event leaves the database.

    It is called as `count(position, last_id, batch)` inside the transaction that moves the cursor, reads at most
    `batch` events behind that place and below `event_horizon()`, and returns where they end; None: there are none.
    When it has seen all, it rests for `pause` seconds: the fuller its batches, the less an event costs. A row in the
    table `roused_by` ends a rest of more than a second.
    """

    def register(count: Count) -> Count:
        if name in SUBSCRIPTIONS:
            message = f"The consumer {name!r} is registered twice."
            raise ValueError(message)
        SUBSCRIPTIONS[name] = Subscription(name, None, batch, count, pause, roused_by)
        return count

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
    global batches  # noqa: PLW0603 - counted by the process
    batches += 1
    subscription = SUBSCRIPTIONS[name]
    try:
        with transaction.atomic():
            row = (
                Consumer.objects.select_for_update(skip_locked=True)
                .extra(where=[_may_read("events_consumer")])  # noqa: S610 - names of our own
                .filter(name=name)
                .first()
            )
            if row is None:
                return 0
            reached = _step(subscription, row)
            if reached is None:
                return 0
            pause = subscription.pause if reached.pause is None else reached.pause
            _move(reached, row.name, pause if reached.number < subscription.batch else None)
    except Exception as error:  # noqa: BLE001 - a consumer may raise anything; its row says what
        connection.close_if_unusable_or_obsolete()
        _note_failure(name, error)
        return 0
    return reached.number


def _step(subscription: Subscription, row: Consumer) -> Counted | None:
    """Take in what stands behind a cursor; None when there is nothing."""
    if subscription.count is not None:
        return subscription.count(row.position, row.last_id, subscription.batch)
    events = log.read(row.position, row.last_id, subscription.batch)
    if not events or subscription.consume is None:
        return None
    subscription.consume(events)
    return Counted(events[-1].position, events[-1].id, len(events))


def _may_read(row: str) -> str:
    """The condition that a consumer does not rest."""
    conditions = [f"{row}.retry_at is null", f"{row}.retry_at <= (select platform_now())"]
    rested = f"{row}.failures = 0 and {row}.retry_at > (select platform_now()) + interval '1 second'"
    for name, table in [(found.name, found.roused_by) for found in SUBSCRIPTIONS.values() if found.roused_by]:
        roused = f"exists (select from {table})"
        conditions.append(f"({row}.name = '{name}' and {rested} and {roused})")
    return f"({' or '.join(conditions)})"


def waiting() -> list[str]:
    """Consumers with something to read now, a pause after a failure observed."""
    with log.cursor() as cur:
        cur.execute(
            f"select c.name from events_consumer c where c.name = any(%s) and {_may_read('c')}"  # noqa: S608 - our own names
            " and exists (select 1 from events_event e where (e.position, e.id) > (c.position, c.last_id)"
            "             and e.position < (select event_horizon()) limit 1)",
            (list(SUBSCRIPTIONS),),
        )
        return [row[0] for row in cur.fetchall()]


def replay(name: str, *, since: dt.datetime) -> None:
    """Put the cursor of a consumer back to the first event at or after `since`; it reads from there again.

    Raises:
        LookupError: there is no such consumer.
        ValueError: it is a counter, which would count everything a second time.
    """
    if name in SUBSCRIPTIONS and SUBSCRIPTIONS[name].count is not None:
        message = f"The consumer {name!r} counts: what it has read, it must not read again."
        raise ValueError(message)
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


def _move(reached: Counted, name: str, pause: float | None) -> None:
    with log.cursor() as cur:
        cur.execute(
            "update events_consumer set position = %s, last_id = %s, moved_at = clock_timestamp(), failures = 0,"
            " retry_at = (select platform_now()) + %s::float8 * interval '1 second', error = '' where name = %s",
            (reached.position, reached.last_id, pause or None, name),
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
