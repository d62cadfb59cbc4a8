"""What a kind's author decides about failure, batches and uniqueness: plain values, no clock and no database."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Literal, Self

from jobs.failures import Failure

LONGEST_WAIT = 100 * 365 * 86_400.0  # seconds; no date is further away
STEEPEST = 1000.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waiting time before the next attempt, in seconds: `first * factor ** (attempt - 1)`, at most `cap`."""

    first: float
    factor: float
    cap: float

    def seconds(self, attempt: int) -> float:
        """The wait after attempt number `attempt` (1 is the first)."""
        # The exponent is bounded so that a job with thousands of attempts does not overflow a float.
        return min(self.cap, self.first * self.factor ** min(attempt - 1, 64))


def exponential(seconds: float, *, factor: float = 2.0, cap: float = 3600.0) -> Backoff:
    """A backoff that grows by `factor` (at least 1) from `seconds` up to `cap`.

    Raises:
        ValueError: negative seconds, a factor outside of 1 to 1,000, or a cap below the first wait or beyond a century.
    """
    if not (0 <= seconds <= cap <= LONGEST_WAIT and 1 <= factor <= STEEPEST):
        message = (
            f"exponential({seconds}, factor={factor}, cap={cap}):"
            f" wants 0 <= seconds <= cap <= {LONGEST_WAIT:g} and 1 <= factor <= {STEEPEST:g}."
        )
        raise ValueError(message)
    return Backoff(float(seconds), float(factor), float(cap))


@dataclass(frozen=True, slots=True)
class RetryAt:
    """Try again at this moment."""

    at: dt.datetime


@dataclass(frozen=True, slots=True)
class GiveUp:
    """No attempt is left, or the error is not to be retried: a dead letter."""


@dataclass(frozen=True, slots=True)
class AskHuman:
    """A machine must not decide."""


@dataclass(frozen=True, slots=True)
class Retry:
    """The retry policy of a kind.

    Args:
        max_attempts: the first run and its retries together, at least 1.
        backoff: the wait between them.
        errors_allowed_to_retry: if given, only failures with these codes are retried.
        ask_human: when no attempt is left, block and ask instead of giving up.
    """

    max_attempts: int = 5
    backoff: Backoff = field(default_factory=lambda: exponential(1, factor=2, cap=3600))
    errors_allowed_to_retry: frozenset[str] | None = None
    ask_human: bool = False
    one_shot: bool = False

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            message = f"Retry(max_attempts={self.max_attempts}): wants at least 1."
            raise ValueError(message)

    @classmethod
    def never(cls) -> Self:
        """One run at most: after a crash nobody can tell what took effect, so a person is asked."""
        return cls(max_attempts=1, one_shot=True)

    def decide(
        self,
        error: Failure,
        attempt: int,
        now: dt.datetime,
        *,
        max_attempts: int | None = None,
        delay: float | None = None,
    ) -> RetryAt | GiveUp | AskHuman:
        """What follows when attempt number `attempt` (1 is the first) failed with `error`.

        `max_attempts` and `delay` (seconds) override the policy for one job.
        """
        limit = 1 if self.one_shot else (max_attempts or self.max_attempts)
        allowed = self.errors_allowed_to_retry is None or error.code in self.errors_allowed_to_retry
        if error.retryable and allowed and attempt < limit:
            wait = self.backoff.seconds(attempt) if delay is None else delay
            return RetryAt(now + dt.timedelta(seconds=wait))
        return AskHuman() if self.ask_human else GiveUp()


@dataclass(frozen=True, slots=True)
class Wait:
    """An error that says "not now": try again after `seconds`, at no attempt's cost.

    A job that has come back `most` times without an attempt's cost is blocked: a person decides whether it goes on.
    """

    seconds: float
    most: int = 10_000

    def __post_init__(self) -> None:
        if self.most < 1:
            message = f"Wait(most={self.most}): wants 1 or more."
            raise ValueError(message)
        if not 0 <= self.seconds <= LONGEST_WAIT:
            message = f"Wait({self.seconds}): wants 0 to {LONGEST_WAIT:g} seconds."
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Batch:
    """How many jobs one claim may take: short kinds many, long kinds one. `max` is at most 512."""

    max: int = 512

    def __post_init__(self) -> None:
        if not 1 <= self.max <= 512:  # noqa: PLR2004 - beyond 512 a batch gains nothing (docs/decisions)
            message = f"Batch(max={self.max}): wants 1 to 512."
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Limit:
    """Concurrency and rate per key across all workers."""

    concurrency: int | None = None
    rate: float | None = None
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Lane:
    """Strict order among jobs with the same values of `by`: one runs at a time, in the order of their creation.

    Args:
        by: payload fields that make the key of the lane, which is of this kind alone; none: a job is in a lane only
            where its creator names one.
        on_failure: what a job does to its followers that has no attempt left: "block" stops it `blocked`, and they wait
            until a person decides; "go_on" makes it a dead letter, and the next one runs.
    """

    by: tuple[str, ...] = ()
    on_failure: Literal["block", "go_on"] = "block"


@dataclass(frozen=True, slots=True)
class Unique:
    """At most one job of the kind with the same values of `by` (payload fields; none: the whole payload).

    Args:
        by: payload fields that make the key.
        seconds: how long the key is taken, counted from submission; None: until the job has ended.
    """

    by: tuple[str, ...] = ()
    seconds: float | None = None
