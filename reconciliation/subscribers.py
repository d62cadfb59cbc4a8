"""What follows from events: dead letters are counted by cause."""

from events.consumers import Counted, counter
from reconciliation import deadletters


@counter("dead_letters", batch=deadletters.BATCH, pause=deadletters.PAUSE)
def count_dead_letters(position: int, last_id: int, batch: int) -> Counted | None:
    """Count which jobs died, and of what, and which of them were queued once more."""
    return deadletters.count(position, last_id, batch)
