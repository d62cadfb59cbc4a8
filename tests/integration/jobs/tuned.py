"""A kind that these tests may tune, and what a worker in this process makes of it."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from jobs import Done, Retry, RetryIn, Run, Wait, exponential, handler, registry, shelves, tuning
from jobs.bell import bell


class Deed(BaseModel):
    """What to do."""

    deed: str = ""


class Busy(Exception):
    """The other side asks to come back later."""


class Torn(Exception):
    """An error with a policy of its own."""


class Odd(Exception):
    """An error after which the kind's policy decides, with a wait of its own."""


def perform(job: Run[Deed]) -> Done:
    if job.payload.deed == "fail":
        raise ValueError
    return Done()


def fresh() -> None:
    """Forget what rules, and all that was prepared for it."""
    tuning.forget()
    shelves.forget()


@pytest.fixture
def tunable() -> Iterator[None]:
    """Kinds of these tests alone; afterwards nothing is tuned."""
    before = dict(registry._kinds)
    errors: dict[type[BaseException], Any] = {Busy: Wait(60), Torn: Retry(max_attempts=9), Odd: RetryIn(1)}
    policy = Retry(max_attempts=3, backoff=exponential(2, factor=2, cap=60))
    handler("deed.do", payload=Deed, retry=policy, errors=errors, timeout=10)(perform)
    handler("deed.other", payload=Deed)(perform)
    handler("deed.once", payload=Deed, retry=Retry.never())(perform)
    fresh()
    yield
    bell.hang_up()
    registry._kinds.clear()
    registry._kinds.update(before)
    fresh()
