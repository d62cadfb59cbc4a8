"""The only door to the rows of the hot path, and the only writer of `jobs_job.status`.

Every function takes many jobs; one is a batch of one. Statements are the named files of `jobs/sql/`, executed as
really prepared statements on Django's own connection (so that they join the caller's transaction) or on one that
the caller gives. Nothing here decides anything: outcomes come from `jobs/judge.py`.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from django.db import DatabaseError, IntegrityError, InterfaceError, connection, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from jobplatform.api.database import Statement
from jobs.states import ENDED, TRANSITIONS, Status, sources

_SQL = {path.stem: path.read_text(encoding="utf-8") for path in (Path(__file__).parent / "sql").glob("*.sql")}

_TAKEN = "taken as (select * from picked),\n"
assert _SQL["claim"].count(_TAKEN) == 1  # noqa: S101 - two files that are one statement
_PARTS = {path.stem: path.read_text(encoding="utf-8") for path in (Path(__file__).parent / "sql/claim").glob("*.sql")}
_SQL["claim_limited"] = _SQL["claim"].replace(_TAKEN, _PARTS["limits"]) + _PARTS["left"]

_SUBMIT_ONE = Statement("jobs_submit_one", _SQL["submit_one"])
_IDLE = TransactionStatus.IDLE
_TIMES = "select created_at, due_at from jobs_job where id = %s and project_id = %s"

Connection = psycopg.Connection[Any]

ACTIONS_ON_BLOCKED = ("retry", "edit_and_retry", "resume", "skip", "supply")
"""What a person may do to a job that stands blocked (jobs/interventions.py), in the order in which it is offered."""

DATABASE_ERRORS = (psycopg.Error, DatabaseError, InterfaceError)
"""Errors of psycopg itself, and as Django wraps them where its own methods (connecting, too) raise them."""


@dataclass(slots=True)
class NewJob:
    """A job to be inserted. `payload`, `metadata` and `extra` are JSON texts; `due_at` None means now."""

    id: UUID
    project_id: UUID
    kind: str
    priority: int
    due_at: dt.datetime | None
    payload: str
    metadata: str | None = None
    extra: str | None = None
    lane: str | None = None
    lane_no: int | None = None
    gate: int = 0


@dataclass(slots=True)
class Claimed:
    """A job as its claim returned it. `payload`, `metadata` and `steps` are JSON texts."""

    id: UUID
    project_id: UUID
    kind: str
    claim_no: int
    attempt: int
    max_attempts: int | None
    retry_delay: float | None
    timeout: float | None
    stage: str
    lane: str | None
    shelf_id: int
    due_at: dt.datetime
    payload: str
    metadata: str | None
    steps: str | None
    cancel_requested: bool
    weight: int = 1
    limit_id: int | None = None
    cost: int | None = None
    lane_no: int | None = None


@dataclass(slots=True)
class LeftOut:
    """A due job that its limit did not let pass. `payload` (JSON text): its key is not known yet."""

    id: UUID
    project_id: UUID
    payload: str | None


@dataclass(frozen=True, slots=True)
class Awaited:
    """The event that a parked job waits for. `subject_id` is that of the events that it means."""

    type: str
    subject: str
    subject_id: UUID


@dataclass(slots=True)
class Verdict:
    """What becomes of one attempt. `event`, `data`, `output` and `extra` are written as they are (JSON texts).

    `outcome` None: the attempt did not end, so no attempt row is written. Keys of `extra`: `delay` (seconds until
    due), `stage`, `attempt` (the budget after this), `shelf_id`, `quality`, `error`, `log`, `metrics`, `progress`.
    """

    id: UUID
    project_id: UUID
    claim_no: int
    status: Status
    event: str
    data: str
    output: str | None = None
    outcome: str | None = None
    seconds: float = 0.0
    extra: str | None = None
    lane: str | None = None
    lane_no: int | None = None
    limit: tuple[int, int] | None = None  # the key whose limit counts the job, and as how many
    began: bool = False  # it may have run, whatever `outcome` says: what it used of a rate is not given back
    wait: float | None = None  # that key is closed for so many seconds
    awaited: Awaited | None = None  # parked: what else than its due time may wake it


@dataclass(slots=True)
class Owned:
    """A job that a worker still holds, as a rescue sees it."""

    id: UUID
    project_id: UUID
    kind: str
    claim_no: int
    attempt: int
    max_attempts: int | None
    retry_delay: float | None
    stage: str
    shelf_id: int
    priority: int
    lane: str | None
    limit_id: int | None
    cost: int | None
    lane_no: int | None
    held: float  # seconds since its claim


def drop_broken_connection() -> None:
    """Close Django's connection if the server has gone, so that the next statement opens a new one."""
    if connection.connection is not None and connection.connection.closed and not connection.in_atomic_block:
        connection.close()


