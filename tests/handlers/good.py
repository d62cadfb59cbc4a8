"""Handlers that work: each reports to the recorder what it does."""

import asyncio
import datetime as dt
import gc
import os
import threading
from typing import Any

import psutil
from django.db import connection
from pydantic import BaseModel

from jobs import Batch, Block, Cancel, Done, Park, Reject, Retry, RetryIn, Run, Wait, exponential, handler
from tests import effects

SOON = exponential(0.1, factor=1, cap=0.1)


class Number(BaseModel):
    """A number to tell jobs of a kind from one another."""

    n: int = 0


class Timed(BaseModel):
    """How long to work, in seconds."""

    n: int = 0
    seconds: float = 0.0


class Gated(BaseModel):
    """Where to wait for the test."""

    n: int = 0
    gate: str = "go"


class Subject(BaseModel):
    """What to wait for an event about."""

    subject: str


class Moment(BaseModel):
    """A moment."""

    at: dt.datetime


@handler("test.done", payload=Number, public=False, retry=Retry(max_attempts=5, backoff=SOON))
def done(job: Run[Number]) -> Done:
    effects.report("ran", job)
    return Done({"n": job.payload.n})


@handler("test.silent", payload=Number, public=False)
def silent(job: Run[Number]) -> Done:
    """Says nothing, so that thousands of it run in a second."""
    return Done()


@handler("test.collects", payload=Number, public=False)
def collects(job: Run[Number]) -> Done:
    """Says how much memory its process has to itself after a collection, and how much in all, in bytes."""
    gc.collect()
    memory = psutil.Process().memory_full_info()
    return Done({"own": memory.uss, "all": memory.rss})


@handler("test.single", payload=Number, public=False, batch=Batch(1))
def single(job: Run[Number]) -> Done:
    """Says nothing, and is claimed alone."""
    return Done()


@handler("test.within", payload=Timed, public=False, retry=Retry(max_attempts=20, backoff=SOON))
def within(job: Run[Timed]) -> Done:
    """Has an effect outside, and one inside the commit."""
    effects.report("ran", job)
    if job.payload.seconds:
        threading.Event().wait(job.payload.seconds)
    return Done({"n": job.payload.n}, within=lambda: _write(job, "within"))


@handler(
    "test.gated", payload=Gated, public=False, timeout=600, cancel_grace=0.5, retry=Retry(max_attempts=5, backoff=SOON)
)
def gated(job: Run[Gated]) -> Done:
    """Begins, waits for the test, ends."""
    effects.report("began", job)
    effects.wait_at(job.payload.gate)
    effects.report("ended", job)
    return Done({"attempt": job.attempt}, within=lambda: _write(job, "gated"))


@handler("test.once", payload=Gated, public=False, timeout=600, retry=Retry.never())
def once(job: Run[Gated]) -> Done:
    """Must never run a second time."""
    effects.report("began", job)
    effects.wait_at(job.payload.gate)
    return Done()


@handler("test.asleep", payload=Timed, public=False, retry=Retry(max_attempts=5, backoff=SOON))
async def asleep(job: Run[Timed]) -> Done:
    """Async: many of it at the same time."""
    effects.report("ran", job)
    await asyncio.sleep(job.payload.seconds)
    return Done({"n": job.payload.n})


@handler("test.gated_async", payload=Gated, public=False, timeout=600, cancel_grace=0.5, retry=Retry(max_attempts=1))
async def gated_async(job: Run[Gated]) -> Done:
    """Async: begins, and waits until its gate opens."""
    effects.report("began", job)
    await effects.waits_at(job.payload.gate)
    return Done()


@handler("test.flaky", payload=Number, public=False, retry=Retry(max_attempts=3, backoff=SOON))
def flaky(job: Run[Number]) -> Done:
    """Fails as often as its number says, then works."""
    effects.report("ran", job)
    if job.attempt <= job.payload.n:
        message = f"attempt {job.attempt}"
        raise ValueError(message)
    return Done({"attempt": job.attempt})


@handler("test.steps", payload=Number, public=False, retry=Retry(max_attempts=3, backoff=SOON))
def steps(job: Run[Number]) -> Done:
    """Its first step is done once, though its second fails at first."""
    first = job.step("first", lambda: _noted(job, "first"))
    job.progress(1, 2, "half of it")
    job.log("first step", result=first)
    if job.attempt == 1:
        message = "between the steps"
        raise RuntimeError(message)
    second = job.step("second", lambda: _noted(job, "second"))
    return Done({"first": first, "second": second}, quality=0.5, metrics={"steps": 2})


@handler("test.async_steps", payload=Number, public=False, retry=Retry(max_attempts=3, backoff=SOON))
async def async_steps(job: Run[Number]) -> Done:
    """The same, async."""
    first = await job.step("first", lambda: _noted_later(job, "first"))
    job.progress(1, 2, "half of it")
    job.log("first step", result=first)
    if job.attempt == 1:
        message = "between the steps"
        raise RuntimeError(message)
    return Done({"first": first})


