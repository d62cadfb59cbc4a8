"""The closed list of answers that a handler may give. Anything else is a failed attempt."""

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Done:
    """The work is done.

    Args:
        output: a JSON value, stored with the job and published in its `job.processed` event.
        quality: 0.0 to 1.0, the handler's own trust in its output.
        metrics: numbers to be recorded with the attempt.
        within: called inside the transaction that commits this outcome; what it writes to the database happens
            exactly once. When it raises, the attempt failed with that error.
    """

    output: Any = None
    quality: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    within: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class RetryIn:
    """This attempt did not succeed; try again after `seconds`. Costs an attempt, like an error."""

    seconds: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Park:
    """Wait without holding a worker until a time, or until an event if that comes first. Costs no attempt.

    Args:
        until: an aware datetime, or seconds from now.
        event: a type of events: what another system reports (`payment.arrived`), or one of the platform's
            (`job.processed`). It counts only in the job's own project.
        subject: what the event is about: the very text that was reported with it, or the id of the platform's job.

    What woke the job is `job.woken_by` in its next run, or `job.timed_out`. An event counts if it came after the job
    was created, also while nobody waited for it yet, and wakes a job once.
    """

    until: dt.datetime | float
    event: str | None = None
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Block:
    """A person must decide."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reject:
    """The job is refused for good: invalid, or an error that no retry can cure. `code` is stable snake_case."""

    code: str = "rejected"
    message: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop here, as asked for."""

    reason: str = ""


Outcome = Done | RetryIn | Park | Block | Reject | Cancel
OUTCOMES = (Done, RetryIn, Park, Block, Reject, Cancel)
