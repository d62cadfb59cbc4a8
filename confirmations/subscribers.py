"""What follows from events: a job that is done and goes on chain gets its confirmation; what was sent gets a reader."""

from confirmations.services import asking
from events.consumers import Counted, counter


@counter("confirmations", batch=asking.BATCH, pause=asking.PAUSE, roused_by=asking.ROUSED_BY)
def ask(position: int, last_id: int, batch: int) -> Counted | None:
    """Write the confirmations of jobs that are done, and call their signers."""
    return asking.ask(position, last_id, batch)
