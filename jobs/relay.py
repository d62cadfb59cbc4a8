"""The relay rings Celery: "kind X has due jobs". It also sweeps the shelves, wakes the parked and rescues the dead.

Everything here is a repair of hints from the truth in the database, so any number of relays may run, each may die at
any moment, and none must run for a job to stay safe.
"""

import math
import time
from dataclasses import dataclass, field

import psycopg
import structlog
from celery import Celery
from django.conf import settings
from django.db import connection
from kombu.exceptions import OperationalError as BrokerError

from events import consumers, log, sealing
from jobplatform import tracing
from jobs import (
    batches,
    bulk,
    canary,
    doorbells,
    lanes,
    limits,
    pauses,
    registry,
    schedule,
    services,
    shelves,
    store,
    workers,
)
from jobs.bell import CHANNEL, decode
from jobs.doorbells import InFlight, Queue
from jobs.firing import Rounds
from jobs.pulse import Pulse
from jobs.shelves import DueKind
from jobs.states import LIVE_SECONDS

logger = structlog.get_logger(__name__)

POLL_SECONDS = 0.25
ACTIVE_SECONDS = 1.0  # behind the last thing that happened; then it looks only with its chores, or when a job is due
CHORES_SECONDS = 1.0
HELD_EVERY = 15.0
COUNTED_EVERY = 60.0
SOONEST_SECONDS = 0.02  # what limits let out together within this time
PARTITIONS_EVERY = 3600.0
SCHEDULES_EVERY = 60.0  # beat fires them; this is for what it missed
SCHEDULES_BUDGET = 0.2  # seconds; it must not keep the doorbells waiting
SEALS_BUDGET = 0.2  # seconds of each round of chores
SEALS_AGAIN_SECONDS = 10.0  # how soon it is tried again to seal what cannot be sealed
SETTLE_SECONDS = 0.003  # a lingering pump hears the same notification and is usually faster
BROKER_AGAIN_SECONDS = 1.0  # how soon the broker is tried again that did not take a doorbell
BUSY_SECONDS = 0.02  # with pumps at work on a kind, another is rung only when something is due for longer than this
SWEEP_SHARE = 50  # a sweep may take a fiftieth of the time
LOCK = 7_301_990_144  # advisory lock: one relay rings at a time


