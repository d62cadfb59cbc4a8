"""How jobs of an async kind are run: a sliding window on one event loop, refilled as each ends."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from jobs import slots
from jobs.errors import TimedOut
from jobs.registry import current_project
from jobs.runner import FLUSH_SECONDS, Shift, resolve
from jobs.store import Claimed

CANCEL_SECONDS = 2.0
BUDGET_SECONDS = 5.0  # a window is refilled for so long; then the pump looks around

_loop: asyncio.AbstractEventLoop | None = None

Ended = tuple[Claimed, Any, BaseException | None]


def run_window(shift: Shift, *, refill: Callable[[int], Sequence[Claimed]]) -> int:
    """Run a claimed batch of an async kind, and what `refill(room)` claims behind it. Returns how many jobs ran.

    The loop runs in turns; between two turns, with no loop running, outcomes are judged and committed, because
    Django's connection must not be used from inside a loop.
    """
    global _loop  # noqa: PLW0603 - one event loop per process, kept so that clients of handlers survive
    if _loop is None:
        _loop = asyncio.new_event_loop()
        asyncio.set_event_loop(_loop)
    running: set[asyncio.Task[Ended]] = set()
    try:
        return _run_window(shift, _loop, running, refill)
    except BaseException:
        if running:
            _abandon(_loop, running)
        raise


def _abandon(loop: asyncio.AbstractEventLoop, running: set[asyncio.Task[Ended]]) -> None:
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
    running: set[asyncio.Task[Ended]],
    refill: Callable[[int], Sequence[Claimed]],
) -> int:
    kind = shift.kind
    count = 0
    began = flushed = time.monotonic()
    while True:
        while len(running) < kind.window and (job := shift.next()) is not None:
            count += 1
            running.add(loop.create_task(_run(shift, job)))
        shift.pen.window(time.monotonic() + kind.timeout)
        if not running:
            break
        turn = asyncio.wait(running, timeout=FLUSH_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        ended, _ = loop.run_until_complete(turn)
        running -= ended
        for task in ended:
            shift.finish(*task.result())
        now = time.monotonic()
        if len(shift.outbox) and (not running or now - flushed >= FLUSH_SECONDS):
            flushed = now
            shift.outbox.flush()
        room = kind.window - len(running) - len(shift.waiting)
        if room >= max(1, kind.window // 4) and now - began < BUDGET_SECONDS and not slots.stopping():
            shift.waiting.extend(refill(room))
    shift.pen.ended()
    shift.outbox.flush()
    return count


async def _run(shift: Shift, job: Claimed) -> Ended:
    current_project.set(job.project_id)  # the task has a context of its own
    limit = asyncio.timeout(job.timeout or shift.kind.timeout)
    try:
        run = resolve(shift, job)
        async with limit:
            return job, await shift.kind.handle(run), None  # type: ignore[misc]
    except BaseException as error:  # noqa: BLE001 - whatever a handler raises is a failed attempt
        return job, None, TimedOut() if limit.expired() else error
