"""Kinds as the version before knew them; newer.py has them as they are now."""

from pydantic import BaseModel

from jobs import Done, Run, handler
from tests import effects


class Older(BaseModel):
    """The payload before it got a field."""

    n: int = 0


class Strict(BaseModel, extra="forbid"):
    """The same, and nothing else is taken."""

    n: int = 0


@handler("test.grown", payload=Older, public=False)
def grown(job: Run[Older]) -> Done:
    """Works."""
    effects.report("ran", job, version=1)
    return Done({"version": 1})


@handler("test.strict", payload=Strict, public=False)
def strict(job: Run[Strict]) -> Done:
    """Works."""
    effects.report("ran", job, version=1)
    return Done({"version": 1})
