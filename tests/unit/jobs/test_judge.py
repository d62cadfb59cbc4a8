import datetime as dt
from dataclasses import replace
from typing import Any
from uuid import uuid4

import orjson
import pytest
from pydantic import BaseModel

from jobs import Block, Cancel, Done, Park, Reject, Retry, RetryIn, Run, Wait, exponential
from jobs.errors import TimedOut
from jobs.judge import Finished, bad_outcome, broken, died, judge, released
from jobs.policy import Batch
from jobs.registry import Kind
from jobs.states import TRANSITIONS, Status
from jobs.store import Claimed, Owned, Verdict


class Empty(BaseModel):
    pass


class Down(Exception):
    pass


class Invalid(Exception):
    code = "invalid_order"


class Slow(Exception):
    pass


def kind(**changes: Any) -> Kind[Any]:
    values: dict[str, Any] = {
        "name": "order.ship",
        "handle": lambda _job: None,
        "payload": Empty,
        "retry": Retry(max_attempts=3, backoff=exponential(5)),
        "errors": {Invalid: Reject, Down: Wait(60), Slow: Retry(max_attempts=1)},
        "timeout": 10.0,
        "expect": None,
        "confirm": "optional",
        "batch": Batch(),
        "unique": None,
        "queue": "default",
        "priority": 0,
        "public": True,
        "is_async": False,
        "window": 50,
        "title": "",
        "description": "",
    }
    return Kind(**(values | changes))


def claimed(attempt: int = 1) -> Claimed:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    return Claimed(
        uuid4(), uuid4(), "order.ship", 4, attempt, None, None, None, "process", None, 1, now, "{}", None, None, False
    )


def verdict_on(result: object = None, error: BaseException | None = None, attempt: int = 1, **about: Any) -> Verdict:
    return judge(kind(**about), Finished(claimed(attempt), result, error, 0.25))


def extra(verdict: Verdict) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(verdict.extra or "{}")
    return found


def test_done_ends_the_job_and_publishes_its_output() -> None:
    verdict = verdict_on(Done({"parcel": 7}, quality=0.9, metrics={"bytes": 12}))

    assert (verdict.status, verdict.event, verdict.outcome) == (Status.PROCESSED, "job.processed", "done")
    assert orjson.loads(verdict.data)["output"] == {"parcel": 7}
    assert extra(verdict) == {"quality": 0.9, "metrics": {"bytes": 12.0}}


@pytest.mark.parametrize("nonsense", [None, True, "ok", {"status": "done"}, Done, object()])
def test_anything_that_is_no_outcome_is_a_failed_attempt(nonsense: object) -> None:
    verdict = verdict_on(nonsense)

    assert verdict.outcome == "retried"
    assert extra(verdict)["error"]["code"] == "bad_outcome"


@pytest.mark.parametrize(
    "output",
    [object(), {1, 2}, {"a": "\x00"}, "\ud800", 2**70, "x" * 2_000_000],
    ids=["object", "set", "nul", "surrogate", "number", "long"],
)
def test_an_output_that_cannot_be_stored_is_a_failed_attempt(output: object) -> None:
    assert extra(verdict_on(Done(output)))["error"]["code"] == "bad_output"


@pytest.mark.parametrize("error", [ValueError("x"), SystemExit(0), KeyboardInterrupt(), MemoryError(), BaseException()])
def test_whatever_a_handler_raises_is_retried(error: BaseException) -> None:
    verdict = verdict_on(error=error)

    assert (verdict.status, verdict.event) == (Status.QUEUED, "job.retrying")
    assert extra(verdict)["delay"] == 5


def test_the_last_attempt_makes_a_dead_letter() -> None:
    verdict = verdict_on(error=ValueError("x"), attempt=3)

    assert (verdict.status, verdict.event, verdict.outcome) == (Status.FAILED, "job.failed", "failed")


