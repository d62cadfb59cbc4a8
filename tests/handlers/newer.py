"""A kind that an older version of the code does not know."""

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
