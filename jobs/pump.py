"""What a doorbell starts: claim what is due of a kind, run it, commit it, go on; linger a while when nothing is due."""

import datetime as dt
import threading
import time
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID

import psycopg
import structlog

from events import consumers
from jobs import doorbells, limits, registry, shelves, slots, store, tuning, window, workers
from jobs.bell import Ear, bell
from jobs.fairness import Turns
from jobs.outbox import Outbox
from jobs.registry import Kind
from jobs.runner import Shift, run_batch
from jobs.states import CANARIES
from jobs.watch import Watch

logger = structlog.get_logger(__name__)

BUDGET_SECONDS = 30.0  # a pump ends after this, so that its process can be recycled and its queue stays fair
LINGER_SECONDS = 5.0
LOOK_SECONDS = 0.25  # how often a lingering pump looks whether its slot is still not needed
WORK_SECONDS = 0.075  # a batch is sized for so much work
FIRST_BATCH = 16  # before anything was measured
DEAF_SECONDS = 0.05  # while a handler runs, nobody reads what its connection hears: a slow kind does not listen then
CROWD_SECONDS = 0.05  # how often a pump looks whether another kind waits for its slot
PLANS_SECONDS = 10.0
REFILL_AGAIN_SECONDS = 0.5
CAPPED_EVERY = 16  # claims; shelves with a cap are rare and get their turn between the others


@dataclass(slots=True)
class Pace:
    """How long one job of a kind takes, as measured: an exponentially weighted mean, in seconds."""

    seconds: float = WORK_SECONDS / FIRST_BATCH

    def measure(self, jobs: int, seconds: float) -> None:
        """Take a finished batch into account."""
        if jobs:
            self.seconds += 0.3 * (seconds / jobs - self.seconds)

    def batch(self, most: int) -> int:
        """How many jobs make about 75 ms of work."""
        return max(1, min(most, int(WORK_SECONDS / max(self.seconds, 1e-6))))


@dataclass(slots=True)
class Post:
    """What a worker process has for its whole life: its watch, its slot in shared memory, its measured paces."""

    watch: Watch
    pen: slots.Pen
    paces: dict[str, Pace] = field(default_factory=dict)
    turns: dict[str, Turns] = field(default_factory=dict)
    broken_off: set[UUID] = field(default_factory=set)
    planned_at: float = float("-inf")
    unsettled: bool = False  # a pump broke off: jobs, or its doorbell, may be left behind
    refilled_in_vain: float = float("-inf")
    looked: float = float("-inf")  # whether another kind waits for the slot of a window
    at_work: threading.Lock = field(default_factory=threading.Lock)  # held by a pump, and while its remains are settled

    def __post_init__(self) -> None:
        self.watch.settle = self.settle

    def settle(self, link: store.Connection) -> None:
        """Take back what a pump that broke off still holds, without waiting for the next doorbell: none may come.

        Called by the watch thread, between two pumps.
        """
        if not self.unsettled or not self.at_work.acquire(blocking=False):
            return
        try:
            workers.rescue_own(self.worker, self.broken_off, on=link)
            self.broken_off.clear()
            doorbells.hang_up(self.worker, on=link)
            self.unsettled = False
        finally:
            self.at_work.release()

    def leave(self, link: store.Connection) -> None:
        """Take back what is still held: the process ends, and nobody asks after one that has signed off."""
        workers.rescue_own(self.worker, self.broken_off, on=link)

    @property
    def worker(self) -> int:
        """The id under which this process claims."""
        return self.watch.worker


def answer(post: Post, kind_name: str, doorbell: UUID | None) -> dict[str, Any]:
    """Run one pump. Returns what Flower shows: `{kind, claimed, processed, retried, failed, blocked, ...}`."""
    kind = registry.get(kind_name)
    outbox = Outbox(post.worker, bell)
    claimed = 0
    with post.at_work:
        try:
            _answered(post, kind, doorbell)
            claimed = _pump(post, kind, outbox)
        except BaseException:
            post.unsettled = True
            raise
        finally:
            post.watch.rest()
            _hang_up(post)
    counts = outbox.counts
    return {
        "kind": kind.name,
        "claimed": claimed,
        "processed": counts.get("done", 0),
        "retried": counts.get("retried", 0),
        "failed": counts.get("failed", 0) + counts.get("rejected", 0),
        "blocked": counts.get("blocked", 0),
    } | {name: counts[name] for name in ("parked", "cancelled", "released", "late") if name in counts}


