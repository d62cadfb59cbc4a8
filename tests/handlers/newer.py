"""Kinds of a version of the code that is ahead: some are new in it, some have got a field (see older.py)."""

from pydantic import BaseModel

from jobs import Done, Run, handler
from tests import effects


class Newer(BaseModel):
    """A payload with a field that the older version lacks."""

    n: int = 0
    since_version_two: str = ""


@handler("test.newer", payload=Newer, public=False)
def newer(job: Run[Newer]) -> Done:
    """Works."""
    effects.report("ran", job)
    return Done()


@handler("test.grown", payload=Newer, public=False)
def grown(job: Run[Newer]) -> Done:
    """Works; the version before knows it, without the field."""
    effects.report("ran", job, version=2)
    return Done({"version": 2})


@handler("test.strict", payload=Newer, public=False)
def strict(job: Run[Newer]) -> Done:
    """The same; the version before refuses what it does not know."""
    effects.report("ran", job, version=2)
    return Done({"version": 2})
