"""From what a handler did to what becomes of its job: pure functions, no clock and no database."""

import datetime as dt
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from uuid_utils.compat import uuid7

from events.topics import subject_of
from jobs.errors import TimedOut
from jobs.failures import Failure, bounded, failure, from_exception, is_code
from jobs.outcomes import OUTCOMES, Block, Cancel, Done, Outcome, Park, Reject, RetryIn
from jobs.policy import LONGEST_WAIT, AskHuman, GiveUp, Retry, RetryAt, Wait
from jobs.registry import Kind, find
from jobs.states import Status
from jobs.store import Awaited, Claimed, Owned, Verdict

LARGEST_OUTPUT = 1024 * 1024
BAD_OUTCOME_WAIT = 1.0  # seconds
_NOW = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)  # policies answer with a moment; only its distance from now is used
_NUL = re.compile(r"(?<!\\)((?:\\\\)*)\\u0000")  # an escape in JSON, and not the end of an escaped backslash
_NAIVE_UTC = orjson.OPT_NAIVE_UTC


@dataclass(slots=True)
class Finished:
    """An attempt at its end: what the handler returned or raised, and what was noted meanwhile."""

    job: Claimed
    result: Any
    error: BaseException | None
    seconds: float
    log: Sequence[Mapping[str, Any]] = ()
    progress: Mapping[str, Any] | None = None
    now: dt.datetime = field(default=_NOW)
    cancelled: bool = False  # somebody asked to stop it


def judge(kind: Kind[Any], finished: Finished) -> Verdict:
    """The verdict on a finished attempt."""
    if finished.error is not None:
        return _on_error(kind, finished, finished.error)
    result = finished.result
    if isinstance(result, Done):
        return _done(kind, finished, result)
    if not isinstance(result, OUTCOMES):
        problem = failure("bad_outcome", f"The handler returned {type(result).__name__}, which is not an outcome.")
        return _failed(kind, finished, problem)
    return _on_answer(kind, finished, result, None)


_DEATHS = {
    "timeout": "The handler did not return at its timeout and its process was ended.",
    "worker_died": "The process that ran the handler died.",
    "broken_off": "The outcome of the attempt could not be committed.",
}


def released(job: Claimed | Owned, reason: str, *, shelf_id: int | None = None, began: bool = False) -> Verdict:
    """Give a claimed job back unharmed: the attempt does not count. `began`: it may have run a little."""
    extra: dict[str, Any] = {"attempt": job.attempt - 1}
    if shelf_id is not None:
        extra["shelf_id"] = shelf_id
    return Verdict(
        job.id,
        job.project_id,
        job.claim_no,
        Status.QUEUED,
        "job.released",
        _dump({"kind": job.kind, "reason": reason}),
        extra=_dump(extra),
        lane=job.lane,
        lane_no=job.lane_no,
        limit=_limit(job),
        began=began,
    )


def _limit(job: Claimed | Owned) -> tuple[int, int] | None:
    return None if job.limit_id is None else (job.limit_id, job.cost or 1)


def died(kind: Kind[Any] | None, job: Owned, reason: str, *, shelf_id: int) -> Verdict:
    """The verdict on an attempt whose process died. It comes back alone, or ends as its policy says.

    A one-shot kind is blocked: nobody can tell what took effect. So is one that this process does not know, which may
    be one-shot: a rescuer may be older than what it rescues.
    """
    problem = failure(reason, _DEATHS[reason])
    if kind is None or kind.retry.one_shot:
        return _verdict(
            job, Status.BLOCKED, "job.blocked", "blocked", job.held, problem, {"reason": "may_have_taken_effect"}
        )
    decision = kind.retry.decide(problem, job.attempt, _NOW, max_attempts=job.max_attempts, delay=job.retry_delay)
    return _decided(kind, job, decision, problem, job.held, {"shelf_id": shelf_id})


def broken(verdict: Verdict, text: str) -> Verdict:
    """Instead of a verdict that the database cannot take: the attempt failed for good."""
    problem = failure("bad_output", text, retryable=False).as_json()
    old = orjson.loads(verdict.data)
    data: dict[str, Any] = {"kind": old["kind"], "attempt": old["attempt"], "error": problem}
    extra: dict[str, Any] = {"error": problem}
    status, event = Status.FAILED, "job.failed"
    kind = find(old["kind"])
    if (kind is not None and kind.retry.one_shot) or _holds_lane(kind, verdict.lane):
        status, event = Status.BLOCKED, "job.blocked"
        data["reason"], extra["intervention"] = "bad_output", str(uuid7())
    return Verdict(
        verdict.id,
        verdict.project_id,
        verdict.claim_no,
        status,
        event,
        _dump(data),
        outcome=str(status),
        seconds=verdict.seconds,
        extra=_dump(extra),
        lane=verdict.lane,
        lane_no=verdict.lane_no,
        limit=verdict.limit,
    )