def consume(post: Post, name: str, doorbell: UUID | None) -> dict[str, Any]:
    """Run one consumer of the log until it has read all. Returns `{kind, processed}`."""
    kind = f"events.{name}"
    read = 0
    with post.at_work:
        try:
            doorbells.answer(doorbell, kind, consumers.QUEUE, post.worker)
            ends = time.monotonic() + BUDGET_SECONDS
            while not slots.stopping() and time.monotonic() < ends:
                number = consumers.run(name)
                read += number
                if number < consumers.SUBSCRIPTIONS[name].batch:  # the relay rings for what comes later
                    break
        finally:
            _hang_up(post)
    return {"kind": kind, "processed": read}


def _pump(post: Post, kind: Kind[Any], outbox: Outbox) -> int:
    pace = post.paces.setdefault(kind.name, Pace())
    ear = Ear()
    try:
        return _rounds(post, kind, outbox, pace, ear)
    finally:
        ear.close()


def _rounds(post: Post, kind: Kind[Any], outbox: Outbox, pace: Pace, ear: Ear) -> int:
    claimed, uncapped = 0, 0
    every = 2 if kind.is_async else CAPPED_EVERY  # a window may take long
    hint: tuple[int, ...] = ()
    ends = time.monotonic() + BUDGET_SECONDS
    looked = time.monotonic()
    thorough = True  # look at both sorts of shelves before lingering; behind that, at a hint, the usual sort is enough
    busy = False
    while not slots.stopping():
        kind = tuning.current(kind)
        capped = not hint and uncapped >= every - 1
        taken = _work(post, kind, outbox, pace, capped=capped, hint=hint)
        uncapped = 0 if capped else uncapped + 1
        if not taken and (capped or thorough):
            taken = _work(post, kind, outbox, pace, capped=not capped, hint=hint)
        claimed += taken
        now = time.monotonic()
        if now > ends:
            break
        if taken:
            hint = ()
            if busy:
                ear.close()
            busy = True
            if now - looked > CROWD_SECONDS:
                looked = now
                if _crowded(kind):
                    break
            continue
        busy = False
        if kind.name.startswith(CANARIES) or not _slot_free(kind.queue):  # the next canary is a minute away
            break
        if ear.open(store.connection_of_django()):
            # What was committed between the empty claim and LISTEN was not notified to us: look once more.
            thorough = True
            continue
        heard = _linger(kind, ear, min(ends, now + LINGER_SECONDS))
        if heard is None:
            break
        hint = tuple(heard)
        # Nobody told which shelf, or what came back to one: that may have a cap.
        thorough = not hint or any(heard.values())
        if kind.is_async or pace.seconds > DEAF_SECONDS:
            ear.close()
    return claimed


def _work(post: Post, kind: Kind[Any], outbox: Outbox, pace: Pace, *, capped: bool, hint: tuple[int, ...]) -> int:
    """Claim one batch and run it."""
    most = min(kind.batch.max, kind.window) if kind.is_async else pace.batch(kind.batch.max)
    jobs = _claim(post, kind, most, capped=capped, hint=hint)
    if not jobs:
        return 0
    shift = Shift(kind, jobs, outbox, post.pen)
    post.watch.begin(shift)
    began = time.monotonic()
    try:
        if kind.is_async:
            # What came back with a cap is looked for by halves: new jobs among it would hide the culprit for ever.
            return window.run_window(shift, refill=_no_refill if capped else partial(_refill, post, shift))
        run_batch(shift)
    except BaseException:
        # The handlers of these ran (or may have), and their outcomes were not committed: they are charged.
        post.broken_off |= shift.started
        raise
    finally:
        post.watch.end()
    pace.measure(len(jobs), time.monotonic() - began)
    if len(jobs) == most and not capped and kind.limit is None:
        _raise_marks(jobs)
    return len(jobs)