def django() -> BaseDatabaseWrapper:
    """Django's wrapper of this thread's connection, for many questions: its proxy costs more than the answers."""
    return connections["default"]


def left_open(wrapper: BaseDatabaseWrapper) -> bool:
    """Undo what a handler has left open, so that the next statement commits by itself. True when there was something.

    Closing is the only way that undoes all of it: open transactions, blocks without an end, autocommit switched off.
    """
    raw = wrapper.connection
    if not wrapper.in_atomic_block and (
        raw is None or (raw.pgconn.transaction_status == _IDLE and raw.autocommit) or raw.closed
    ):
        return False
    wrapper.in_atomic_block = False  # or closing would wait for the end of a block that has none
    wrapper.close()
    return True


def connection_of_django() -> Connection:
    """Django's own connection, opened if need be."""
    raw: Connection | None = connection.connection
    if raw is None or raw.closed:
        drop_broken_connection()
        connection.ensure_connection()
        raw = connection.connection
    return raw


def run(name: str, params: Mapping[str, Any], on: Connection | None = None) -> psycopg.Cursor[Any]:
    """Execute a named statement of `jobs/sql/`, prepared. `on`: a connection other than Django's."""
    cur = psycopg.Cursor(on or connection_of_django())
    cur.execute(_SQL[name], params, prepare=True)
    return cur


def now() -> dt.datetime:
    """The platform's time, by which jobs are due."""
    with connection.cursor() as cursor:
        cursor.execute("select platform_now()")
        (found,) = cursor.fetchone()
    assert isinstance(found, dt.datetime)  # noqa: S101 - SELECT of one function
    return found


# ---------------------------------------------------------------------------------------------- the way of a job


def submit_many(jobs: Sequence[NewJob], shelf_id: Sequence[int]) -> dict[UUID, tuple[dt.datetime, dt.datetime]]:
    """Insert jobs on their shelves with their `job.queued` events, in the caller's transaction.

    Returns created_at and due_at by id.
    """
    if len(jobs) == 1:
        return {jobs[0].id: _submit_one(jobs[0], shelf_id[0])}
    with run(
        "submit",
        {
            "id": [job.id for job in jobs],
            "project_id": [job.project_id for job in jobs],
            "kind": [job.kind for job in jobs],
            "shelf_id": list(shelf_id),
            "priority": [job.priority for job in jobs],
            "due_at": [job.due_at for job in jobs],
            "payload": [job.payload for job in jobs],
            "metadata": [job.metadata for job in jobs],
            "extra": [job.extra for job in jobs],
            "lane": [job.lane for job in jobs],
            "lane_no": [job.lane_no for job in jobs],
            "gate": [job.gate for job in jobs],
        },
    ) as cur:
        return {row[0]: (row[1], row[2]) for row in cur.fetchall()}


def _submit_one(job: NewJob, shelf_id: int) -> tuple[dt.datetime, dt.datetime]:
    """The same for one job, by a statement without arrays: a third of the time on this side, and less on the other."""
    try:
        row = _SUBMIT_ONE.row(
            str(job.id).encode(),
            str(job.project_id).encode(),
            job.kind.encode(),
            b"%d" % shelf_id,
            b"%d" % job.priority,
            None if job.due_at is None else job.due_at.isoformat().encode(),
            job.payload.encode(),
            None if job.metadata is None else job.metadata.encode(),
            None if job.extra is None else job.extra.encode(),
            None if job.lane is None else job.lane.encode(),
            None if job.lane_no is None else b"%d" % job.lane_no,
            b"%d" % job.gate,
        )
    except IntegrityError:
        # The connection broke, the statement ran once more, and the first one turns out to have been committed.
        if connection.in_atomic_block:
            raise
        times = psycopg.Cursor(connection_of_django()).execute(_TIMES, (job.id, job.project_id)).fetchone()
        if times is None:
            raise
        return times[0], times[1]
    created_at, due_at = (text.decode() for text in row or () if text is not None)
    return dt.datetime.fromisoformat(created_at), dt.datetime.fromisoformat(due_at)


