"""The log: append within the caller's transaction, read what can no longer change.

The only module that executes `events/sql/*.sql`. How the order is kept, and why a consumer cannot skip a row,
is told in docs/events.md.
"""

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import psycopg
from django.conf import settings
from django.db import connection, transaction

from events.errors import ClockLocked, UnknownEventType
from events.topics import EVENT_TYPES

PARTITIONS_AHEAD = dt.timedelta(days=14)
DROP_ATTEMPTS = 10
DROP_PAUSE_SECONDS = 0.15
FOLLOW_SCAN_ROWS = 5000
"""So many rows of the log `follow` looks at, whatever it finds among them,"""
FOLLOW_ROWS = 500
"""so many it returns at most,"""
FOLLOW_BYTES = 4 * 1024 * 1024
"""and so many bytes of JSON, and one row more."""

_SQL = {path.stem: path.read_text(encoding="utf-8") for path in (Path(__file__).parent / "sql").glob("*.sql")}


@dataclass(frozen=True, slots=True)
class NewEvent:
    """What an app appends. `seq` comes from the subject's own row, raised by the same transaction."""

    project_id: UUID
    type: str
    subject_id: UUID
    seq: int
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """One row as a consumer sees it. `data` is decoded on demand by `payload()`."""

    position: int
    id: int
    occurred_at: dt.datetime
    project_id: UUID
    type: str
    subject_id: UUID
    seq: int
    data: str

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands in the log."""
        return self.position, self.id

    def payload(self) -> dict[str, Any]:
        """The event's data as a dictionary."""
        decoded: dict[str, Any] = orjson.loads(self.data)
        return decoded


@dataclass(frozen=True, slots=True)
class Followed:
    """A part of the log as a follower sees it: the rows that he asked for, up to `place`; `more`: it goes on there."""

    rows: list[LoggedEvent]
    place: tuple[int, int]
    more: bool


def cursor() -> psycopg.Cursor[Any]:
    """A plain psycopg cursor on Django's connection: server-side binding, so statements are really prepared."""
    connection.ensure_connection()
    return psycopg.Cursor(connection.connection)


@dataclass(frozen=True, slots=True)
class EndedWriter:
    """A session that was ended because its transaction held back the log for `seconds`."""

    pid: int
    role: str
    database: str
    application: str
    seconds: float


def append(events: Sequence[NewEvent]) -> None:
    """Append events in the caller's transaction.

    Raises:
        UnknownEventType: a type that `events/topics.py` does not list.
    """
    for event in events:
        if event.type not in EVENT_TYPES:
            raise UnknownEventType(event.type)
    with cursor() as cur:
        cur.execute(
            _SQL["append"],
            {
                "project_id": [event.project_id for event in events],
                "type": [event.type for event in events],
                "subject_id": [event.subject_id for event in events],
                "seq": [event.seq for event in events],
                "data": [orjson.dumps(event.data).decode() for event in events],
            },
            prepare=True,
        )


def report(*, project_id: UUID, event_type: str, subject_id: UUID, data: Mapping[str, Any]) -> LoggedEvent:
    """Append an event about a subject that has no row of its own, in the caller's transaction; returns the row.

    Whoever reports about the same subject at the same time waits until that transaction has ended.
    """
    params = {"project_id": project_id, "type": event_type, "subject_id": subject_id}
    with cursor() as cur:
        # Two statements: only the second sees what was committed while the first waited.
        cur.execute("select pg_advisory_xact_lock(hashtextextended('events.subject ' || %s::text, 0))", (subject_id,))
        cur.execute(_SQL["report"], params | {"data": orjson.dumps(data).decode()}, prepare=True)
        row = cur.fetchone()
    assert row is not None  # noqa: S101 - INSERT of one row
    return LoggedEvent(*row)


def data_at(project_id: UUID, place: tuple[int, int], *, on: psycopg.Connection[Any] | None = None) -> str | None:
    """The data (JSON text) of the row that stands there, if it still does and is the project's."""
    with psycopg.Cursor(on) if on is not None else cursor() as cur:
        cur.execute(
            "select data::text from events_event where position = %s and id = %s and project_id = %s",
            (*place, project_id),
            prepare=True,
        )
        row = cur.fetchone()
    return row[0] if row else None


def read(position: int, last_id: int, limit: int) -> list[LoggedEvent]:
    """Up to `limit` rows behind (position, last_id) that can no longer change, in the order of the log."""
    with cursor() as cur:
        cur.execute(_SQL["read"], {"position": position, "last_id": last_id, "limit": limit}, prepare=True)
        return [LoggedEvent(*row) for row in cur.fetchall()]