def _claim(
    post: Post, kind: Kind[Any], batch: int, *, capped: bool = False, hint: tuple[int, ...] = ()
) -> list[store.Claimed]:
    turns = post.turns.setdefault(kind.name, Turns())
    how: dict[str, Any] = {
        "worker": post.worker,
        "announce": kind.announces,
        "capped": capped,
        "hint": hint,
        "served": turns.served(),
        "lazy": _may_be_lazy(kind),
    }
    jobs = limits.claim(kind, batch, **how) if kind.limit else store.claim_many(kind.name, batch=batch, **how)
    turns.take([(job.project_id, job.weight) for job in jobs])
    return jobs


def _refill(post: Post, shift: Shift, room: int) -> list[store.Claimed]:
    """Claim for a window that is at work. Its jobs run on while the database is away.

    It is not filled while another kind waits for the slot, or jobs with a cap for a window of their own.
    """
    now = time.monotonic()
    if now - post.refilled_in_vain < REFILL_AGAIN_SECONDS:
        return []
    try:
        if now - post.looked >= CROWD_SECONDS:
            post.looked = now
            _plan_anew(post)
            if _crowded(shift.kind, capped=True):
                post.refilled_in_vain = now
                return []
        kind = shift.kind = tuning.current(shift.kind)
        jobs = _claim(post, kind, room)
        if len(jobs) == room and kind.limit is None:
            _raise_marks(jobs)
    except store.DATABASE_ERRORS as error:
        # The claim may have been made: what it took stands under our name until the watch gives it back.
        post.refilled_in_vain, post.unsettled = time.monotonic(), True
        logger.warning("window not refilled", handler="pump", action="refill", details=str(error)[:200])
        store.drop_broken_connection()
        return []
    return jobs


def _no_refill(_room: int) -> list[store.Claimed]:
    return []


def _may_be_lazy(kind: Kind[Any]) -> bool:
    """Whether a claim need not wait for the disk: nobody can have read of it, and running twice is allowed."""
    return not kind.retry.one_shot and not kind.announces


_raised: dict[int, float] = {}
RAISE_SECONDS = 0.2


def _raise_marks(jobs: list[store.Claimed]) -> None:
    """Tell how far the shelves have been emptied; a few times a second are enough."""
    now = time.monotonic()
    marks: dict[int, dt.datetime] = {}
    for job in jobs:
        if now - _raised.get(job.shelf_id, 0.0) >= RAISE_SECONDS:
            marks[job.shelf_id] = max(job.due_at, marks.get(job.shelf_id, job.due_at))
    if marks:
        _raised.update(dict.fromkeys(marks, now))
        shelves.raise_marks(marks)


def _linger(kind: Kind[Any], ear: Ear, until: float) -> dict[int, bool] | None:
    """Wait for a notification of this kind while a slot is free beside it. None: end the pump."""
    while (left := until - time.monotonic()) > 0 and not slots.stopping():
        heard = ear.hear(min(left, LOOK_SECONDS))
        if heard is None:
            return {}
        if mine := shelves.of_kind(kind.name, heard):
            return {shelf: heard[shelf] for shelf in mine}
        if not _slot_free(kind.queue):
            return None
    return None


def _crowded(kind: Kind[Any], *, capped: bool = False) -> bool:
    """Whether another kind of the same queue has something due; or this one, with a cap."""
    others = [other.name for other in registry.kinds() if other.queue == kind.queue and other.name != kind.name]
    return shelves.any_due(others, capped_of=kind.name if capped else None)


def _slot_free(queue: str) -> bool:
    return doorbells.free_slots(queue) > 0


def _answered(post: Post, kind: Kind[Any], doorbell: UUID | None) -> None:
    workers.rescue_own(post.worker, post.broken_off)
    post.broken_off.clear()
    doorbells.answer(doorbell, kind.name, kind.queue, post.worker)
    _plan_anew(post)


def _plan_anew(post: Post) -> None:
    """Forget the plans now and then: one that was made while the tables were empty would stay as they fill."""
    now = time.monotonic()
    if now - post.planned_at >= PLANS_SECONDS:
        post.planned_at = now
        psycopg.Cursor(store.connection_of_django()).execute("discard plans")


def _hang_up(post: Post) -> None:
    try:
        store.drop_broken_connection()
        doorbells.hang_up(post.worker)
    except store.DATABASE_ERRORS as error:
        post.unsettled = True
        logger.warning("doorbell not hung up", handler="pump", action="end", details=str(error)[:200])
