"""How jobs of an async kind are run: a sliding window on one event loop, refilled as each ends.

A job's timeout counts its own time. While a neighbour holds the loop, or the outcomes of others are committed, a job
cannot go on; it is not charged for that.
"""

import asyncio
import time
import types
from collections.abc import Callable, Collection, Coroutine, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from jobs import slots
from jobs.errors import TimedOut
from jobs.registry import current_job
from jobs.runner import FLUSH_SECONDS, Shift, resolve
from jobs.store import Claimed

CANCEL_SECONDS = 2.0

_loop: asyncio.AbstractEventLoop | None = None

Ended = tuple[Claimed, Any, BaseException | None]


@dataclass(slots=True)
class Stint:
    """A job in the window, and how much of its time it has had. Seconds; moments are monotonic."""

    job: Claimed
    limit: float
    began: float
    held_before: float  # for how long the loop had been held when it began
    own: float = 0.0  # for how long it held the loop itself
    over_at: float | None = None  # when its time was over and it was cancelled

    def left(self, now: float, held: float) -> float:
        """How much of its time is left, when the loop has been held for so long altogether."""
        others = max(0.0, held - self.held_before - self.own)
        return self.limit - (now - self.began - others)


def run_window(shift: Shift, *, refill: Callable[[int], Sequence[Claimed]]) -> int:
    """Run a claimed batch of an async kind, and what `refill(room)` claims behind it. Returns how many jobs ran.

    The loop runs in turns; between two turns, with no loop running, outcomes are judged and committed, because
    Django's connection must not be used from inside a loop.
    """
    global _loop  # noqa: PLW0603 - one event loop per process, kept so that clients of handlers survive
    if _loop is None:
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    running: dict[asyncio.Task[Ended], Stint] = {}
    try:
        return _run_window(shift, _loop, running, refill)
    except BaseException:
        if running:
            _abandon(_loop, running)
        raise


def _abandon(loop: asyncio.AbstractEventLoop, running: Collection[asyncio.Task[Ended]]) -> None:
    """End what still runs: these jobs will run again, and must not go on beside that in the next window."""
    global _loop  # noqa: PLW0603 - as above
    for task in running:
        task.cancel()
    _, deaf = loop.run_until_complete(asyncio.wait(running, timeout=CANCEL_SECONDS))
    if deaf:
        _loop = None  # what does not end is never resumed: nobody runs its loop again


def _run_window(
    shift: Shift,
    loop: asyncio.AbstractEventLoop,
    running: dict[asyncio.Task[Ended], Stint],
    refill: Callable[[int], Sequence[Claimed]],
) -> int:
    kind = shift.kind
    count, held = 0, 0.0
    flushed = stopped = time.monotonic()
    while True:
        began = time.monotonic()
        held += began - stopped
        while len(running) < kind.window and (job := shift.next()) is not None:
            count += 1
            stint = Stint(job, job.timeout or shift.kind.timeout, began, held)
            running[loop.create_task(_run(shift, stint))] = stint
        if not running:
            break
        shift.pen.window(_latest(running.values(), began, held))
        turn = asyncio.wait(running, timeout=FLUSH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        ended, _ = loop.run_until_complete(turn)
        stopped = time.monotonic()
        held += max(0.0, stopped - began - FLUSH_SECONDS)
        shift.pen.window(0.0)
        for task in ended:
            del running[task]
            shift.finish(*task.result())
        _end_those_over(shift, running, stopped, held)
        if len(shift.outbox) and (not running or stopped - flushed >= FLUSH_SECONDS):
            flushed = stopped
            shift.outbox.flush()
        room = kind.window - len(running) - len(shift.waiting)
        if room >= max(1, kind.window // 4) and not slots.stopping():
            shift.waiting.extend(refill(room))
    shift.pen.window(0.0)  # no handler runs, but until the flush what ran may be taken for what has not
    try:
        shift.outbox.flush()
    finally:
        shift.pen.ended()
    return count


def _latest(stints: Collection[Stint], now: float, held: float) -> float:
    """The moment at which the loop must turn again, or the process is ended: nobody in the window has time for more.

    It has passed when somebody was cancelled and does not end.
    """
    over = [stint.over_at for stint in stints if stint.over_at is not None]
    return min(over) if over else now + max(stint.left(now, held) for stint in stints)


def _end_those_over(shift: Shift, running: dict[asyncio.Task[Ended], Stint], now: float, held: float) -> None:
    for task, stint in running.items():
        if stint.over_at is None and (stint.left(now, held) <= 0 or shift.deaf(stint.job.id, now)):
            stint.over_at = now
            task.cancel()


async def _run(shift: Shift, stint: Stint) -> Ended:
    job = stint.job
    current_job.set(job)  # the task has a context of its own
    try:
        run = resolve(shift, job)
        return job, await _measured(shift.kind.handle(run), stint), None  # type: ignore[arg-type]
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises is a failed attempt
        return job, None, TimedOut() if stint.over_at is not None else error


@types.coroutine
def _measured(handler: Coroutine[Any, Any, Any], stint: Stint) -> Generator[Any, Any, Any]:
    """Run a coroutine step by step, and note for how long each of its steps held the loop."""
    error: BaseException | None = None
    while True:
        began = time.monotonic()
        try:
            waits_for = handler.send(None) if error is None else handler.throw(error)
        except StopIteration as end:
            return end.value
        finally:
            stint.own += time.monotonic() - began
        try:
            error = None
            yield waits_for
        except BaseException as raised:  # noqa: BLE001 - a cancellation is the handler's to see
            error = raised
