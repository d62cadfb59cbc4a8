import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.failures import failure
from jobs.policy import AskHuman, Batch, GiveUp, Retry, RetryAt, exponential

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
BOOM = failure("boom", "it broke")
FINAL = failure("invalid", "never", retryable=False)


@pytest.mark.parametrize(
    ("attempt", "seconds"),
    [
        (1, 5),  # the first wait is the base
        (2, 10),  # doubled
        (3, 20),
        (10, 60),  # capped
        (10_000, 60),  # does not overflow
    ],
)
def test_exponential_backoff_doubles_up_to_its_cap(attempt: int, seconds: float) -> None:
    assert exponential(5, factor=2, cap=60).seconds(attempt) == seconds


@pytest.mark.parametrize(("first", "factor", "cap"), [(-1, 2, 60), (1, 0.5, 60), (10, 2, 5)])
def test_a_backoff_that_makes_no_sense_is_refused(first: float, factor: float, cap: float) -> None:
    with pytest.raises(ValueError, match="wants"):
        exponential(first, factor=factor, cap=cap)


def test_a_failed_attempt_is_retried_after_the_backoff() -> None:
    policy = Retry(max_attempts=3, backoff=exponential(5))

    assert policy.decide(BOOM, 1, NOW) == RetryAt(NOW + dt.timedelta(seconds=5))


def test_the_last_attempt_gives_up() -> None:
    assert Retry(max_attempts=3).decide(BOOM, 3, NOW) == GiveUp()


def test_a_policy_may_ask_a_human_instead_of_giving_up() -> None:
    assert Retry(max_attempts=1, ask_human=True).decide(BOOM, 1, NOW) == AskHuman()


def test_an_error_that_is_not_retryable_is_not_retried() -> None:
    assert Retry(max_attempts=3).decide(FINAL, 1, NOW) == GiveUp()


def test_only_the_allowed_errors_are_retried() -> None:
    policy = Retry(max_attempts=3, errors_allowed_to_retry=frozenset({"timeout"}))

    assert policy.decide(BOOM, 1, NOW) == GiveUp()
    assert isinstance(policy.decide(failure("timeout"), 1, NOW), RetryAt)


def test_a_job_may_bring_its_own_attempts_and_delay() -> None:
    decision = Retry(max_attempts=1).decide(BOOM, 1, NOW, max_attempts=2, delay=7)

    assert decision == RetryAt(NOW + dt.timedelta(seconds=7))


def test_never_means_one_run_whatever_the_job_says() -> None:
    assert Retry.never().decide(BOOM, 1, NOW, max_attempts=5) == GiveUp()


@given(st.integers(1, 20), st.integers(1, 20))
def test_a_job_never_runs_more_often_than_its_policy_says(limit: int, attempt: int) -> None:
    decision = Retry(max_attempts=limit).decide(BOOM, attempt, NOW)

    assert isinstance(decision, RetryAt) == (attempt < limit)


@pytest.mark.parametrize("size", [0, 513])
def test_a_batch_has_1_to_512_jobs(size: int) -> None:
    with pytest.raises(ValueError, match="1 to 512"):
        Batch(size)