@handler("test.stoppable", payload=Number, public=False, retry=Retry(max_attempts=1))
def stoppable(job: Run[Number]) -> Done | Cancel:
    """Looks whether somebody wants it to stop."""
    effects.report("began", job)
    for _ in range(1200):
        if job.cancelled:
            return Cancel("as asked")
        threading.Event().wait(0.05)
    return Done()


@handler("test.park_until", payload=Moment, public=False)
def park_until(job: Run[Moment]) -> Park:
    """Parks until a moment that its payload names."""
    effects.report("ran", job)
    return Park(job.payload.at)


@handler("test.park_once", payload=Timed, public=False, retry=Retry(max_attempts=2, backoff=SOON))
def park_once(job: Run[Timed]) -> Done | Park:
    """Parks once, then works; the first run leaves a step behind."""
    seen: list[int] = []
    job.step("parked", lambda: _seen(seen))
    effects.report("ran", job)
    return Park(job.payload.seconds) if seen else Done()


@handler("test.awaits", payload=Subject, example={"subject": "order-7"})
def awaits(job: Run[Subject]) -> Done | Park:
    """Parks until somebody reports an event, and hands on what it says."""
    woken = job.woken_by
    if woken is None:
        effects.report("asked", job)
        return Done({"timed_out": True}) if job.timed_out else Park(600, "payment.arrived", job.payload.subject)
    return Done({"data": dict(woken.data)}, within=lambda: _write(job, "paid"))


@handler("test.block", payload=Number, public=False)
def block(job: Run[Number]) -> Block:
    return Block("a person must look")


@handler("test.reject", payload=Number, public=False)
def reject(job: Run[Number]) -> Reject:
    return Reject("not_wanted", "nobody wants it")


@handler("test.cancel", payload=Number, public=False)
def cancel(job: Run[Number]) -> Cancel:
    return Cancel("not needed any more")


@handler("test.retry_in", payload=Number, public=False, retry=Retry(max_attempts=2))
def retry_in(job: Run[Number]) -> Done | RetryIn:
    effects.report("ran", job)
    return RetryIn(0.1, "not yet") if job.attempt == 1 else Done()


class ServerBusy(Exception):
    """The other side says: not now."""


@handler("test.wait", payload=Number, public=False, errors={ServerBusy: Wait(0.2)}, retry=Retry(max_attempts=1))
def wait(job: Run[Number]) -> Done:
    """Is told to wait at its first run; that costs no attempt."""
    seen: list[int] = []
    job.step("asked", lambda: _seen(seen))
    effects.report("ran", job)
    if seen:
        raise ServerBusy
    return Done()


@handler("test.backend", payload=Number, public=False, batch=Batch(1))
def backend(job: Run[Number]) -> Done:
    """Tells which backend process of the database it works with, and which statements are prepared there."""
    with connection.cursor() as cursor:
        cursor.execute("select pg_backend_pid()")
        number = cursor.fetchone()[0]
        cursor.execute("select statement from pg_prepared_statements")
        statements = [row[0].split(":")[0].removeprefix("-- ") for row in cursor.fetchall() if row[0].startswith("-- ")]
    return Done({"child": os.getpid(), "backend": number, "statements": statements})


@handler(
    "test.skewed", payload=Timed, public=False, retry=Retry(max_attempts=2, backoff=exponential(5, factor=1, cap=5))
)
def skewed(job: Run[Timed]) -> Done:
    """Fails, to be tried again after five seconds."""
    effects.report("ran", job)
    raise ServerBusy


def _seen(seen: list[int]) -> bool:
    seen.append(1)
    return True


def _write(job: Run[Any], what: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("insert into effect (job_id, attempt, what) values (%s, %s, %s)", [job.id, job.attempt, what])


def _noted(job: Run[Number], name: str) -> str:
    effects.report(name, job)
    return f"{name} of attempt {job.attempt}"


async def _noted_later(job: Run[Number], name: str) -> str:
    await asyncio.sleep(0)
    return _noted(job, name)


@handler("test.open", payload=Number, retry=Retry(max_attempts=2, backoff=SOON), example={"n": 1})
def open_to_all(job: Run[Number]) -> Done:
    """May be created over HTTP."""
    effects.report("ran", job)
    return Done({"n": job.payload.n})


@handler("test.late", payload=Number, public=False, expect=0.05)
def late(job: Run[Number]) -> Done:
    """Takes longer than it should."""
    threading.Event().wait(0.2)
    return Done()


@handler(
    "test.open_within", payload=Timed, retry=Retry(max_attempts=20, backoff=SOON), example={"n": 1, "seconds": 0.0}
)
def open_within(job: Run[Timed]) -> Done:
    """The same, with an effect inside the commit."""
    return within.handle(job)  # type: ignore[return-value] # a sync handler
