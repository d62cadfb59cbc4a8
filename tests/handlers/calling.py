"""A handler that calls somebody else."""

from typing import Any
from urllib.request import Request, urlopen

from pydantic import BaseModel

from jobplatform import tracing
from jobs import Done, Retry, Run, exponential, handler


class Address(BaseModel):
    """Whom to call."""

    url: str


@handler("test.calls", payload=Address, retry=Retry(max_attempts=3, backoff=exponential(0.1, factor=1, cap=0.1)))
def calls(job: Run[Address]) -> Done:
    """Calls, and fails at its first attempt."""
    _call(job.payload.url)
    if job.attempt == 1:
        message = "password=hunter2"
        raise ValueError(message)
    return Done()


@handler("test.calls_async", payload=Address)
async def calls_async(job: Run[Address]) -> Any:
    """The same, async."""
    _call(job.payload.url)
    return Done()


def _call(url: str) -> None:
    request = Request(url, headers=tracing.headers())  # noqa: S310 - the test's own server
    with urlopen(request, timeout=20) as answer:  # noqa: S310 - (same)
        answer.read()
