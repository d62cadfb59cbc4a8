"""The kinds of a chaos run. Each reports when a run begins and when it ends; their promises: tests/chaos/whole/kinds.py.

They also run in the version before this one (tests/chaos/whole/test_upgrade.py): nothing newer is used here.
"""

import asyncio
import contextlib
import os
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

from django.db import connection
from pydantic import BaseModel

from events.consumers import consumer
from events.log import LoggedEvent
from jobs import Batch, Block, Done, Park, Reject, Retry, Run, exponential, handler
from tests import effects

SOON = exponential(0.2, factor=1.5, cap=2)
OFTEN = Retry(max_attempts=60, backoff=SOON)  # deaths cost attempts; so many do not happen to one job
EXAMPLE = {"n": 1}


class Work(BaseModel):
    """What to do, and how long."""

    n: int = 0
    seconds: float = 0.0
    fails: int = 0
    account: str = ""


@contextlib.contextmanager
def seen(job: Run[Work]) -> Iterator[None]:
    """A run that is seen from outside: its begin, and its end unless its process dies."""
    effects.report("began", job, kind=job.kind, wall=time.time())
    try:
        yield
    finally:
        effects.report("ended", job, kind=job.kind)


def work(job: Run[Work]) -> None:
    with seen(job):
        _take_time(job)


def _take_time(job: Run[Work]) -> None:
    if job.payload.seconds:
        threading.Event().wait(job.payload.seconds)


def _fail_at_first(job: Run[Work]) -> None:
    if job.attempt <= job.payload.fails:
        message = f"attempt {job.attempt}"
        raise ValueError(message)


@handler("chaos.quick", payload=Work, retry=OFTEN, example=EXAMPLE)
def quick(job: Run[Work]) -> Done:
    """Done at once."""
    work(job)
    return Done({"n": job.payload.n})


@handler("chaos.within", payload=Work, retry=OFTEN, example=EXAMPLE)
def within(job: Run[Work]) -> Done:
    """Has an effect inside of the commit of its outcome."""
    work(job)
    return Done(within=lambda: _write(job))


@handler("chaos.slow", payload=Work, retry=OFTEN, expect=1, timeout=60, example=EXAMPLE)
def slow(job: Run[Work]) -> Done:
    """Runs for a while, and announces it."""
    work(job)
    return Done()


@handler("chaos.flaky", payload=Work, retry=OFTEN, example=EXAMPLE)
def flaky(job: Run[Work]) -> Done:
    """Fails as often as it is told, then works."""
    with seen(job):
        _fail_at_first(job)
    return Done()


@handler("chaos.failing", payload=Work, retry=Retry(max_attempts=3, backoff=SOON), example=EXAMPLE)
def failing(job: Run[Work]) -> Done:
    """Never works."""
    with seen(job):
        message = "never"
        raise ValueError(message)


@handler("chaos.poison", payload=Work, retry=Retry(max_attempts=2, backoff=SOON), batch=Batch(8), example=EXAMPLE)
def poison(job: Run[Work]) -> Done:
    """Ends its own process."""
    with seen(job):
        os._exit(1)


@handler("chaos.stuck", payload=Work, retry=Retry(max_attempts=2, backoff=SOON), timeout=1, example=EXAMPLE)
def stuck(job: Run[Work]) -> Done:
    """Does not return before its time is over."""
    with seen(job):
        threading.Event().wait(60)
    return Done()


@handler("chaos.asking", payload=Work, example=EXAMPLE)
def asking(job: Run[Work]) -> Block:
    """Asks for a person."""
    work(job)
    return Block("a person must look")


@handler("chaos.refused", payload=Work, example=EXAMPLE)
def refused(job: Run[Work]) -> Reject:
    """Is refused for good."""
    work(job)
    return Reject("not_wanted", "nobody wants it")


@handler("chaos.once", payload=Work, retry=Retry.never(), timeout=60, example=EXAMPLE)
def once(job: Run[Work]) -> Done:
    """Must not run a second time."""
    work(job)
    return Done()


@handler("chaos.parking", payload=Work, retry=OFTEN, example=EXAMPLE)
def parking(job: Run[Work]) -> Done | Park:
    """Parks behind its first step."""
    first: list[bool] = []

    def note() -> bool:
        first.append(True)
        return True

    with seen(job):
        job.step("first", note)
    return Park(job.payload.seconds) if first else Done()


@handler("chaos.asleep", payload=Work, retry=OFTEN, timeout=60, example=EXAMPLE)
async def asleep(job: Run[Work]) -> Done:
    """Async: many of it at the same time."""
    with seen(job):
        await asyncio.sleep(job.payload.seconds)
    return Done()


@handler("chaos.ordered", payload=Work, retry=OFTEN, lane="account", example={"account": "one"})
def ordered(job: Run[Work]) -> Done:
    """One after the other, by account."""
    with seen(job):
        _take_time(job)
        _fail_at_first(job)
    return Done(within=lambda: _write(job))


def _write(job: Run[Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into effect (job_id, attempt, what) values (%s, %s, %s)", [job.id, job.attempt, job.kind]
        )


@consumer("chaos_reader", batch=500)
def read(events: Sequence[LoggedEvent]) -> None:
    """Write down what there is to see, in the transaction that moves the cursor."""
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into seen (position, event_id, subject_id, seq)"
            " select * from unnest(%s::bigint[], %s::bigint[], %s::uuid[], %s::int[])",
            [
                [event.position for event in events],
                [event.id for event in events],
                [event.subject_id for event in events],
                [event.seq for event in events],
            ],
        )
