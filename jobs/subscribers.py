"""What the engine itself reads from the log."""

from events.consumers import Counted, counter
from jobs import awaiting, rollups


@counter("rollups", batch=rollups.BATCH, pause=rollups.PAUSE)
def roll_up(position: int, last_id: int, batch: int) -> Counted | None:
    """Count what happened, and take the samples of the minute."""
    rollups.sample()
    return rollups.count(position, last_id, batch)


@counter("awaited", batch=awaiting.BATCH, pause=awaiting.PAUSE, roused_by="jobs_awaited")
def wake_who_waits(position: int, last_id: int, batch: int) -> Counted | None:
    """Wake the parked jobs that wait for an event of the log."""
    return awaiting.match(position, last_id, batch)
