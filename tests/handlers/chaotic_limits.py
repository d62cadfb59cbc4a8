"""The kinds of a chaos run that have limits."""

from jobs import Done, Limit, Run, handler
from tests.handlers.chaotic import OFTEN, Work, work

EXAMPLE = {"account": "one"}


@handler("chaos.limited", payload=Work, retry=OFTEN, limit=Limit(concurrency=2, by=("account",)), example=EXAMPLE)
def limited(job: Run[Work]) -> Done:
    """Two at a time, by account."""
    work(job)
    return Done()


@handler("chaos.paced", payload=Work, retry=OFTEN, limit=Limit(rate=5, burst=5, by=("account",)), example=EXAMPLE)
def paced(job: Run[Work]) -> Done:
    """Five a second, by account."""
    work(job)
    return Done()


@handler("chaos.alone", payload=Work, retry=OFTEN, limit=Limit(concurrency=1), example=EXAMPLE)
async def alone(job: Run[Work]) -> Done:
    """Async, and one at a time."""
    work(job)
    return Done()
