"""Keys of limits as JSON."""

import datetime as dt
from typing import Any

from pydantic import BaseModel

from jobs.models import LimitKey


class LimitShown(BaseModel):
    """What of a limit is in use under one key of the project; null: no such bound.

    `rate` is starts a second. `closed_until`: no job starts before. `ramp`: so many run at once since it was closed.
    """

    id: str
    name: str
    key: str
    concurrency: int | None
    rate: float | None
    burst: float | None
    in_use: int
    waiting: bool
    closed_until: dt.datetime | None
    ramp: int | None


def show_limit(row: LimitKey) -> dict[str, Any]:
    """A `LimitShown`."""
    return {
        "id": str(row.id),
        "name": row.name,
        "key": row.key,
        "concurrency": row.concurrency,
        "rate": row.rate,
        "burst": row.burst,
        "in_use": row.in_use,
        "waiting": row.waiting,
        "closed_until": row.closed_until,
        "ramp": row.ramp,
    }
