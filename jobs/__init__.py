"""The engine. What a handler's author needs is here; no database stands behind these names."""

from jobs.outcomes import Block, Cancel, Done, Park, Reject, RetryIn
from jobs.policy import Batch, Lane, Limit, Retry, Unique, Wait, exponential
from jobs.registry import handler
from jobs.run import Run, Woken

__all__ = [
    "Batch",
    "Block",
    "Cancel",
    "Done",
    "Lane",
    "Limit",
    "Park",
    "Reject",
    "Retry",
    "RetryIn",
    "Run",
    "Unique",
    "Wait",
    "Woken",
    "exponential",
    "handler",
]
