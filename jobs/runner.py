"""How a batch is run: claim → resolve → perform → judge → commit.

`run_batch` reads as that line; each step is a function of this module or of the one it names. What happens beside it
while a handler runs long (heartbeat, early flush, hand-back) is in `jobs/watch.py`.
"""

import inspect
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from jobs import alarm, awaiting, registry, slots, store
from jobs.errors import JobsError, LostClaim
from jobs.failures import bounded, from_exception
from jobs.judge import Finished, bad_outcome, judge, released
from jobs.outbox import Outbox
from jobs.outcomes import Done
from jobs.registry import Kind
from jobs.run import Run, Woken
from jobs.store import Claimed, Connection, Verdict

FLUSH_SECONDS = 0.05  # a finished outcome waits at most this long for its commit
LOG_LINES = 1000
LOG_LINE_BYTES = 1024


@dataclass(slots=True)
class Note:
    """What a running attempt noted: log lines, progress, finished steps, and whether somebody asked to stop it."""

    log: list[dict[str, Any]] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    progress_kept: float = 0.0
    steps: dict[str, Any] | None = None
    cancelled_at: float | None = None  # when somebody's wish to stop it was heard of (monotonic seconds)


class Shift:
    """One batch at work: what waits, what runs, what is finished. Shared with the watch thread, hence the lock."""

    def __init__(self, kind: Kind[Any], claimed: Sequence[Claimed], outbox: Outbox, pen: slots.Pen) -> None:
        self.kind = kind
        self.outbox = outbox
        self.pen = pen
        self.waiting = deque(claimed)
        self.running: dict[UUID, tuple[Claimed, float]] = {}
        self.notes: dict[UUID, Note] = {}
        self.started: set[UUID] = set()
        self.announced: set[UUID] = set()
        self.django = store.django()
        self.inside = self.django.in_atomic_block  # a test runs it all in a transaction, which is not the handlers' own

    # -- the desk of the runs (jobs/run.py: Desk)

    def step(self, run: Run[Any], name: str, work: Callable[[], Any]) -> Any:
        """Return the remembered result of a step, or do its work and remember it durably."""
        if self.kind.is_async:
            return self._step_async(run, name, work)
        steps = self._steps(run)
        if name not in steps:
            result = work()
            self.outbox.keep(self.running[run.id][0], steps={name: result}, on=self._link())
            steps[name] = result
        return steps[name]

    async def _step_async(self, run: Run[Any], name: str, work: Callable[[], Any]) -> Any:
        steps = self._steps(run)
        if name not in steps:
            result = work()
            if inspect.isawaitable(result):
                result = await result
            self.outbox.keep(self.running[run.id][0], steps={name: result}, on=self._link())
            steps[name] = result
        return steps[name]

    def _link(self) -> Connection | None:
        """The connection for what a handler notes. Inside of an event loop Django does not show its own."""
        return self.django.connection if self.kind.is_async else None

    def _steps(self, run: Run[Any]) -> dict[str, Any]:
        job, _ = self.running[run.id]
        note = self.notes.setdefault(run.id, Note())
        if note.steps is None:
            note.steps = orjson.loads(job.steps) if job.steps else {}
        return note.steps

    def progress(self, run: Run[Any], done: float, total: float, note: str) -> None:
        """Note progress; the watch thread or the commit writes it, at most once a second."""
        mine = self.notes.setdefault(run.id, Note())
        mine.progress = {"done": done, "total": total, "note": bounded(note, 200)}
        if time.monotonic() - mine.progress_kept >= 1.0:
            mine.progress_kept = time.monotonic()
            self.outbox.keep(self.running[run.id][0], progress=mine.progress, on=self._link())

    def log(self, run: Run[Any], message: str, values: Mapping[str, Any]) -> None:
        """Keep a line with the attempt; the oldest go first when there are too many."""
        lines = self.notes.setdefault(run.id, Note()).log
        line = {"at": round(time.time(), 3), "message": bounded(message, LOG_LINE_BYTES), **values}
        if values and len(text := orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS)) > LOG_LINE_BYTES:
            line = {"at": line["at"], "message": bounded(text.decode(), LOG_LINE_BYTES), "cut": True}
        lines.append(line)
        if len(lines) > LOG_LINES:
            del lines[: LOG_LINES // 10]

    def cancelled(self, run: Run[Any]) -> bool:
        """Whether somebody asked to stop the job."""
        note = self.notes.get(run.id)
        return note is not None and note.cancelled_at is not None

    def hear_cancel(self, job_id: UUID, now: float) -> None:
        """Somebody asked to stop a job."""
        note = self.notes.setdefault(job_id, Note())
        if note.cancelled_at is None:
            note.cancelled_at = now

    def deaf(self, job_id: UUID, now: float) -> bool:
        """Whether a job was asked to stop, and has not in the time that its kind gives it."""
        note = self.notes.get(job_id)
        return note is not None and note.cancelled_at is not None and now - note.cancelled_at >= self.kind.cancel_grace

    def woken(self, run: Run[Any]) -> Woken | None:
        """What ended the last waiting of the job."""
        job, _ = self.running[run.id]
        if job.claim_no == 1:
            return None
        return awaiting.woken(run.project_id, run.id, on=self._link())

    # -- the steps of the batch

    def next(self) -> Claimed | None:
        """Take the next job off the pile; None when nothing is left or the worker shuts down."""
        if slots.stopping():
            self.hand_back("shutdown")
        try:
            job = self.waiting.popleft()
        except IndexError:
            return None
        self.running[job.id] = (job, time.monotonic())
        self.started.add(job.id)
        return job

    def finish(self, job: Claimed, result: Any, error: BaseException | None) -> None:
        """Judge a finished attempt and put the verdict into the outbox."""
        _, began = self.running.pop(job.id)
        note = self.notes.pop(job.id, None)
        if isinstance(error, LostClaim):
            return
        finished = Finished(job, result, error, time.monotonic() - began)
        if note is not None:
            finished.log, finished.progress = note.log, note.progress
            finished.cancelled = note.cancelled_at is not None
        verdict = _judge(self.kind, finished)
        within = result.within if error is None and isinstance(result, Done) else None
        if within is not None and verdict.event == "job.processed":
            self.outbox.commit_within(verdict, within, self.kind, finished)
        else:
            self.outbox.put(verdict)
        if verdict.wait is not None and verdict.limit is not None:
            self.hand_back("limit_closed", limit_id=job.limit_id)

    def hand_back(self, reason: str, *, limit_id: int | None = None) -> int:
        """Give back what has not started, or what of it has this key. Safe from any thread: each job is popped once."""
        back: list[Claimed] = []
        others: list[Claimed] = []
        while self.waiting:
            try:
                job = self.waiting.pop()
            except IndexError:
                break
            (back if limit_id is None or job.limit_id == limit_id else others).append(job)
        self.waiting.extendleft(others)
        for job in reversed(back):
            self.outbox.put(released(job, reason))
        return len(back)


def _judge(kind: Kind[Any], finished: Finished) -> Verdict:
    try:
        return judge(kind, finished)
    except BaseException as error:  # noqa: BLE001 - an answer or a note may hold anything; it must not break its batch
        return bad_outcome(kind, finished, from_exception(error).message)


def run_batch(shift: Shift) -> None:
    """Run a claimed batch of a sync kind to its end, flushing finished outcomes every 50 ms."""
    kind, outbox = shift.kind, shift.outbox
    flushed = time.monotonic()
    while (job := shift.next()) is not None:
        result, error = _perform(shift, job)
        shift.finish(job, result, error)
        if kind.retry.one_shot:
            # Until its outcome is committed nobody else may take it for one that has not run.
            shift.pen.started(job.id, job.claim_no, 0.0)
            try:
                outbox.flush()
            finally:
                shift.pen.ended()
            continue
        shift.pen.ended()
        now = time.monotonic()
        if now - flushed >= FLUSH_SECONDS:
            outbox.flush()
            flushed = now
    outbox.flush()


def resolve(shift: Shift, job: Claimed) -> Run[Any]:
    """From the claimed row to what the handler receives.

    Raises:
        BadPayload: the stored payload does not fit the model of this version of the code.
    """
    try:
        payload = shift.kind.payload.model_validate_json(job.payload)
    except ValidationError as error:
        raise BadPayload(str(error)) from None
    return Run(
        id=job.id,
        kind=shift.kind.name,
        attempt=job.attempt,
        payload=payload,
        project_id=job.project_id,
        metadata=orjson.loads(job.metadata) if job.metadata else {},
        lane=job.lane,
        desk=shift,
    )


class BadPayload(JobsError):
    """The stored payload does not fit the kind's model."""

    code = "bad_payload"


def _perform(shift: Shift, job: Claimed) -> tuple[Any, BaseException | None]:
    """Call the handler under its timeout. Whatever it raises is a value here; nothing of it leaves the batch."""
    kind = shift.kind
    deadline = time.monotonic() + (job.timeout or kind.timeout)
    token = registry.current_job.set(job)
    result: Any = None
    error: BaseException | None = None
    try:
        run = resolve(shift, job)
        shift.pen.started(job.id, job.claim_no, deadline)
        alarm.start(deadline)
        result = kind.handle(run)
        alarm.end()
    except BaseException as raised:  # noqa: BLE001 - SystemExit, KeyboardInterrupt and TimedOut are failed attempts too
        alarm.end()
        error = raised
    finally:
        registry.current_job.reset(token)
    if not shift.inside and store.left_open(shift.django) and error is None:
        error = TransactionLeftOpen()
    return None if error else result, error


class TransactionLeftOpen(JobsError):
    """The handler returned inside a transaction, which was undone."""

    code = "transaction_left_open"