def test_a_timeout_is_told_as_such() -> None:
    assert extra(verdict_on(error=TimedOut()))["error"]["code"] == "timeout"


def test_errors_may_mean_rejection() -> None:
    verdict = verdict_on(error=Invalid("no address"))

    assert verdict.status is Status.REJECTED
    assert extra(verdict)["error"] | {"fingerprint": ""} == {
        "code": "invalid_order",
        "message": "no address",
        "retryable": False,
        "fingerprint": "",
    }


def test_wait_costs_no_attempt() -> None:
    verdict = verdict_on(error=Down(), attempt=3)

    assert verdict.status is Status.QUEUED
    assert (extra(verdict)["delay"], extra(verdict)["attempt"]) == (60, 2)


def test_an_error_may_have_a_policy_of_its_own() -> None:
    assert verdict_on(error=Slow()).status is Status.FAILED


def test_retry_in_costs_an_attempt_and_names_its_delay() -> None:
    verdict = verdict_on(RetryIn(42, "not yet"))

    assert extra(verdict)["delay"] == 42
    assert verdict_on(RetryIn(42), attempt=3).status is Status.FAILED


def test_park_waits_without_costing_an_attempt() -> None:
    verdict = verdict_on(Park(30))

    assert (verdict.status, verdict.event) == (Status.PARKED, "job.parked")
    assert (extra(verdict)["delay"], extra(verdict)["attempt"]) == (30, 0)


def test_park_until_a_moment_keeps_the_moment() -> None:
    moment = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)

    assert extra(verdict_on(Park(moment)))["due_at"] == moment.isoformat()


@pytest.mark.parametrize(
    ("outcome", "status"),
    [(Block("a person must look"), Status.BLOCKED), (Reject("bad"), Status.REJECTED), (Cancel(), Status.CANCELLED)],
)
def test_a_handler_may_end_its_job(outcome: object, status: Status) -> None:
    assert verdict_on(outcome).status is status


def test_a_released_job_gets_its_attempt_back() -> None:
    verdict = released(claimed(attempt=2), "shutdown")

    assert (verdict.status, verdict.outcome, extra(verdict)) == (Status.QUEUED, None, {"attempt": 1})


def owned(attempt: int = 1) -> Owned:
    return Owned(uuid4(), uuid4(), "order.ship", 4, attempt, None, None, "process", 1, 0, None, None, None, None, 2.5)


def test_a_dead_process_is_a_failed_attempt() -> None:
    verdict = died(kind(), owned(), "worker_died", shelf_id=9)

    assert verdict.outcome == "retried"
    assert extra(verdict)["shelf_id"] == 9


def test_a_dead_process_on_the_last_attempt_makes_a_dead_letter() -> None:
    assert died(kind(), owned(attempt=3), "worker_died", shelf_id=9).status is Status.FAILED


def test_a_one_shot_kind_is_never_run_again_after_a_crash() -> None:
    assert died(kind(retry=Retry.never()), owned(), "worker_died", shelf_id=9).status is Status.BLOCKED


def test_an_outcome_that_the_database_refuses_fails_its_job_alone() -> None:
    verdict = broken(verdict_on(Done({"a": 1})), "it would not take it")

    assert verdict.status is Status.FAILED
    assert extra(verdict)["error"]["code"] == "bad_output"


@pytest.mark.parametrize(
    "verdict",
    [
        verdict_on(Done()),
        verdict_on(None),
        verdict_on(error=ValueError(), attempt=3),
        verdict_on(Park(1)),
        verdict_on(Block("x")),
        verdict_on(Reject()),
        verdict_on(Cancel()),
        released(claimed(), "shutdown"),
    ],
    ids=["done", "nonsense", "last", "park", "block", "reject", "cancel", "released"],
)
def test_every_verdict_is_a_transition_of_the_table(verdict: Verdict) -> None:
    assert (verdict.status, verdict.event) in {
        (t.target, t.event) for t in TRANSITIONS if t.source is Status.PROCESSING
    }