def follow(place: tuple[int, int], *, projects: Sequence[UUID], subjects: Sequence[UUID]) -> Followed:
    """The next rows behind `place` that can no longer change, of these projects and of these subjects."""
    params = {"position": place[0], "last_id": place[1], "projects": list(projects), "subjects": list(subjects)}
    bounds = {"scan": FOLLOW_SCAN_ROWS, "limit": FOLLOW_ROWS, "most_bytes": FOLLOW_BYTES}
    with cursor() as cur:
        found = cur.execute(_SQL["follow"], params | bounds, prepare=True).fetchall()
    if not found:
        return Followed([], place, more=False)
    rows = [LoggedEvent(*row[4:]) for row in found if row[4] is not None]
    position, last_id, scanned, wanted = found[0][:4]
    if len(rows) < wanted or wanted == FOLLOW_ROWS:
        return Followed(rows, rows[-1].place, more=True)
    return Followed(rows, (position, last_id), more=scanned == FOLLOW_SCAN_ROWS)


def head() -> tuple[int, int]:
    """Where the last row stands that can no longer change; (0, 0) when there is none."""
    with cursor() as cur:
        cur.execute(
            "select e.position, e.id from events_event e where e.position < (select event_horizon())"
            " order by e.position desc, e.id desc limit 1",
            prepare=True,
        )
        position, last_id = cur.fetchone() or (0, 0)
    return position, last_id


def lag() -> dict[str, tuple[float, int]]:
    """Per consumer: age in seconds of the oldest unread row, and failures in a row."""
    return {item.consumer: (item.seconds, item.failures) for item in unread(1)}


@dataclass(frozen=True, slots=True)
class Unread:
    """What a consumer has yet to read: its oldest row's age in seconds, how many rows, and its failures in a row."""

    consumer: str
    seconds: float
    failures: int
    number: int


def unread(most: int) -> list[Unread]:
    """How far every consumer is behind; rows are counted up to `most`."""
    with cursor() as cur:
        cur.execute(_SQL["unread"], {"most": most})
        return [Unread(*row) for row in cur.fetchall()]


def days_ahead() -> int:
    """For how many whole days after today there are partitions, without a gap. At 0 tomorrow's writes fail."""
    days = {day for _, day in partitions()}
    today = dt.datetime.now(dt.UTC).date()
    ahead = 0
    while today + dt.timedelta(days=ahead + 1) in days:
        ahead += 1
    return ahead


def adopt_cluster() -> bool:
    """Raise the era when the database was restored into another cluster. True when it was.

    Every process calls it at boot, before it writes: positions must keep rising across a restore.
    """
    with transaction.atomic(), cursor() as cur:
        cur.execute("select pg_advisory_xact_lock(hashtext('events.era'))")
        cur.execute(_SQL["adopt"])
        return cur.rowcount > 0


def end_writers(older_than: float) -> list[EndedWriter]:
    """End the transactions of this server that have written something and stay open for more than so many seconds.

    Each holds back every reader of the log, whatever it wrote and to which database. A superuser's are left alone, and
    all are where the role may not signal others (`manage.py setup_roles` lets it).
    """
    with cursor() as cur:
        cur.execute(_SQL["end_writers"], {"seconds": older_than})
        return [EndedWriter(*row) for row in cur.fetchall()]


def ensure_partitions(until: dt.date | None = None) -> int:
    """Make the day partitions from today until `until` (default: 14 days ahead). Returns how many were made."""
    today = dt.datetime.now(dt.UTC).date()
    with cursor() as cur:
        cur.execute(
            "select events_ensure_partitions(%s, %s)",
            (today - dt.timedelta(days=1), until or today + PARTITIONS_AHEAD),
        )
        row = cur.fetchone()
    return int(row[0]) if row else 0


def partitions() -> list[tuple[str, dt.date]]:
    """Names and days of the partitions, oldest first."""
    with cursor() as cur:
        cur.execute(
            "select c.relname from pg_inherits i join pg_class c on c.oid = i.inhrelid"
            " where i.inhparent = 'events_event'::regclass order by c.relname"
        )
        names = [row[0] for row in cur.fetchall()]
    return [(name, dt.datetime.strptime(name[-8:], "%Y%m%d").replace(tzinfo=dt.UTC).date()) for name in names]


def drop_partitions(before: dt.date) -> list[str]:
    """Drop the partitions of days before `before` that every consumer has read to the end. Returns their names.

    A partition that a consumer still needs stays, whatever its age. Runs outside a transaction. Writers wait for a
    drop, so a drop waits 50 ms for them at most, and tries again a moment later.

    Raises:
        psycopg.errors.LockNotAvailable: somebody has the log in a transaction that stays open.
    """
    return [name for name, day in partitions() if day < before and _drop(name)]


def _drop(partition: str) -> bool:
    """Whether the partition was dropped; False when a consumer has yet to read it."""
    for patience in range(DROP_ATTEMPTS, 0, -1):
        try:
            with cursor() as cur:
                row = cur.execute("select events_drop_partition(%s)", (partition,)).fetchone()
            return bool(row and row[0])
        except psycopg.errors.LockNotAvailable:
            if patience == 1:
                raise
            time.sleep(DROP_PAUSE_SECONDS)
    return False


def move_clock(ahead: dt.timedelta) -> None:
    """Set how far the virtual clock runs ahead of the real one.

    Raises:
        ClockLocked: outside tests and the demo.
    """
    if not settings.VIRTUAL_CLOCK:
        raise ClockLocked
    with cursor() as cur:
        cur.execute("update events_clock set ahead = %s", (ahead,))
