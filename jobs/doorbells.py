"""Doorbells in flight: rung by the relay, answered by a worker process, gone when its pump ends or they expire."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from uuid_utils.compat import uuid7

from jobs import store
from jobs.states import LIVE_SECONDS
from jobs.store import Connection

UNANSWERED_SECONDS = 5.0  # an unanswered doorbell is lost after this, and rung again
ANSWERED_SECONDS = 600.0  # an answered one whose pump never hung up; a dead worker's rescue removes it sooner


@dataclass(slots=True)
class Queue:
    """A queue as the relay sees it: worker processes alive, doorbells in flight, kinds that its workers know."""

    name: str
    slots: int
    kinds: frozenset[str]


@dataclass(slots=True)
class InFlight:
    """Doorbells of one kind in one queue."""

    queue: str
    unanswered: int
    answered: int


def queues(*, on: Connection) -> dict[str, Queue]:
    """The queues that live workers serve."""
    rows = on.execute(
        "select q.name, count(distinct w.id), array_agg(distinct k.name)"
        " from jobs_worker w, unnest(w.queues) q (name), unnest(w.kinds) k (name)"
        " where w.stopped_at is null and w.heartbeat_at > clock_timestamp() - %s * interval '1 second'"
        " group by q.name",
        (LIVE_SECONDS,),
    ).fetchall()
    return {name: Queue(name, slots, frozenset(kinds)) for name, slots, kinds in rows}


def in_flight(*, on: Connection) -> dict[tuple[str, str], InFlight]:
    """Doorbells in flight, by kind and queue (a kind may move to another); expired ones are removed first."""
    on.execute("delete from jobs_doorbell where expires_at < clock_timestamp()")
    rows = on.execute(
        "select kind, queue, count(*) filter (where answered_by is null), count(answered_by)"
        " from jobs_doorbell group by kind, queue"
    ).fetchall()
    return {(row[0], row[1]): InFlight(*row[1:]) for row in rows}


def ring(kind: str, queue: str, *, on: Connection) -> UUID:
    """Enter a doorbell that is about to be sent."""
    doorbell = uuid7()
    on.execute(
        "insert into jobs_doorbell (id, kind, queue, rung_at, expires_at) values"
        " (%s, %s, %s, clock_timestamp(), clock_timestamp() + %s * interval '1 second')",
        (doorbell, kind, queue, UNANSWERED_SECONDS),
    )
    return doorbell


def forget(doorbells: Sequence[UUID], *, on: Connection) -> None:
    """Remove doorbells that could not be sent."""
    on.execute("delete from jobs_doorbell where id = any(%s)", (list(doorbells),))


def answer(doorbell: UUID | None, kind: str, queue: str, worker: int) -> None:
    """A pump starts. A doorbell that has expired meanwhile, or was never entered, counts from now."""
    with psycopg.Cursor(store.connection_of_django()) as cur:
        cur.execute(
            "insert into jobs_doorbell (id, kind, queue, rung_at, expires_at, answered_by) values"
            " (%s, %s, %s, clock_timestamp(), clock_timestamp() + %s * interval '1 second', %s)"
            " on conflict (id) do update set answered_by = excluded.answered_by, expires_at = excluded.expires_at",
            (doorbell or uuid7(), kind, queue, ANSWERED_SECONDS, worker),
            prepare=True,
        )


def hang_up(worker: int, *, on: Connection | None = None) -> None:
    """The pump of a worker process has ended."""
    with psycopg.Cursor(on or store.connection_of_django()) as cur:
        cur.execute("delete from jobs_doorbell where answered_by = %s", (worker,), prepare=True)


def free_slots(queue: str) -> int:
    """Worker processes of a queue that no doorbell occupies."""
    with psycopg.Cursor(store.connection_of_django()) as cur:
        row = cur.execute(
            "select (select count(*) from jobs_worker w where %s = any(w.queues) and w.stopped_at is null"
            "        and w.heartbeat_at > clock_timestamp() - %s * interval '1 second')"
            "     - (select count(*) from jobs_doorbell d where d.queue = %s and d.expires_at > clock_timestamp())",
            (queue, LIVE_SECONDS, queue),
            prepare=True,
        ).fetchone()
    return int(row[0]) if row else 0
