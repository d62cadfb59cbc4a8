"""Where verdicts wait for their commit. Flushed by the runner, and by the watch thread when a handler runs long."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from uuid import UUID

import orjson
import psycopg
import structlog
from django.db import InterfaceError, OperationalError, connection, transaction
from psycopg.pq import TransactionStatus

from jobs import alarm, lanes, store
from jobs.bell import Bell
from jobs.errors import LostClaim, TransactionBroken
from jobs.judge import Finished, broken, judge
from jobs.registry import Kind
from jobs.states import ENDED, Status
from jobs.store import Claimed, Connection, Verdict

logger = structlog.get_logger(__name__)

LOST_AFTER = 12.0  # seconds of vain commits after which a rescuer may own the jobs: stop trying
WITHIN_STATEMENT_TIMEOUT = "30s"

T = TypeVar("T")

# What the database will never take, as it is.
_REFUSED = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded)
_UNREACHABLE = (psycopg.OperationalError, psycopg.InterfaceError, OperationalError, InterfaceError)


def _gone(error: BaseException) -> bool:
    """Whether Django's connection is gone, so that nothing is said about what ran on it."""
    return isinstance(error, _UNREACHABLE) and (connection.connection is None or connection.connection.closed)


def _passing(error: BaseException) -> bool:
    """Whether a commit of verdicts alone may succeed a moment later: the database is away, full or locked."""
    return isinstance(error, _UNREACHABLE) and not isinstance(error, _REFUSED)


class Outbox:
    """Verdicts of one worker process, committed in batches."""

    def __init__(self, worker: int, bell: Bell) -> None:
        self.worker = worker
        self.counts: dict[str, int] = {}
        self._bell = bell
        self._verdicts: deque[Verdict] = deque()
        self._lock = threading.Lock()

    def put(self, verdict: Verdict) -> None:
        """Add a verdict to the next flush. Safe from any thread."""
        self._verdicts.append(verdict)

    def __len__(self) -> int:
        return len(self._verdicts)

    def flush(self, on: Connection | None = None) -> None:
        """Commit what has been put so far. `on`: the watch thread's own connection.

        The watch does not wait for a commit that is under way, which may take as long as `within` does: it must beat.
        """
        if not self._lock.acquire(blocking=on is None):
            return
        try:
            verdicts = [self._verdicts.popleft() for _ in range(len(self._verdicts))]
            try:
                if verdicts:
                    self._commit(verdicts, on)
            except BaseException:
                # Whoever flushes next tries again; what did get through is fenced off by then.
                self._verdicts.extendleft(reversed(verdicts))
                raise
        finally:
            self._lock.release()

    def commit_within(self, verdict: Verdict, within: Callable[[], None], kind: Kind[Any], finished: Finished) -> None:
        """Commit one verdict and run `within` in the same transaction: fence first, then the function, then commit.

        When it raises, that is this job's error: everything of the transaction is undone and the job is judged by it.
        """
        with self._lock:
            try:
                done = self._persist(lambda: self._within(verdict, within), None, _gone)
            except BaseException as error:
                if _gone(error):
                    raise
                finished.result, finished.error = None, error
                self.put(judge(kind, finished))
            else:
                self._count((verdict.outcome or "released") if done else "late", 1)

    def _within(self, verdict: Verdict, within: Callable[[], None]) -> bool:
        with transaction.atomic():
            with connection.cursor() as cur:
                cur.execute(f"set local statement_timeout = '{WITHIN_STATEMENT_TIMEOUT}'")
            if not self._write([verdict], None):
                return False
            within()
            if connection.connection.pgconn.transaction_status == TransactionStatus.INERROR:
                raise TransactionBroken  # COMMIT would undo everything and report no error
        return True

    def keep(
        self,
        job: Claimed,
        *,
        progress: Mapping[str, Any] | None = None,
        steps: Mapping[str, Any] | None = None,
        on: Connection | None = None,
    ) -> None:
        """Store progress or a finished step at once. `on`: Django's own connection, for who cannot ask Django for it.

        Raises:
            LostClaim: the job belongs to somebody else by now.
            TypeError: the step's result is not JSON.
        """
        texts = [orjson.dumps(value).decode() if value else None for value in (progress, steps)]
        with alarm.masked():
            kept = store.note(
                job.id,
                job.project_id,
                job.claim_no,
                worker=self.worker,
                progress=texts[0],
                steps=texts[1],
                on=on,
            )
        if not kept:
            raise LostClaim

    def _commit(self, verdicts: Sequence[Verdict], on: Connection | None, *, last: bool = False) -> None:
        """Commit a batch, and count what became of it. `last`: what cannot be stored now, cannot be helped."""
        try:
            done = self._persist(lambda: self._write(verdicts, on), on, _passing)
        except _REFUSED as error:
            if last:
                raise
            self._isolate(verdicts, error, on)
            return
        for verdict in verdicts:
            self._count((verdict.outcome or "released") if verdict.id in done else "late", 1)
        refilled = {shelf for status, shelf in done.values() if status is Status.QUEUED}
        if refilled:
            self._bell.ring(refilled, sweep=True)

    def _write(self, verdicts: Sequence[Verdict], on: Connection | None) -> dict[UUID, tuple[Status, int]]:
        """One statement; for jobs with a lane one transaction, in which those behind the ended ones get their turn."""
        if all(verdict.lane is None for verdict in verdicts):
            return store.commit_many(verdicts, worker=self.worker, on=on)
        with (on or store.connection_of_django()).transaction():
            done = store.commit_many(verdicts, worker=self.worker, on=on)
            left = {
                (verdict.project_id, verdict.lane)
                for verdict in verdicts
                if verdict.lane is not None and verdict.id in done and done[verdict.id][0] in ENDED
            }
            settled = lanes.settle(left, on=on) if left else None
        if settled is not None and on is None:
            transaction.on_commit(lambda: lanes.follow(settled))  # at once, unless `within` is still to come
        elif settled is not None:
            lanes.follow(settled, on=on)
        return done

    def _persist(self, commit: Callable[[], T], on: Connection | None, again: Callable[[BaseException], bool]) -> T:
        """Commit, trying again while the database is away, until a rescuer may own the jobs."""
        began = time.monotonic()
        pause = 0.05
        while True:
            try:
                return commit()
            except _UNREACHABLE as error:
                if not again(error):
                    raise
                if time.monotonic() - began > LOST_AFTER or (on is not None and on.closed):
                    logger.error("outcomes lost", handler="outbox", action="drop", details=repr(error)[:300])
                    raise
                store.drop_broken_connection()
                time.sleep(pause)  # the database is away; there is no named moment to wait for
                pause = min(1.0, pause * 2)

    def _isolate(self, verdicts: Sequence[Verdict], error: psycopg.Error, on: Connection | None) -> None:
        """The database cannot take one of these outcomes: find it by halves, and fail that attempt alone."""
        if len(verdicts) > 1:
            middle = len(verdicts) // 2
            self._commit(verdicts[:middle], on)
            self._commit(verdicts[middle:], on)
            return
        (verdict,) = verdicts
        logger.warning("outcome not storable", handler="outbox", action="isolate", details=str(error)[:300])
        self._commit([broken(verdict, f"The database refused the outcome: {error}")], on, last=True)

    def _count(self, name: str, number: int) -> None:
        self.counts[name] = self.counts.get(name, 0) + number