def bad_outcome(kind: Kind[Any], finished: Finished, text: str) -> Verdict:
    """The handler's answer, or what it noted, cannot be understood.

    Nothing of the kind's own is asked what follows: it may be the cause.
    """
    job = finished.job
    problem = failure("bad_outcome", text)
    attempts = 1 if kind.retry.one_shot else job.max_attempts or kind.retry.max_attempts
    decision: RetryAt | GiveUp | AskHuman = AskHuman() if kind.retry.ask_human else GiveUp()
    if job.attempt < attempts:
        decision = RetryAt(_NOW + dt.timedelta(seconds=BAD_OUTCOME_WAIT))
    return _decided(kind, job, decision, problem, finished.seconds, {})


def _done(kind: Kind[Any], finished: Finished, done: Done) -> Verdict:
    job = finished.job
    try:
        output = orjson.dumps(done.output if done.output is not None else {}, option=_NAIVE_UTC)
    except TypeError as error:  # orjson's errors are TypeErrors: not JSON, too deep, too large a number, bad Unicode
        return _failed(kind, finished, failure("bad_output", f"The output is not JSON: {error}"))
    if len(output) > LARGEST_OUTPUT:
        text = f"The output has {len(output)} bytes, more than {LARGEST_OUTPUT}."
        return _failed(kind, finished, failure("bad_output", text))
    if b"\\u0000" in output and _NUL.search(output.decode()):
        return _failed(kind, finished, failure("bad_output", "The output contains a NUL character."))
    extra = _extra(finished)
    if done.quality is not None:
        extra["quality"] = float(done.quality)
    if done.metrics:
        extra["metrics"] = {str(name): float(value) for name, value in done.metrics.items()}
    text = output.decode()
    return Verdict(
        job.id,
        job.project_id,
        job.claim_no,
        Status.PROCESSED,
        "job.processed",
        # Written by hand: this is the line that every successful job passes.
        f'{{"kind":"{kind.name}","attempt":{job.attempt},"duration_ms":{finished.seconds * 1000:.3f},"output":{text}}}',
        output=text,
        outcome="done",
        seconds=finished.seconds,
        extra=_dump(extra) if extra else None,
        lane=job.lane,
        lane_no=job.lane_no,
        limit=_limit(job),
    )


def _on_error(kind: Kind[Any], finished: Finished, error: BaseException) -> Verdict:
    if isinstance(error, TimedOut) and finished.cancelled and not kind.retry.one_shot:
        return _on_answer(kind, finished, Cancel("ended"), None)
    if isinstance(error, TimedOut):
        limit = finished.job.timeout or kind.timeout
        problem = failure("timeout", f"The handler ran longer than {limit:g} s.")
        # Interrupted in the middle of what it does once at most.
        return _once_only(finished, problem) if kind.retry.one_shot else _failed(kind, finished, problem)
    answer = kind.answer_to(error)
    if answer is None:
        return _failed(kind, finished, from_exception(error))
    if isinstance(answer, Retry):
        return _failed(kind, finished, from_exception(error), answer)
    if isinstance(answer, Wait):
        if kind.retry.one_shot:
            return _once_only(finished, from_exception(error))
        if finished.job.claim_no - finished.job.attempt >= answer.most:  # claims that cost nothing
            return _on_answer(kind, finished, Block("waited_too_often"), error)
        return _again(finished, from_exception(error), _asked_for(error, answer.seconds))
    if isinstance(answer, type):
        problem = from_exception(error, retryable=False)
        answer = Reject(problem.code, problem.message) if answer is Reject else Cancel(problem.message)
    return _on_answer(kind, finished, answer, error)


def _on_answer(kind: Kind[Any], finished: Finished, answer: Outcome, error: BaseException | None) -> Verdict:
    job, extra = finished.job, _extra(finished)
    match answer:
        case Reject(code, message):
            if not is_code(code):
                message = f"Reject wants a code in snake_case, not {code!r}"
                raise ValueError(message)
            problem = failure(code, message or (str(error) if error else ""), retryable=False)
            return _verdict(job, Status.REJECTED, "job.rejected", "rejected", finished.seconds, problem, extra)
        case Block(reason):
            problem = from_exception(error) if error else failure("blocked", reason)
            extra["reason"] = bounded(reason)
            return _verdict(job, Status.BLOCKED, "job.blocked", "blocked", finished.seconds, problem, extra)
        case Cancel(reason):
            extra["reason"] = bounded(reason)
            return _verdict(job, Status.CANCELLED, "job.cancelled", "cancelled", finished.seconds, None, extra)
        case Park() if kind.retry.one_shot:
            return _once_only(finished, from_exception(error) if error else failure("parked"))
        case Park(until, event, subject):
            extra["attempt"] = job.attempt - 1
            awaited = None if event is None else Awaited(event, subject, subject_of(job.project_id, event, subject))
            if isinstance(until, dt.datetime):
                extra["due_at"] = until.isoformat()
            else:
                extra["delay"] = _finite(until)
            return _parked(job, finished.seconds, extra, awaited)
        case RetryIn(seconds, reason):
            problem = from_exception(error) if error else failure("retry_requested", reason)
            return _failed(kind, finished, problem, delay=_finite(seconds))
    message = f"not an answer: {answer!r}"
    raise TypeError(message)


