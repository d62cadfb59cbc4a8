"""The thread beside the handlers: heartbeat, early flush, hand-back of what waits behind a slow job, cancel requests.

It has a connection of its own, because Django's belongs to the handler's thread.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psycopg
import structlog

from jobs import alarm, store, tuning, workers
from jobs.bell import connect
from jobs.late import Late
from jobs.runner import FLUSH_SECONDS, Shift

if TYPE_CHECKING:
    from jobs.store import Connection

logger = structlog.get_logger(__name__)

SLOW_SECONDS = 0.25  # a handler that has run so long is announced, and its batch goes to somebody else
TICK_SECONDS = 0.1
CANCEL_SECONDS = 1.0


class Watch:
    """One per worker process. `shift` is set while a batch runs."""

    def __init__(self, name: str, queues: list[str], kinds: list[str]) -> None:
        self._identity = (name, queues, kinds)
        self._link: Connection = connect("watch")
        self.worker = workers.announce(*self._identity, on=self._link)
        self.shift: Shift | None = None
        self.settle: Callable[[Connection], None] = lambda _link: None
        self.quiet: Callable[[], float] = lambda: 0.0  # for how long the process has made no progress (jobs/stall.py)
        self.ticks = 0
        self._late = Late()
        self._active = threading.Event()
        self._beaten = time.monotonic()
        self._asked = 0.0
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def begin(self, shift: Shift) -> None:
        """A batch starts."""
        self.shift = shift
        self._active.set()

    def end(self) -> None:
        """The batch has ended. The thread keeps ticking until the pump rests."""
        self.shift = None

    def rest(self) -> None:
        """The pump has ended: only the heartbeat goes on."""
        self._active.clear()

    def stop(self, last: "Callable[[Connection], object] | None" = None) -> None:
        """The process ends in order: do what is `last`, and sign off. Who cannot is found by its silence."""
        self._ended = True
        self._active.set()
        self._thread.join(timeout=2.0)
        try:
            if last is not None:
                last(self._link)
            workers.leave(self.worker, on=self._link)
        except psycopg.Error as error:
            logger.warning("not signed off", handler="watch", action="leave", details=str(error)[:200])
        self._link.close()

    def _run(self) -> None:
        while not self._stopped():
            if self._active.wait(workers.HEARTBEAT_SECONDS):
                time.sleep(TICK_SECONDS)  # the tick of the watch, not a wait for an event
            if self._stopped():
                return
            try:
                self._tick()
            except psycopg.Error as error:
                logger.warning("watch interrupted", handler="watch", action="tick", details=str(error)[:200])
                self._reconnect()

    def _stopped(self) -> bool:
        return self._ended

    def _tick(self) -> None:
        self.ticks += 1
        now = time.monotonic()
        if now - self._beaten >= workers.HEARTBEAT_SECONDS:
            self._beaten = now
            if not workers.beat(self.worker, quiet=self.quiet(), on=self._link):
                logger.warning("declared dead", handler="watch", action="beat", details=f"worker {self.worker}")
        self.settle(self._link)
        shift = self.shift
        if shift is None:
            return
        running = list(shift.running.values())
        longest = max((now - began for _, began in running), default=0.0)
        if longest >= SLOW_SECONDS and not shift.kind.is_async:
            shift.hand_back("slow_neighbour")
        self._late.look(shift.kind.expect, running, now)
        if len(shift.outbox) and longest >= FLUSH_SECONDS:
            shift.outbox.flush(self._link)
        self._announce(shift, now)
        if running and now - self._asked >= CANCEL_SECONDS and longest >= CANCEL_SECONDS:
            self._asked = now
            shift.kind = tuning.current(shift.kind, on=self._link)  # what runs long ends by what is set by then
            for job_id in workers.cancel_requests(self.worker, on=self._link):
                shift.hear_cancel(job_id, now)
        if not shift.kind.is_async:
            deadline = shift.pen.deadline()  # of what runs now; looked at before the job is
            if any(shift.deaf(job.id, now) for job, _ in list(shift.running.values())):
                alarm.hasten(deadline)

    def _announce(self, shift: Shift, now: float) -> None:
        if shift.kind.announces:
            return
        slow = [
            (job.id, job.project_id, job.claim_no)
            for job, began in list(shift.running.values())
            if now - began >= SLOW_SECONDS and job.id not in shift.announced
        ]
        if slow:
            shift.announced.update(job_id for job_id, _, _ in slow)
            store.announce_many(slow, worker=self.worker, on=self._link)

    def _reconnect(self) -> None:
        time.sleep(0.2)  # the database is away; there is no named moment to wait for
        try:
            if self._link.closed or self._link.broken:
                self._link = connect("watch")
        except psycopg.Error as error:
            logger.warning("no connection", handler="watch", action="connect", details=str(error)[:200])
