"""What a kind's author decides about failure, batches and uniqueness: plain values, no clock and no database."""

import datetime as dt
from dataclasses import dataclass, field
from typing import Literal, Self

from jobs.failures import Failure

LONGEST_WAIT = 100 * 365 * 86_400.0  # seconds; no date is further away
STEEPEST = 1000.0
MOST_ATTEMPTS = 10_000
HEAVIEST = 10_000
MOST_AT_ONCE = 1_000_000
SLOWEST_RATE = 1e-6  # a second: once in twelve days
FASTEST_RATE = 1e6


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
        max_attempts: the first run and its retries together, 1 to 10,000.
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
        if not 1 <= self.max_attempts <= MOST_ATTEMPTS:
            message = f"Retry(max_attempts={self.max_attempts}): wants 1 to {MOST_ATTEMPTS}."
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
    """How many jobs with the same key may run at once, and how many may start in a time, for all workers together.

    Args:
        concurrency: jobs that run at the same time.
        rate: jobs that may start in `per` seconds.
        per: seconds.
        burst: jobs that may start at once after a rest; by default what the rate gives in a second, at least one.
        by: payload fields that make the key; none: one key for all.
        weight: as how many jobs one counts: a number, or the payload field that holds it.
        name: kinds whose limits have the same name share their keys; by default it is the kind's own.
        across_projects: one key for all projects together; otherwise each project has keys of its own.
    """

    concurrency: int | None = None
    rate: float | None = None
    per: float = 1.0
    burst: float | None = None
    by: tuple[str, ...] = ()
    weight: int | str = 1
    name: str = ""
    across_projects: bool = False

    def __post_init__(self) -> None:
        if self.concurrency is None and self.rate is None:
            message = "Limit() wants concurrency=, rate= or both."
            raise ValueError(message)
        if self.per <= 0:
            message = f"Limit(per={self.per}): wants more than 0 seconds."
            raise ValueError(message)
        check_bounds(self.concurrency, self.a_second, self.burst)
        if isinstance(self.weight, int) and not 1 <= self.weight <= HEAVIEST:
            message = f"Limit(weight={self.weight}): wants 1 to {HEAVIEST}."
            raise ValueError(message)

    @property
    def a_second(self) -> float | None:
        """The rate per second."""
        return None if self.rate is None else float(self.rate / self.per)

    @property
    def at_once(self) -> float | None:
        """How many may start at once after a rest."""
        return burst_of(self.a_second) if self.burst is None else float(self.burst)


def burst_of(a_second: float | None) -> float | None:
    """The burst that a rate per second has where none is named: what it gives in a second, at least one."""
    return None if a_second is None else max(1.0, a_second)


def check_bounds(concurrency: int | None, a_second: float | None, burst: float | None) -> None:
    """Nothing, if a limit may have these bounds. Raises `ValueError`."""
    if concurrency is not None and not 0 <= concurrency <= MOST_AT_ONCE:
        message = f"concurrency={concurrency}: a limit wants 0 to {MOST_AT_ONCE}."
        raise ValueError(message)
    if a_second is not None and not SLOWEST_RATE <= a_second <= FASTEST_RATE:
        message = f"a rate of {a_second:g} a second: a limit wants once in {1 / SLOWEST_RATE:g} s to {FASTEST_RATE:g}."
        raise ValueError(message)
    if burst is not None and (a_second is None or not 1 <= burst <= FASTEST_RATE):
        message = f"burst={burst}: wants a rate, and 1 to {FASTEST_RATE:g}."
        raise ValueError(message)


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
        otherwise: what becomes of one that comes while the key is taken. "existing": its creator gets the job that
            there is. "reject": its creator gets an error. "replace": it takes the place of the one that still waits;
            where that one runs already, it becomes a job of its own, which has the key from then on. "debounce": the
            same, and the job runs `wait` seconds after the last of them came.
        wait: see "debounce"; seconds.
        longest: so many seconds after the first of them came it runs, even while more come.
    """

    by: tuple[str, ...] = ()
    seconds: float | None = None
    otherwise: Literal["existing", "reject", "replace", "debounce"] = "existing"
    wait: float = 0.0
    longest: float = 3600.0

    def __post_init__(self) -> None:
        if self.otherwise not in {"existing", "reject", "replace", "debounce"}:
            message = f"Unique(otherwise={self.otherwise!r}): wants existing, reject, replace or debounce."
            raise ValueError(message)
        if (self.otherwise == "debounce") != (self.wait > 0) or not self.wait <= self.longest <= LONGEST_WAIT:
            message = f"Unique(wait={self.wait}, longest={self.longest}): debounce wants 0 < wait <= longest."
            raise ValueError(message)
