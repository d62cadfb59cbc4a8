"""A module whose kind is known already."""

from pydantic import BaseModel

from jobs import Done, Run, handler


class Nothing(BaseModel):
    """Nothing to say."""


@handler("log.rotate", payload=Nothing)
def rotate(_job: Run[Nothing]) -> Done:
    """Not the engine's own."""
    return Done()
