"""Why a job stands where it stands, for a person."""

from typing import Any

import orjson
from pydantic import BaseModel

from jobs import registry
from jobs.selectors import Standing
from jobs.states import Status


class ExplainShown(BaseModel):
    """Why a job stands where it stands: a stable `code`, a sentence, and what it was read from."""

    status: Status
    code: str
    detail: str
    facts: dict[str, Any]


def explain(standing: Standing) -> dict[str, Any]:
    """An `ExplainShown`."""
    code, detail = _why(standing)
    facts = {
        "due_at": standing.due_at,
        "attempt": standing.attempt,
        "live_workers": standing.live_workers,
        "ahead": standing.ahead,
        "worker": standing.worker,
        "cancel_requested": standing.cancel_requested,
        "paused_until": standing.paused_until,
        "lane": standing.lane,
        "lane_ahead": standing.lane_ahead,
        "lane_head": standing.lane_head,
        "lane_head_status": standing.lane_head_status,
        "error": None if standing.error is None else orjson.Fragment(standing.error),
    }
    return {"status": standing.status, "code": code, "detail": detail, "facts": facts}


_WHY = {
    Status.PROCESSING: ("running", "A worker runs it."),
    Status.PARKED: ("parked", "Its handler named a time or an event to wait for."),
    Status.PENDING_APPROVAL: ("needs_approval", "It is done, but a person must approve the result."),
    Status.CONFIRMING: ("confirming", "It is done; its result is on its way to the chain."),
    Status.BLOCKED: ("needs_a_person", "It stopped and waits until a person decides; see the error."),
    Status.PROCESSED: ("done", "It is done."),
    Status.CONFIRMED: ("done", "It is done, and final on the chain."),
    Status.FAILED: ("attempts_exhausted", "Its last attempt failed: it is a dead letter until somebody retries it."),
    Status.REJECTED: ("rejected", "It was refused for good; see the error."),
    Status.CANCELLED: ("cancelled", "It was stopped on request."),
}


def _why(standing: Standing) -> tuple[str, str]:
    if standing.status == Status.QUEUED:
        return _why_queued(standing)
    if standing.status == Status.PROCESSING and standing.cancel_requested:
        return "stopping", "A worker runs it, and was asked to stop."
    return _WHY[Status(standing.status)]


def _paused(standing: Standing) -> str:
    text = f"Jobs of the kind {standing.kind} are paused for this project"
    if standing.pause_reason is None:
        return f"{text}."
    until = f" until {standing.paused_until.isoformat()}" if standing.paused_until else ""
    return f"{text}{until}: {standing.pause_reason}"


def _why_queued(standing: Standing) -> tuple[str, str]:
    known = registry.find(standing.kind) is not None
    reasons = (
        (
            not standing.due and standing.attempt > 0,
            "waits_for_retry",
            "An attempt failed; the next one is due at due_at.",
        ),
        (not standing.due, "not_due", "It is not due before due_at."),
        (
            standing.lane_head is not None,
            "waits_in_lane",
            f"{standing.lane_ahead} of its lane go before it; the first of them is {standing.lane_head_status}.",
        ),
        (standing.gate != 0, "gate_closed", "Something that goes before it is not done yet."),
        (standing.paused, "paused", _paused(standing)),
        (
            not standing.live_workers,
            "no_worker",
            f"No live worker knows the kind {standing.kind}."
            + ("" if known else " No handler of this name is registered here either."),
        ),
        (standing.ahead > 0, "in_line", "It is due, and others are due before it."),
    )
    found = next(((code, detail) for holds, code, detail in reasons if holds), None)
    return found or ("next", "It is due and is claimed as soon as a worker is free.")
