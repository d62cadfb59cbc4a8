"""What this app does by the clock."""

from django.conf import settings

from jobs.schedule import Scheduled

_SCHEDULES = (
    Scheduled(
        "keep the readers of contracts at it",
        "confirmation.ensure_capture",
        30,
        description="Sees that every contract is read, and takes over from a reader that has gone silent.",
    ),
    Scheduled(
        "watch the signers",
        "confirmation.watch",
        10,
        description="Explains nonces of which nothing is heard; resends and raises what is not mined.",
    ),
    Scheduled(
        "read final blocks once more",
        "confirmation.replay",
        600,
        description="Compares what the logs of final blocks say with what was captured, and takes in what was missed.",
    ),
)

SCHEDULES = _SCHEDULES if settings.RPC_URLS else ()
"""Without a chain there is nothing to do."""
