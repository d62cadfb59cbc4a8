"""What this app does by the clock."""

from jobs.schedule import Scheduled

TRANSIENT = (
    "timeout", "timed_out", "timeout_error", "connection_error", "connection_refused_error", "connection_reset_error",
    "operational_error", "read_timeout", "connect_timeout", "unavailable", "temporarily_unavailable",
    "too_many_requests", "service_unavailable", "bad_gateway", "gateway_timeout",
)  # fmt: skip
"""Codes of errors that pass by themselves. Whoever knows better edits the row."""

SCHEDULES = (
    Scheduled(
        "tidy up reconciliation",
        "reconciliation.tidy",
        6 * 3600,
        description="Removes ended redrives and figures that are older than 90 days; dead letters stay.",
    ),
    Scheduled(
        "look for what stands between two states",
        "reconciliation.look",
        60,
        description="Looks for what must never be found, and puts right what can be.",
    ),
    Scheduled(
        "reconcile dead letters",
        "job.reconcile",
        3600,
        {"errors_allowed_to_retry": list(TRANSIENT), "most_deaths": 3, "canary": 20, "stop_above": 50},
        description="Queues dead letters once more whose errors pass by themselves, a few first.",
    ),
)
