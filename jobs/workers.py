"""Worker processes as the database knows them: announced, alive, dead; and the rescue of what a dead one held."""

import os
import platform
import time
from collections.abc import Sequence
from uuid import UUID

import psycopg
import structlog

from jobs import endings, registry, shelves, store, tuning
from jobs.bell import bell
from jobs.judge import died, released
from jobs.states import LIVE_SECONDS
from jobs.store import Connection, Owned, Verdict

logger = structlog.get_logger(__name__)

HEARTBEAT_SECONDS = 3.0
RESCUE_SLICE = 512


def announce(name: str, queues: Sequence[str], kinds: Sequence[str], *, on: Connection) -> int:
    """Enter this process as a live worker of its queues and kinds. Returns its id."""
    row = on.execute(
        "insert into jobs_worker (name, host, pid, parent_pid, queues, kinds, started_at, heartbeat_at)"
        " values (%s, %s, %s, %s, %s, %s, clock_timestamp(), clock_timestamp()) returning id",
        (name, platform.node(), os.getpid(), os.getppid(), list(queues), list(kinds)),
    ).fetchone()
    assert row is not None  # noqa: S101 - INSERT ... RETURNING returns a row
    return int(row[0])


def beat(worker: int, *, quiet: float = 0.0, on: Connection) -> bool:
    """Say that a worker lives. False when it had been declared dead meanwhile; it counts as living again.

    `quiet`: for how many seconds its main thread has made no progress.

    What it held then was given back, and the fence drops what it still answers to that. What it claims from now on
    must be seen again if it dies, so the row must not stay signed off.
    """
    row = on.execute(
        "update jobs_worker w set heartbeat_at = clock_timestamp(), stopped_at = null,"
        " progress_at = clock_timestamp() - %s * interval '1 second',"
        " skew = extract(epoch from to_timestamp(%s) - clock_timestamp())"
        " from jobs_worker old where w.id = %s and old.id = w.id returning old.stopped_at is null",
        (quiet, time.time(), worker),
    ).fetchone()
    return bool(row and row[0])


def leave(worker: int, *, on: Connection) -> None:
    """Sign off in order."""
    on.execute("update jobs_worker set stopped_at = clock_timestamp() where id = %s", (worker,))
    on.execute("delete from jobs_doorbell where answered_by = %s", (worker,))


def stale(*, on: Connection) -> list[int]:
    """Workers that are dead by their heartbeat; and those that signed off, or are forgotten, and still hold jobs.

    While the database was away nobody's heart could be heard. So nobody is dead to a connection that is younger than
    a heart may be silent: who lives has beaten by then.
    """
    rows = on.execute(
        "with silent as materialized (select clock_timestamp() - %s * interval '1 second' as at), dead (id) as ("
        " select w.id from jobs_worker w, silent where w.stopped_at is null and w.heartbeat_at < silent.at"
        " union select j.claimed_by from silent, jobs_job j left join jobs_worker w on w.id = j.claimed_by"
        " where j.status = 'processing' and j.claimed_by is not null and (w.id is null or w.stopped_at < silent.at))"
        " select id from dead, silent"
        " where (select backend_start < silent.at from pg_stat_activity where pid = pg_backend_pid()) order by id",
        (LIVE_SECONDS,),
    ).fetchall()
    return [row[0] for row in rows]


def cancel_requests(worker: int, *, on: Connection) -> set[UUID]:
    """Jobs of this worker that somebody asked to stop."""
    rows = on.execute(
        "select id from jobs_job where claimed_by = %s and status = 'processing' and cancel_requested", (worker,)
    ).fetchall()
    return {row[0] for row in rows}


def rescue(
    worker: int,
    *,
    started: tuple[UUID, int] | None,
    seen: bool,
    reason: str = "worker_died",
    on: Connection | None = None,
) -> int:
    """Take back what a dead worker held. Returns how many jobs.

    `seen`: its slot was read. Then `started` (job, claim_no) is the one job that ran: it alone is charged and comes
    back alone; the others come back free. Not seen: the batch comes back in halves, until the job that kills is
    alone; only a job that was alone is charged. All of it is fenced: what the worker still committed, stands.
    """
    taken = 0
    while True:
        jobs = store.owned(worker, RESCUE_SLICE, on=on)
        if not jobs:
            break
        tuning.refresh(on=on)
        verdicts = _seen(jobs, started, reason) if seen else _halves(jobs, reason)
        done = endings.commit(verdicts, worker=worker, on=on)
        bell.ring({shelf for _, shelf in done.values()}, sweep=True)
        taken += len(done)
        if not done:  # all of them were committed by the worker between our two statements
            break
    link = on or store.connection_of_django()
    psycopg.Cursor(link).execute(
        "update jobs_worker set stopped_at = clock_timestamp() where id = %s and stopped_at is null", (worker,)
    )
    psycopg.Cursor(link).execute("delete from jobs_doorbell where answered_by = %s", (worker,))
    if taken:
        logger.warning("jobs rescued", handler="rescue", action=reason, details=f"{taken} of worker {worker}")
    return taken


def _seen(jobs: Sequence[Owned], started: tuple[UUID, int] | None, reason: str) -> list[Verdict]:
    verdicts = []
    for job in jobs:
        if started == (job.id, job.claim_no):
            verdicts.append(died(registry.find(job.kind), job, reason, shelf_id=_shelf(job, 1)))
        else:
            verdicts.append(released(job, "rescued"))
    return verdicts


def _halves(jobs: Sequence[Owned], reason: str) -> list[Verdict]:
    by_kind: dict[str, list[Owned]] = {}
    for job in jobs:
        by_kind.setdefault(job.kind, []).append(job)
    verdicts = []
    for kind_name, batch in by_kind.items():
        kind = registry.find(kind_name)
        one_shot = kind is None or kind.retry.one_shot  # one that nobody here knows may be
        if len(batch) == 1 or one_shot:
            verdicts += [died(kind, job, reason, shelf_id=_shelf(job, 1)) for job in batch]
            continue
        cap = 1 << ((len(batch) // 2).bit_length() - 1)
        verdicts += [released(job, "rescued", shelf_id=_shelf(job, cap), began=True) for job in batch]
    return verdicts


def _shelf(job: Owned, cap: int) -> int:
    key = (job.kind, job.project_id, job.priority, cap)
    return shelves.ids([key])[key]


def rescue_own(worker: int, started: set[UUID], *, on: Connection | None = None) -> int:
    """Take back what this process still holds from a pump that broke off; what had started is charged."""
    jobs = store.owned(worker, on=on)
    if not jobs:
        return 0
    tuning.refresh(on=on)
    verdicts = [
        died(registry.find(job.kind), job, "broken_off", shelf_id=job.shelf_id)
        if job.id in started
        else released(job, "broken_off")
        for job in jobs
    ]
    done = endings.commit(verdicts, worker=worker, on=on)
    bell.ring({shelf for _, shelf in done.values()}, sweep=True)
    return len(done)
