"""Where verdicts wait for their commit. Flushed by the runner, and by the watch thread when a handler runs long."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import orjson
import psycopg
import structlog
from django.db import connection, transaction
from psycopg.pq import TransactionStatus

from jobplatform.api.database import Trouble, trouble
from jobs import alarm, endings, store
from jobs.bell import Bell
from jobs.errors import LostClaim, TransactionBroken
from jobs.judge import Finished, broken, judge
from jobs.registry import Kind
from jobs.states import Status
from jobs.store import Claimed, Connection, Verdict

logger = structlog.get_logger(__name__)

LOST_AFTER = 12.0  # seconds of vain commits after which a rescuer may own the jobs: stop trying
WITHIN_STATEMENT_TIMEOUT = "30s"
CONFLICTS = 4  # deadlocks and the like that a function within a commit may meet; the last is the job's error

T = TypeVar("T")

# What the database will never take, as it is.
_REFUSED = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded)
_PASSES = {Trouble.UNREACHABLE, Trouble.CONFLICT, Trouble.BUSY}


def _gone(error: BaseException) -> bool:
    """Whether Django's connection is gone, so that nothing is said about what ran on it."""
    away = isinstance(error, store.DATABASE_ERRORS) and trouble(error) is Trouble.UNREACHABLE
    return away and (connection.connection is None or connection.connection.closed)


def _passing(error: BaseException) -> bool:
    """Whether a commit of verdicts alone may succeed a moment later: the database is away, full, locked, read-only."""
    return trouble(error) in _PASSES


class _Within:
    """A function that runs within a commit. It may run again when all that it did was undone through no fault of it."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._running = False
        self._conflicts = 0
        self.passes = False  # whether what the last try met was nobody's error

    def __call__(self) -> None:
        self._running, self.passes = True, False
        self._function()
        if connection.connection.pgconn.transaction_status == TransactionStatus.INERROR:
            raise TransactionBroken  # COMMIT would undo everything and report no error
        self._running = False

    def passing(self, error: BaseException) -> bool:
        """Whether the commit may succeed a moment later. What the function raised itself is mostly the job's error."""
        if self._running:
            self._conflicts += 1
            again = self._conflicts < CONFLICTS and trouble(error) is Trouble.CONFLICT
            self.passes = again or _gone(error)
        else:
            self.passes = _passing(error)
        self._running = False
        return self.passes


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
        A database that is away, locked or in conflict is nobody's error: the whole is tried again.
        """
        function = _Within(within)
        with self._lock:
            try:
                done = self._persist(lambda: self._within(verdict, function), None, function.passing)
            except BaseException as error:
                if function.passes:
                    raise
                finished.result, finished.error = None, error
                self.put(judge(kind, finished))
            else:
                self._count((verdict.outcome or "released") if done else "late", 1)

    def _within(self, verdict: Verdict, within: Callable[[], None]) -> bool:
        with transaction.atomic():
            with connection.cursor() as cur:
                cur.execute(f"set local statement_timeout = '{WITHIN_STATEMENT_TIMEOUT}'")
            return bool(endings.commit([verdict], worker=self.worker, within=within))

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
            done = self._persist(lambda: endings.commit(verdicts, worker=self.worker, on=on), on, _passing)
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

    def _persist(self, commit: Callable[[], T], on: Connection | None, again: Callable[[BaseException], bool]) -> T:
        """Commit, trying again while the database is away, until a rescuer may own the jobs."""
        began = time.monotonic()
        pause = 0.05
        while True:
            try:
                return commit()
            except store.DATABASE_ERRORS as error:
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
