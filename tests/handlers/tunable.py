"""Kinds whose settings a test changes while they run."""

import asyncio

from pydantic import BaseModel

from jobs import Done, Retry, Run, exponential, handler
from tests import effects

POLICY = Retry(max_attempts=3, backoff=exponential(0.1, factor=1, cap=0.1))


class Number(BaseModel):
    """A number to tell jobs of a kind from one another."""

    n: int = 0


class Gated(BaseModel):
    """Where to wait for the test."""

    gate: str


@handler("tune.fail", payload=Number, retry=POLICY, example={"n": 1})
def fail(job: Run[Number]) -> Done:
    """Fails, a little later."""
    effects.report("ran", job)
    raise ValueError


@handler("tune.fail_async", payload=Number, public=False, retry=POLICY, window=20)
async def fail_async(job: Run[Number]) -> Done:
    """The same, async."""
    await asyncio.sleep(0.01)
    raise ValueError


@handler("tune.hold", payload=Gated, public=False, retry=POLICY, timeout=600)
def hold(job: Run[Gated]) -> Done:
    """Waits for the test, and fails."""
    effects.report("began", job)
    effects.wait_at(job.payload.gate)
    raise ValueError


@handler("tune.hang", payload=Gated, public=False, retry=Retry(max_attempts=1), timeout=600)
def hang(job: Run[Gated]) -> Done:
    """Waits for the test."""
    effects.report("began", job)
    effects.wait_at(job.payload.gate)
    return Done()