@dataclass(slots=True)
class Relay:
    """The loop of one relay process. `step` is one round, so that tests can call it."""

    app: Celery
    stopping: bool = False
    _chores_at: float = 0.0
    _sweep_at: float = 0.0
    _lanes_at: float = 0.0
    _held_at: float = 0.0
    _partitions_at: float = 0.0
    _counted_at: float = 0.0
    _limits_at: float = 0.0
    _schedules_at: float = 0.0
    _schedules: Rounds = field(default_factory=Rounds)
    _canaries_at: float = 0.0
    _seals_at: float = 0.0
    _held_out: bool = False  # another relay was ringing, or hangs in the middle of it: then this is no round
    _pulse: Pulse = field(default_factory=lambda: Pulse("relay"))
    _broker_at: float = 0.0
    _active_until: float = 0.0
    _due_at: float = 0.0  # when the next job is due that is not yet
    _pause: float = field(default=0.1)

    def run(self) -> None:
        """Run until `stopping`. Survives the loss of the database and of the broker."""
        while not self.stopping:
            try:
                self._start()
                while not self.stopping:
                    self.step(self._patience())
                    self._pause = 0.1
            except store.DATABASE_ERRORS as error:
                logger.warning("database away", handler="relay", action="wait", details=str(error)[:200])
                # Also one that still stands, to a database that takes no writes: while it did not, no heart could be
                # heard either, and whether somebody is dead is told by a connection that has stood for long enough.
                connection.close()
                time.sleep(self._pause)  # the database is away; there is no named moment to wait for
                self._pause = min(2.0, self._pause * 2)

    def _start(self) -> None:
        log.adopt_cluster()
        self._partitions_at = 0.0
        self._make_partitions()
        consumers.ensure_rows()
        schedule.ensure_rows()
        limits.align()
        psycopg.Cursor(store.connection_of_django()).execute(f"listen {CHANNEL}")
        shelves.sweep()

    def _patience(self) -> float:
        """For how many seconds nothing needs a look: notifications tell of new jobs, the marks of those that wait."""
        now = time.monotonic()
        if now < self._active_until:
            return POLL_SECONDS
        return min(self._chores_at, max(self._due_at, self._broker_at)) - now

    def step(self, patience: float) -> None:
        """Wait up to `patience` seconds for news, then do what is due."""
        self._listen(max(SOONEST_SECONDS, min(patience, self._limits_at - time.monotonic())))
        now = time.monotonic()
        if now >= self._limits_at:
            wait = limits.sweep()
            self._limits_at = math.inf if wait is None else now + min(CHORES_SECONDS, wait)
        if now >= self._sweep_at:
            shelves.sweep()
            taken = time.monotonic() - now
            self._sweep_at = now + max(CHORES_SECONDS, SWEEP_SHARE * taken)
        if now >= self._chores_at:
            self._chores_at = now + CHORES_SECONDS
            self.chores()
        self.ring()
        if not self._held_out:
            self._pulse.round(time.monotonic() - now)

    def chores(self) -> None:
        """Wake what is parked; rescue what the dead hold; fire what beat missed; end who holds back the log."""
        with store.run("chores", {"live": LIVE_SECONDS, "consumers": list(consumers.SUBSCRIPTIONS)}) as cur:
            ((parked, standing, grouped, paused, limited, silent, unread, unsealed, due_in),) = cur.fetchall()
        while parked and services.wake_parked():
            pass
        if standing:
            self._sweep_lanes()
        while grouped and batches.sweep() == batches.SWEPT:
            pass
        now = time.monotonic()
        if limited:
            self._limits_at = min(self._limits_at, now)
        self._due_at = now if unread else math.inf if due_in is None else now + due_in
        if time.monotonic() >= self._counted_at:
            self._counted_at = time.monotonic() + COUNTED_EVERY
            limits.recount()
            bulk.close_orphans()
        if paused:
            pauses.apply()
        for worker in workers.stale(on=store.connection_of_django()) if silent else ():
            workers.rescue(worker, started=None, seen=False)
        self._seal(wanted=unsealed)
        self._make_partitions()
        if time.monotonic() >= self._schedules_at:
            complete = self._schedules.step(budget=SCHEDULES_BUDGET) > 0
            self._schedules_at = time.monotonic() + (SCHEDULES_EVERY if complete else CHORES_SECONDS)
        if settings.CANARY_SECONDS and time.monotonic() >= self._canaries_at:
            self._canaries_at = time.monotonic() + min(canary.LOOK_SECONDS, settings.CANARY_SECONDS)
            canary.send(doorbells.queues(on=store.connection_of_django()), every=settings.CANARY_SECONDS)
        if settings.LOG_HELD_SECONDS and time.monotonic() >= self._held_at:
            self._held_at = time.monotonic() + HELD_EVERY
            for writer in log.end_writers(settings.LOG_HELD_SECONDS):
                logger.error("writer ended", handler="relay", action="end_writer", details=repr(writer))

    def _seal(self, *, wanted: bool) -> None:
        """Seal the audit record. One that was tampered with may refuse, and must not keep the doorbells waiting."""
        if not wanted or time.monotonic() < self._seals_at:
            return
        try:
            sealing.seal(seconds=SEALS_BUDGET)
        except Exception as error:
            if connection.connection is None or connection.connection.closed:
                raise  # the database is away
            self._seals_at = time.monotonic() + SEALS_AGAIN_SECONDS
            logger.error("audit record not sealed", handler="relay", action="seal", details=repr(error)[:500])

    def _sweep_lanes(self) -> None:
        began = time.monotonic()
        if began >= self._lanes_at:
            while lanes.sweep() == lanes.SWEPT:
                pass
            taken = time.monotonic() - began
            self._lanes_at = began + max(CHORES_SECONDS, SWEEP_SHARE * taken)

    def _make_partitions(self) -> None:
        """The schedule that makes the days of the log ahead may stand still; nothing can be written without them."""
        if time.monotonic() >= self._partitions_at:
            self._partitions_at = time.monotonic() + PARTITIONS_EVERY
            log.ensure_partitions()

    def ring(self) -> int:
        """Ring for the kinds that are due and whose queue has a free slot. Returns how many doorbells were sent."""
        now = time.monotonic()
        if now < self._broker_at:
            return 0
        self._held_out = False
        if self._active_until <= now < self._due_at:
            return 0
        self._due_at = math.inf  # the chores will know
        link = store.connection_of_django()
        due = shelves.due_kinds()
        waiting = consumers.waiting()
        if not due and not waiting:
            return 0
        self._active_until = now + ACTIVE_SECONDS
        with psycopg.Cursor(link) as cur:
            row = cur.execute("select pg_try_advisory_lock(%s)", (LOCK,)).fetchone()
            if not (row and row[0]):
                self._held_out = True
                return 0
            try:
                return self._ring(due, waiting)
            finally:
                cur.execute("select pg_advisory_unlock(%s)", (LOCK,))

    def _ring(self, due: list[DueKind], waiting: list[str]) -> int:
        link = store.connection_of_django()
        queues = doorbells.queues(on=link)
        flying = doorbells.in_flight(on=link)
        used: dict[str, int] = {}
        for bells in flying.values():
            used[bells.queue] = used.get(bells.queue, 0) + bells.unanswered + bells.answered
        wanted = [(item.kind, item.late) for item in due] + [(f"events.{name}", None) for name in waiting]
        rung = 0
        for kind, late in wanted:
            queue = _queue_of(kind, queues)
            if queue is None or used.get(queue.name, 0) >= queue.slots:
                continue
            if not _more(flying.get((kind, queue.name)), late):
                continue
            if not self._send(kind, queue.name, link):
                # A broker that hangs takes seconds to refuse each doorbell, and the chores must not wait for them all.
                self._broker_at = time.monotonic() + BROKER_AGAIN_SECONDS
                break
            used[queue.name] = used.get(queue.name, 0) + 1
            rung += 1
        return rung

    def _send(self, kind: str, queue: str, link: store.Connection) -> bool:
        doorbell = doorbells.ring(kind, queue, on=link)
        try:
            with tracing.ringing(kind) as headers:
                self.app.send_task(
                    kind, args=[str(doorbell)], queue=queue, ignore_result=True, retry=False, headers=headers
                )
        except (BrokerError, OSError) as error:
            doorbells.forget([doorbell], on=link)
            logger.warning("broker away", handler="relay", action="ring", details=f"{kind}: {str(error)[:200]}")
            return False
        return True

    def _listen(self, patience: float) -> None:
        """Wait for notifications of filled shelves, and put the marks of those right."""
        link = store.connection_of_django()
        # Each generator holds the connection until it ends, so it ends before anything else is asked.
        notices = list(link.notifies(timeout=patience, stop_after=1))
        if not notices:
            return
        self._active_until = time.monotonic() + ACTIVE_SECONDS
        time.sleep(SETTLE_SECONDS)
        notices += link.notifies(timeout=0)
        filled: dict[int, bool] = {}
        for notice in notices:
            named = decode(notice.payload)
            if named is None:
                shelves.sweep()
                return
            for shelf, sweep in named.items():
                filled[shelf] = sweep or filled.get(shelf, False)
        late = [shelf for shelf, sweep in filled.items() if sweep]
        prompt = [shelf for shelf, sweep in filled.items() if not sweep]
        if late:
            shelves.sweep(late)
        if prompt:
            shelves.lower(prompt)


def _more(bells: InFlight | None, late: float | None) -> bool:
    """Whether to ring for a kind, given what rings or runs already. `late` None: one pump at a time is enough."""
    if bells is None:
        return True
    return not bells.unanswered and late is not None and late > BUSY_SECONDS


def _queue_of(kind: str, queues: dict[str, Queue]) -> Queue | None:
    """The queue whose live workers know a kind; a kind that none knows stays queued."""
    registered = registry.find(kind)
    if registered is not None and registered.queue in queues and kind in queues[registered.queue].kinds:
        return queues[registered.queue]
    return next((queue for queue in queues.values() if kind in queue.kinds), None)
