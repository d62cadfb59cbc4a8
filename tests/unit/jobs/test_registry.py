from typing import Annotated, Any
from uuid import uuid4

import pytest
from pydantic import BaseModel, BeforeValidator

from jobs import Batch, Done, Park, Reject, Retry, RetryIn, Run, Unique, Wait, handler, registry
from jobs.errors import RegistrationError, UnknownKind
from jobs.testing import TestDesk, run_once


class Letter(BaseModel):
    to: str


class Money:
    """Something that Pydantic does not know."""


class Priced(BaseModel, arbitrary_types_allowed=True):
    amount: Annotated[Money, BeforeValidator(lambda _: Money())]


@pytest.fixture(autouse=True)
def kinds_of_this_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_kinds", {})


def post(job: Run[Letter]) -> Done:
    """Post a letter."""
    job.progress(1, 2, "half")
    job.log("posted", to=job.payload.to)
    return Done({"stamp": job.step("stamp", lambda: 80)})


def test_a_handler_is_found_by_its_name() -> None:
    kind = handler("letter.post", payload=Letter)(post)

    assert registry.get("letter.post") is kind
    assert kind.title == "Post a letter."


def test_a_name_is_taken_once() -> None:
    handler("letter.post", payload=Letter)(post)

    with pytest.raises(RegistrationError, match="registered twice"):
        handler("letter.post", payload=Letter)(post)


@pytest.mark.parametrize("name", ["letter", "Letter.post", "letter.", ".post", "letter post", "a." + "b" * 100])
def test_a_name_is_noun_dot_verb(name: str) -> None:
    with pytest.raises(RegistrationError, match=r"noun\.verb"):
        handler(name, payload=Letter)(post)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"payload": dict}, "Pydantic"),
        ({"payload": Priced}, "no JSON schema"),
        ({"payload": Letter, "timeout": 0}, "timeout"),
        ({"payload": Letter, "priority": 101}, "priority"),
        ({"payload": Letter, "unique": Unique(by=("from",))}, "does not have"),
        ({"payload": Letter, "example": {}}, "example"),
    ],
)
def test_options_that_contradict_one_another_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(RegistrationError, match=sentence):
        handler("letter.post", **options)(post)


def test_a_one_shot_kind_runs_alone() -> None:
    kind = handler("letter.post", payload=Letter, retry=Retry.never(), batch=Batch(100))(post)

    assert (kind.batch.max, kind.window) == (1, 1)


def test_an_unknown_kind_says_its_name() -> None:
    with pytest.raises(UnknownKind, match=r"letter\.burn"):
        registry.get("letter.burn")


def test_the_nearest_class_decides_what_an_error_means() -> None:
    wide, near = Retry(max_attempts=2), Retry(max_attempts=9)
    kind = handler("letter.post", payload=Letter, errors={Exception: wide, LookupError: near})(post)

    assert kind.answer_to(KeyError()) is near
    assert kind.answer_to(ValueError()) is wide
    assert kind.answer_to(SystemExit()) is None


def test_a_handler_can_be_called_without_a_database() -> None:
    kind = handler("letter.post", payload=Letter)(post)
    desk = TestDesk(steps={"stamp": 95})

    done = run_once(kind, {"to": "Ada"}, project_id=uuid4(), desk=desk)

    assert done.output == {"stamp": 95}  # the step was remembered
    assert desk.shown == [(1, 2, "half")]
    assert desk.lines == [("posted", {"to": "Ada"})]


def test_an_async_handler_too() -> None:
    async def later(job: Run[Letter]) -> Done:
        return Done({"to": job.payload.to})

    kind = handler("letter.later", payload=Letter)(later)

    assert kind.is_async
    assert run_once(kind, {"to": "Ada"}, project_id=uuid4()).output == {"to": "Ada"}


def test_enqueue_wants_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_submit", None)
    kind = handler("letter.post", payload=Letter)(post)

    with pytest.raises(RegistrationError, match=r"django\.setup"):
        kind.enqueue(to="Ada")


# ------------------------------------------------------------------------------------------------ answers
@pytest.mark.parametrize("answer", [Wait(1), RetryIn(1), Park(1.0), Retry(max_attempts=3)])
def test_a_kind_that_runs_once_may_not_be_run_again_by_an_error(answer: Any) -> None:
    with pytest.raises(RegistrationError, match="runs once at most"):
        handler("once.again", payload=Letter, retry=Retry.never(), errors={ValueError: answer})(lambda _job: Done())


@pytest.mark.parametrize(
    ("answer", "says"), [(RetryIn(1e300), "a wait of"), (RetryIn(-1), "a wait of"), (Reject("Not Snake"), "snake_case")]
)
def test_an_answer_to_an_error_makes_sense_or_is_refused_at_once(answer: Any, says: str) -> None:
    with pytest.raises(RegistrationError, match=says):
        handler("strange.answer", payload=Letter, errors={ValueError: answer})(lambda _job: Done())


def test_a_unique_key_of_a_set_is_refused() -> None:
    class Bag(BaseModel):
        number: int
        things: set[str]

    def handle(_job: Run[Bag]) -> Done:
        return Done()

    handler("bag.count", payload=Bag, unique=Unique(by=("number",)))(handle)
    with pytest.raises(RegistrationError, match="a set, which has no order"):
        handler("bag.pack", payload=Bag, unique=Unique())(handle)