def test_a_run_has_no_database_behind_it() -> None:
    assert not any("django" in str(value.type) for value in Run.__dataclass_fields__.values())


# ------------------------------------------------------------------------------------------------ nonsense
def test_an_outcome_that_cannot_be_understood_asks_the_kind_nothing() -> None:
    strange = kind(retry=Retry(max_attempts=2), errors={Exception: RetryIn(1e300)})

    first = bad_outcome(strange, Finished(claimed(), None, None, 0.1), "nonsense")
    last = bad_outcome(strange, Finished(claimed(attempt=2), None, None, 0.1), "nonsense")

    assert (first.status, last.status) == (Status.QUEUED, Status.FAILED)
    assert orjson.loads(last.extra or "")["error"]["code"] == "bad_outcome"


@pytest.mark.parametrize("answer", [Park(60.0), Wait(1)])
def test_a_kind_that_runs_once_is_not_run_again(answer: Any) -> None:
    once = kind(retry=Retry.never(), errors={Down: Wait(1)})
    finished = (
        Finished(claimed(), None, Down(), 0.1) if isinstance(answer, Wait) else Finished(claimed(), answer, None, 0.1)
    )

    verdict = judge(once, finished)

    assert (verdict.status, orjson.loads(verdict.data)["reason"]) == (Status.BLOCKED, "may_have_taken_effect")


@pytest.mark.parametrize("answer", [RetryIn(float("inf")), RetryIn(float("nan")), Park(1e300), Reject("Not Snake")])
def test_an_answer_without_sense_is_not_guessed_at(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"no time to wait|snake_case"):
        judge(kind(), Finished(claimed(), answer, None, 0.1))


def test_a_text_that_names_a_nul_character_is_not_one() -> None:
    named = r"\u0000 and \\u0000"
    assert orjson.loads(verdict_on(Done({"x": named})).output or "") == {"x": named}
    assert verdict_on(Done({"x": "\\\0"})).outcome == "retried"
    assert extra(verdict_on(error=ValueError(named)))["error"]["message"] == named


def test_who_waits_again_and_again_is_shown_to_a_person_in_the_end() -> None:
    patient = kind(errors={Down: Wait(60, most=3)})
    waited = [replace(claimed(), claim_no=number) for number in (3, 4)]  # the attempt is the first of both

    found = [judge(patient, Finished(job, None, Down("still"), 0.1)) for job in waited]

    assert [verdict.status for verdict in found] == [Status.QUEUED, Status.BLOCKED]
    assert orjson.loads(found[1].data)["reason"] == "waited_too_often"


def test_a_parked_job_may_wait_for_an_event_as_well() -> None:
    verdict = verdict_on(Park(30, event="payment.arrived", subject="order-7"))

    assert (verdict.status, verdict.event) == (Status.PARKED, "job.parked")
    assert extra(verdict)["delay"] == 30
    assert orjson.loads(verdict.data)["event"] == {"type": "payment.arrived", "subject": "order-7"}
    assert verdict.awaited is not None
    assert (verdict.awaited.type, verdict.awaited.subject) == ("payment.arrived", "order-7")


def test_a_job_of_the_platform_is_awaited_by_its_id() -> None:
    other = uuid4()
    verdict = verdict_on(Park(30, event="job.processed", subject=str(other)))

    assert verdict.awaited is not None
    assert verdict.awaited.subject_id == other


@pytest.mark.parametrize(
    ("event", "subject"),
    [("job.invented", "x"), ("Payment", "x"), ("payment", "x"), ("", ""), ("job.processed", ""), ("a.b", "x" * 201)],
)
def test_an_event_that_can_never_come_is_no_answer(event: str, subject: str) -> None:
    with pytest.raises(ValueError, match=r"event|UUID|subject"):
        verdict_on(Park(30, event=event, subject=subject))
