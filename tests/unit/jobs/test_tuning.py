"""Settings over what the code says: pure functions, and the registry that they change."""

import datetime as dt
from dataclasses import replace
from typing import Any

import pytest
from pydantic import BaseModel

from jobs import Batch, Done, Retry, Run, exponential, handler, registry, tuning
from jobs.errors import InvalidOption, RegistrationError
from jobs.failures import failure
from jobs.policy import GiveUp, RetryAt
from jobs.registry import Kind
from jobs.tuning import Settings

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class Letter(BaseModel):
    to: str = "me"


@pytest.fixture(autouse=True)
def kinds_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_kinds", {})


def post(_job: Run[Letter]) -> Done:
    return Done()


@pytest.fixture
def letter() -> Kind[Letter]:
    policy = Retry(
        max_attempts=3, backoff=exponential(2, factor=3, cap=60), errors_allowed_to_retry=frozenset({"busy"}),
        ask_human=True,
    )  # fmt: skip
    return handler("letter.post", payload=Letter, retry=policy, timeout=30, expect=1, batch=Batch(64), priority=4)(post)


@pytest.fixture
def once() -> Kind[Letter]:
    return handler("letter.burn", payload=Letter, retry=Retry.never(), timeout=30)(post)


def test_nothing_set_is_the_kind_itself(letter: Kind[Letter]) -> None:
    assert tuning.tuned(letter, Settings()) is letter


def test_what_is_set_rules_and_the_rest_is_as_the_code_says(letter: Kind[Letter]) -> None:
    made = tuning.tuned(letter, Settings(max_attempts=7, cap=10, timeout=5, batch=2, expect=0.5, priority=-3))

    assert tuning.values_of(made) == Settings(7, 2, 3, 10, 5, 2, 0.5, -3)
    assert made.retry.errors_allowed_to_retry == frozenset({"busy"})
    assert made.retry.ask_human
    assert made.declared is letter
    assert tuning.values_of(letter) == Settings(3, 2, 3, 60, 30, 64, 1, 4)


def test_the_retry_decision_is_that_of_the_settings(letter: Kind[Letter]) -> None:
    policy = replace(tuning.tuned(letter, Settings(max_attempts=2, first=9, factor=1)).retry, ask_human=False)

    assert policy.decide(failure("busy"), 1, NOW) == RetryAt(NOW + dt.timedelta(seconds=9))
    assert policy.decide(failure("busy"), 2, NOW) == GiveUp()


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"max_attempts": 0}, "max_attempts"),
        ({"max_attempts": 101}, "max_attempts"),
        ({"first": -1.0}, "first"),
        ({"first": 61.0}, "cap"),
        ({"cap": 1.0}, "cap"),
        ({"factor": 0.5}, "factor"),
        ({"factor": 1001.0}, "factor"),
        ({"first": float("nan")}, "first"),
        ({"cap": float("inf")}, "first"),
        ({"timeout": 0.0}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"batch": 0}, "batch"),
        ({"batch": 513}, "batch"),
        ({"expect": 0.0}, "expect"),
        ({"priority": 101}, "priority"),
    ],
)
def test_what_a_kind_cannot_be_is_refused_at_its_field(letter: Kind[Letter], settings: Any, field: str) -> None:
    with pytest.raises(InvalidOption) as refused:
        tuning.tuned(letter, Settings(**settings))

    assert (refused.value.code, refused.value.field) == ("invalid_settings", f"/{field}")


@pytest.mark.parametrize("settings", [{"max_attempts": 1}, {"first": 1.0}, {"factor": 2.0}, {"cap": 9.0}, {"batch": 1}])
def test_a_one_shot_kind_is_never_set_to_run_again(once: Kind[Letter], settings: Any) -> None:
    with pytest.raises(InvalidOption, match="once at most") as refused:
        tuning.tuned(once, Settings(**settings))

    assert refused.value.code == "one_shot_kind"


def test_a_one_shot_kind_may_have_another_timeout(once: Kind[Letter]) -> None:
    made = tuning.tuned(once, Settings(timeout=60, expect=2, priority=9))

    assert (made.timeout, made.expect, made.priority, made.retry) == (60, 2, 9, Retry.never())


def test_the_registry_itself_lets_no_one_shot_kind_run_again(once: Kind[Letter]) -> None:
    for changes in ({"retry": Retry()}, {"batch": Batch(2)}, {"window": 2}):
        with pytest.raises(RegistrationError, match="once at most"):
            registry.tune("letter.burn", changes)

    assert registry.get("letter.burn") is once


def test_the_registry_shows_the_tuned_kind_everywhere_and_keeps_the_declared_one(letter: Kind[Letter]) -> None:
    registry.tune("letter.post", {"timeout": 5.0})
    registry.tune("letter.post", {"priority": 1})

    (shown,) = [kind for kind in registry.kinds() if kind.name == "letter.post"]
    assert shown is registry.get("letter.post") is registry.find("letter.post")
    assert (shown.timeout, shown.priority) == (30, 1)
    assert registry.declared("letter.post") is letter

    registry.tune("letter.post", {})
    assert registry.get("letter.post") is letter


def test_the_registry_refuses_what_an_author_could_not_have_registered(letter: Kind[Letter]) -> None:
    for changes in ({"timeout": 0.0}, {"timeout": float("nan")}, {"priority": 200}):
        with pytest.raises(RegistrationError):
            registry.tune("letter.post", changes)

    assert registry.get("letter.post") is letter


def test_a_reset_kind_keeps_what_its_handler_was_wrapped_in(letter: Kind[Letter]) -> None:
    registry.tune("letter.post", {"timeout": 5.0})
    registry.wrap_handlers(lambda handle: lambda job: Done({"wrapped": handle(job) == Done()}))

    registry.tune("letter.post", {})

    assert registry.get("letter.post").handle(Any) == Done({"wrapped": True})  # type: ignore[arg-type] # looks at nothing
    assert registry.get("letter.post").timeout == letter.timeout