def replace(
    job: NewJob, shelf_id: int, holder: UUID, *, wait: float, longest: float
) -> tuple[dt.datetime, dt.datetime] | None:
    """Put what a new job says in the place of what a waiting one (`holder`) says.

    None: that one waits no more, or in another lane.

    `wait`, `longest`: seconds from now, and at most from its creation, until it is due. Returns created_at and due_at.
    """
    params = {
        "id": holder,
        "project_id": job.project_id,
        "shelf_id": shelf_id,
        "priority": job.priority,
        "lane": job.lane,
        "payload": job.payload,
        "metadata": job.metadata,
        "extra": job.extra,
        "due_at": job.due_at,
        "wait": wait,
        "longest": longest,
    }
    with run("replace", params) as cur:
        row: tuple[dt.datetime, dt.datetime] | None = cur.fetchone()
    return row


def claim_many(
    kind: str,
    *,
    batch: int,
    worker: int,
    announce: bool = False,
    capped: bool = False,
    hint: Sequence[int] = (),
    served: Mapping[UUID, float] | None = None,
    lazy: bool = False,
    on: Connection | None = None,
) -> list[Claimed]:
    """Take up to `batch` due jobs of a kind for a worker. `hint` names shelves that were just filled.

    `served`: how much projects have had (jobs/fairness.py); whoever has had least goes first.
    `lazy`: do not wait until the claim is on disk. Not for jobs that must never run twice.
    """
    params = _claim(kind, batch, worker, hint, served, announce=announce, capped=capped, lazy=lazy)
    with run("claim", params, on) as cur:
        return _in_order(Claimed(*row) for row in cur.fetchall())


def claim_limited(
    kind: str,
    *,
    batch: int,
    look: int,
    worker: int,
    announce: bool = False,
    capped: bool = False,
    hint: Sequence[int] = (),
    served: Mapping[UUID, float] | None = None,
    lazy: bool = False,
) -> tuple[list[Claimed], list[LeftOut]]:
    """The same for a kind with a limit: of `look` due jobs take up to `batch` that their keys let pass.

    Also returns those that were left out: they stand behind their gate now, unless their key is not known yet.
    """
    params = _claim(kind, look, worker, hint, served, announce=announce, capped=capped, lazy=lazy)
    with run("claim_limited", params | {"limited": True, "most": batch}) as cur:
        rows = cur.fetchall()
    return (
        _in_order(Claimed(*row) for row in rows if row[3] is not None),
        [LeftOut(row[0], row[1], row[12]) for row in rows if row[3] is None],
    )


def _in_order(jobs: Iterable[Claimed]) -> list[Claimed]:
    """As they came: what an UPDATE returns has the order of whatever join it was planned with."""
    return sorted(jobs, key=attrgetter("due_at", "id"))


def _claim(
    kind: str,
    batch: int,
    worker: int,
    hint: Sequence[int],
    served: Mapping[UUID, float] | None,
    *,
    announce: bool,
    capped: bool,
    lazy: bool,
) -> dict[str, Any]:
    return {
        "kind": kind,
        "batch": batch,
        "worker": worker,
        "announce": int(announce),
        "capped": capped,
        "hint": list(hint),
        "served": list(served or ()),
        "served_at": list((served or {}).values()),
        "lazy": lazy,
        "limited": False,
    }


def commit_many(
    verdicts: Sequence[Verdict], *, worker: int, on: Connection | None = None
) -> dict[UUID, tuple[Status, int]]:
    """End attempts. Returns status and shelf by id of those whose claim still held; the others changed nothing."""
    params = {
        "id": [v.id for v in verdicts],
        "project_id": [v.project_id for v in verdicts],
        "claim_no": [v.claim_no for v in verdicts],
        "status": [v.status for v in verdicts],
        "event": [v.event for v in verdicts],
        "data": [v.data for v in verdicts],
        "output": [v.output for v in verdicts],
        "outcome": [v.outcome for v in verdicts],
        "seconds": [v.seconds for v in verdicts],
        "extra": [v.extra for v in verdicts],
        "worker": worker,
        "actions": list(ACTIONS_ON_BLOCKED),
    }
    with run("commit", params, on) as cur:
        return {row[0]: (Status(row[1]), row[2]) for row in cur.fetchall()}


def await_many(parked: Sequence[tuple[Verdict, Awaited]], *, on: Connection | None = None) -> None:
    """Note what jobs wait for that the same transaction has just parked."""
    params = {
        "job_id": [verdict.id for verdict, _ in parked],
        "project_id": [verdict.project_id for verdict, _ in parked],
        "claim_no": [verdict.claim_no for verdict, _ in parked],
        "type": [awaited.type for _, awaited in parked],
        "subject": [awaited.subject for _, awaited in parked],
        "subject_id": [awaited.subject_id for _, awaited in parked],
    }
    with run("await", params, on):
        pass


