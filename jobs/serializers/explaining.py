"""Why a job stands where it stands, for a person."""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson
from pydantic import BaseModel

from jobs import registry
from jobs.standing import Standing
from jobs.states import Gate, Status


class GateShown(BaseModel):
    """One thing that keeps a job from running: a stable `code`, a sentence, and when it opens, if that is known."""

    code: str
    detail: str
    opens_at: dt.datetime | None


class ExplainShown(BaseModel):
    """Why a job stands where it stands: a stable `code`, a sentence, and what it was read from.

    `claimable`: the next claim of a worker that is free may take it. Otherwise `gates` names all that is in its way.
    """

    status: Status
    code: str
    detail: str
    claimable: bool
    gates: list[GateShown]
    facts: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Found:
    code: str
    detail: str
    opens_at: dt.datetime | None = None
    closed: bool = True  # the claim passes the job by; otherwise it is only not its turn yet


def explain(standing: Standing) -> dict[str, Any]:
    """An `ExplainShown`."""
    found = list(_gates(standing)) if standing.status == Status.QUEUED else []
    code, detail = (found[0].code, found[0].detail) if found else _why(standing)
    facts = {
        "due_at": standing.due_at,
        "attempt": standing.attempt,
        "live_workers": standing.live_workers,
        "ahead": standing.ahead,
        "worker": standing.worker,
        "cancel_requested": standing.cancel_requested,
        "paused_until": standing.paused_until,
        "weight": standing.weight,
        "other_projects": standing.others,
        "lane": standing.lane,
        "lane_ahead": standing.lane_ahead,
        "lane_head": standing.lane_head,
        "lane_head_status": standing.lane_head_status,
        "limit": standing.limit,
        "limit_key": standing.limit_key,
        "closed_until": standing.closed_until,
        "event": standing.event,
        "event_subject": standing.event_subject,
        "error": None if standing.error is None else orjson.Fragment(standing.error),
    }
    return {
        "status": standing.status,
        "code": code,
        "detail": detail,
        "claimable": claimable(standing),
        "gates": [{"code": one.code, "detail": one.detail, "opens_at": one.opens_at} for one in found],
        "facts": facts,
    }


def claimable(standing: Standing) -> bool:
    """Whether a claim that is large enough takes the job now."""
    return standing.status == Status.QUEUED and not any(gate.closed for gate in _gates(standing))


_WHY = {
    Status.QUEUED: ("next", "It is due and is claimed as soon as a worker is free."),
    Status.PROCESSING: ("running", "A worker runs it."),
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
    if standing.stage is not None:
        return standing.stage
    if standing.status == Status.PROCESSING and standing.cancel_requested:
        return "stopping", "A worker runs it, and was asked to stop."
    if standing.status == Status.PARKED:
        until = f"until {standing.due_at.isoformat()}"
        if standing.event is None:
            return "parked", f"Its handler parked it {until}."
        about = f" about {standing.event_subject}" if standing.event_subject else ""
        return "waits_for_event", f"It waits for the event {standing.event}{about}, {until} at the longest."
    return _WHY[Status(standing.status)]


def _gates(standing: Standing) -> Iterator[_Found]:
    """All that is in the way of a queued job, in the order in which a person wants to hear of it."""
    if not standing.due:
        code, detail = "not_due", "It is not due before due_at."
        if standing.attempt > 0:
            code, detail = "waits_for_retry", "An attempt failed; the next one is due at due_at."
        yield _Found(code, detail, standing.due_at)
    if standing.lane_head is not None:
        detail = f"{standing.lane_ahead} of its lane go before it; the first of them is {standing.lane_head_status}."
        yield _Found("waits_in_lane", detail)
    elif standing.gate & ~Gate.LIMIT:
        yield _Found("gate_closed", "Something that goes before it is not done yet.")
    if standing.paused:
        yield _Found("paused", _paused(standing), standing.paused_until)
    if standing.limit is not None:
        yield from _limit(standing)
    if not standing.live_workers:
        detail = f"No live worker knows the kind {standing.kind}."
        if registry.find(standing.kind) is None:
            detail += " No handler of this name is registered here either."
        yield _Found("no_worker", detail, closed=False)
    if standing.ahead > 0:
        yield _Found("in_line", "It is due, and others are due before it.", closed=False)
        if standing.others:
            yield _Found("fair_share", _share(standing), closed=False)


def _paused(standing: Standing) -> str:
    text = f"Jobs of the kind {standing.kind} are paused for this project"
    if standing.pause_reason is None:
        return f"{text}."
    until = f" until {standing.paused_until.isoformat()}" if standing.paused_until else ""
    return f"{text}{until}: {standing.pause_reason}"


def _share(standing: Standing) -> str:
    whole = standing.weight + standing.others_weight
    return (
        f"{standing.others} other projects may have due jobs of this kind as well; of their common workers this project"
        f" has {standing.weight} of {whole} shares."
    )


def _limit(standing: Standing) -> Iterator[_Found]:
    """What the limit of its key has against it, as the claim reckons (jobs/sql/claim/limits.sql)."""
    name = f"The limit {standing.limit}" + (f" of {standing.limit_key}" if standing.limit_key else "")
    before, in_use = standing.limit_before, standing.in_use
    if standing.closed_until is not None and standing.closed_until > standing.now:
        detail = f"{name} is closed until {standing.closed_until.isoformat()}: a job was told to wait."
        yield _Found("limit_closed", detail, standing.closed_until)
    if standing.concurrency is not None and (
        standing.concurrency == 0 or (in_use + before > 0 and in_use + before + standing.cost > standing.concurrency)
    ):
        running = "" if standing.limit_shared else f", and {in_use} run"
        yield _Found("limit_reached", f"{name} lets at most {standing.concurrency} run at once{running}.")
    elif standing.ramp is not None and in_use + before >= standing.ramp:
        yield _Found("limit_reopening", f"{name} was closed and lets {standing.ramp} run at once until they end well.")
    if standing.limit_at is not None and standing.limit_at > standing.now:
        yield _Found("limit_rate", f"{name} lets {standing.rate:g} start a second.", standing.limit_at)
    if standing.gate & Gate.LIMIT or (standing.limit_waiting and not standing.turn):
        yield _Found("waits_for_limit", f"{name} lets others go first, who wait for it longer.")