def _parked(job: Claimed, seconds: float, extra: dict[str, Any], awaited: Awaited | None) -> Verdict:
    if awaited is None:
        return _verdict(job, Status.PARKED, "job.parked", "parked", seconds, None, extra)
    extra["event"] = {"type": awaited.type, "subject": awaited.subject}
    verdict = _verdict(job, Status.PARKED, "job.parked", "parked", seconds, None, extra)
    verdict.awaited = awaited
    return verdict


def _once_only(finished: Finished, problem: Failure) -> Verdict:
    """A kind that runs at most once asks to run again: nobody can tell what took effect, so a person is asked."""
    extra = _extra(finished) | {"reason": "may_have_taken_effect"}
    return _verdict(finished.job, Status.BLOCKED, "job.blocked", "blocked", finished.seconds, problem, extra)


def _finite(seconds: float) -> float:
    if not seconds < LONGEST_WAIT:  # also refuses what is not a number
        message = f"{seconds!r} seconds are no time to wait"
        raise ValueError(message)
    return max(0.0, float(seconds))


def _failed(
    kind: Kind[Any], finished: Finished, problem: Failure, policy: Retry | None = None, *, delay: float | None = None
) -> Verdict:
    job = finished.job
    if delay is None:
        delay = job.retry_delay
    policy = policy or kind.retry
    decision = policy.decide(problem, job.attempt, finished.now, max_attempts=job.max_attempts, delay=delay)
    if isinstance(decision, RetryAt):
        decision = RetryAt(_NOW + (decision.at - finished.now))
    return _decided(kind, job, decision, problem, finished.seconds, _extra(finished))


def _decided(  # noqa: PLR0917 - an attempt and all that is known of its end
    kind: Kind[Any] | None,
    job: Claimed | Owned,
    decision: RetryAt | GiveUp | AskHuman,
    problem: Failure,
    seconds: float,
    extra: dict[str, Any],
) -> Verdict:
    if isinstance(decision, GiveUp) and _holds_lane(kind, job.lane):
        decision = AskHuman()
    match decision:
        case RetryAt(at):
            extra["delay"] = (at - _NOW).total_seconds()
            return _verdict(job, Status.QUEUED, "job.retrying", "retried", seconds, problem, extra)
        case AskHuman():
            extra["reason"] = "attempts_exhausted"
            return _verdict(job, Status.BLOCKED, "job.blocked", "blocked", seconds, problem, extra)
        case GiveUp():
            return _verdict(job, Status.FAILED, "job.failed", "failed", seconds, problem, extra)


def _holds_lane(kind: Kind[Any] | None, lane: str | None) -> bool:
    """Whether a job that cannot be done stops its followers until a person has decided."""
    return lane is not None and (kind is None or kind.lane.on_failure == "block")


def _again(finished: Finished, problem: Failure, seconds: float) -> Verdict:
    extra = _extra(finished) | {"delay": _finite(seconds), "attempt": finished.job.attempt - 1}
    verdict = _verdict(finished.job, Status.QUEUED, "job.retrying", "retried", finished.seconds, problem, extra)
    verdict.wait = seconds
    return verdict


def _asked_for(error: BaseException, seconds: float) -> float:
    """How long to wait: what the error itself says (`retry_after`, seconds), as who answered asked; else `seconds`."""
    told = getattr(error, "retry_after", None)
    if isinstance(told, int | float) and not isinstance(told, bool) and 0 <= told < LONGEST_WAIT:
        return float(told)
    return seconds


def _verdict(  # noqa: PLR0917 - the columns of a verdict
    job: Claimed | Owned,
    status: Status,
    event: str,
    outcome: str,
    seconds: float,
    problem: Failure | None,
    extra: dict[str, Any],
) -> Verdict:
    data: dict[str, Any] = {"kind": job.kind, "attempt": job.attempt, "duration_ms": round(seconds * 1000, 3)}
    if "reason" in extra:
        data["reason"] = extra.pop("reason")
    data |= {name: extra[name] for name in ("delay", "due_at", "event") if name in extra}
    if problem is not None:
        data["error"] = extra["error"] = problem.as_json()
    if status is Status.BLOCKED:
        extra["intervention"] = str(uuid7())
    return Verdict(
        job.id,
        job.project_id,
        job.claim_no,
        status,
        event,
        _dump(data),
        outcome=outcome,
        seconds=seconds,
        extra=_dump(extra),
        lane=job.lane,
        lane_no=job.lane_no,
        limit=_limit(job),
    )


def _extra(finished: Finished) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if finished.log:
        extra["log"] = list(finished.log)
    if finished.progress:
        extra["progress"] = dict(finished.progress)
    return extra


def _dump(value: Mapping[str, Any]) -> str:
    text = orjson.dumps(value, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()
    return _NUL.sub(r"\1\\ufffd", text) if "\\u0000" in text else text