@dataclass(slots=True)
class Move:
    """A job to be moved. `lane_no` and `gate`: its new place, where it enters its lane once more.

    `data` (JSON text): of its event, instead of what is said for all. `seq`: it is moved only if it stands so.
    """

    id: UUID
    project_id: UUID
    lane_no: int | None = None
    gate: int | None = None
    data: str | None = None
    seq: int | None = None


def move_many(
    verb: str,
    jobs: Sequence[Move],
    *,
    data: str = "{}",
    payload: str | None = None,
    output: str | None = None,
    fresh: bool = False,
    allowed: frozenset[Status] | None = None,
    plain: Sequence[str] | None = None,
) -> dict[UUID, int]:
    """Move jobs that no worker owns by a verb of `TRANSITIONS`, and resolve the interventions that ask about them.

    Returns the shelf by id of those that were moved; jobs that stand elsewhere than the verb allows are left alone.
    `data`: of their events; `actor`, `action` and `reason` in it are those of the decision. `fresh` starts the count of
    attempts anew and forgets the error; `payload` and `output` (JSON texts) replace what there is. `plain`: only jobs
    of these kinds, and only those in no lane and no batch, of which nobody else has to hear.
    """
    from_ = sources(verb) if allowed is None else sources(verb) & allowed
    targets = {t.target for t in TRANSITIONS if t.verb == verb}
    events = {t.event for t in TRANSITIONS if t.verb == verb}
    if len(targets) != 1 or len(events) != 1 or Status.PROCESSING in from_:
        message = f"{verb!r} is not a move"
        raise ValueError(message)
    target = targets.pop()
    params = {
        "id": [job.id for job in jobs],
        "project_id": [job.project_id for job in jobs],
        "lane_no": [job.lane_no for job in jobs],
        "gate": [job.gate for job in jobs],
        "seq": [job.seq for job in jobs],
        "plain": None if plain is None else list(plain),
        "data": [job.data or data for job in jobs],
        "verb": verb,
        "target": target,
        "sources": sorted(from_),
        "fresh": fresh,
        "payload": payload,
        "output": output,
        "ended": target in ENDED,
        "event": events.pop(),
    }
    with run("move", params) as cur:
        moved = dict(cur.fetchall())
    if moved and Status.PARKED in from_:  # whatever they waited for, they do not any more
        gone = [job for job in jobs if job.id in moved]
        with run("forget_awaited", {"id": [j.id for j in gone], "project_id": [j.project_id for j in gone]}):
            pass
    return moved


# ---------------------------------------------------------------------------------------------- while it runs


def announce_many(runs: Sequence[tuple[UUID, UUID, int]], *, worker: int, on: Connection | None = None) -> None:
    """Publish `job.processing` for running attempts: (id, project, claim_no)."""
    with run(
        "announce",
        {
            "id": [run[0] for run in runs],
            "project_id": [run[1] for run in runs],
            "claim_no": [run[2] for run in runs],
            "worker": worker,
        },
        on,
    ):
        pass


def note(
    job_id: UUID,
    project_id: UUID,
    claim_no: int,
    *,
    worker: int,
    progress: str | None = None,
    steps: str | None = None,
    on: Connection | None = None,
) -> bool:
    """Keep progress or a finished step (JSON texts) of a running attempt. False when the claim is lost."""
    params = {
        "id": job_id,
        "project_id": project_id,
        "claim_no": claim_no,
        "worker": worker,
        "progress": progress,
        "steps": steps,
    }
    with run("note", params, on) as cur:
        return cur.rowcount == 1


def owned(worker: int, limit: int = 512, *, on: Connection | None = None) -> list[Owned]:
    """What a worker still holds, in the order of its claim."""
    with run("owned", {"worker": worker, "limit": limit}, on) as cur:
        return [Owned(*row) for row in cur.fetchall()]


def pass_key(project_id: UUID, kind: str, key: str, job_id: UUID) -> None:
    """Give a key that is taken to another job."""
    with psycopg.Cursor(connection_of_django()) as cur:
        cur.execute(
            "update jobs_uniquekey set job_id = %s where project_id = %s and kind = %s and key = %s",
            (job_id, project_id, kind, key),
        )


def take_key(project_id: UUID, kind: str, key: str, job_id: UUID, seconds: float | None) -> UUID:
    """Take a unique key for a job about to be inserted by the same transaction. Returns the job that holds it."""
    params = {"project_id": project_id, "kind": kind, "key": key, "job_id": job_id, "seconds": seconds}
    while True:
        with run("take_key", params) as cur:
            row = cur.fetchone()
        if row is not None:
            return job_id
        with run("key_holder", params) as cur:
            row = cur.fetchone()
        if row is not None:  # else: whoever held it rolled back between our two statements
            holder: UUID = row[0]
            return holder
