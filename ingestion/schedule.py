"""What this app does by the clock."""

from jobs.schedule import Scheduled

SCHEDULES = (
    Scheduled(
        "compare object storage with the messages",
        "message.reconcile",
        60,
        description="Restores missing originals, moves objects without a message aside; a part of all keys a minute.",
    ),
)
