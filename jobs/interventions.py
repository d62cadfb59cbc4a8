"""What only a person may decide. An intervention opens with the commit that blocks a job, and asks; here is decided.

The apps above register the actions of their own subjects (jobs/extensions.py); those of a blocked job are here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from events.services import LARGEST_DATA
from jobs import awaiting, extensions, lanes, registry, services, store, unique
from jobs.bell import bell
from jobs.errors import AlreadyResolved, InterventionNotFound, InvalidOption, SecondPersonRequired, WrongStatus
from jobs.extensions import Action, Decision
from jobs.judge import LARGEST_OUTPUT
from jobs.models import Intervention, Job
from jobs.states import ENDED, TRANSITIONS, Status
from jobs.store import Move

LONGEST_REASON = 500


@dataclass(frozen=True, slots=True)
class _Act:
    """How a blocked job goes on: the verb of its way, and what that way needs."""

    verb: str
    title: str
    explanation: str
    permission: str
    fresh: bool = False
    wants: str | None = None


ACTS: Mapping[str, _Act] = {
    "retry": _Act(
        "resume", "Retry", "It runs once more, with its attempts counted anew.", "jobs.retry_job", fresh=True
    ),
    "edit_and_retry": _Act(
        "resume",
        "Edit payload and retry",
        "The new payload replaces the old one, and it runs once more with its attempts counted anew.",
        "jobs.edit_payload",
        fresh=True,
        wants="payload",
    ),
    "resume": _Act(
        "resume",
        "Resume",
        "It runs once more; its attempts are counted on, so the next failure blocks it again.",
        "jobs.retry_job",
    ),
    "skip": _Act("cancel", "Skip", "It is cancelled and never runs; what waits behind it goes on.", "jobs.cancel_job"),
    "supply": _Act(
        "supply",
        "Supply the result",
        "It is done, with the output that is given here; what waits behind it goes on.",
        "jobs.edit_payload",
        wants="output",
    ),
}
assert tuple(ACTS) == store.ACTIONS_ON_BLOCKED  # noqa: S101 - two lists of one thing, in two floors


def get(project_id: UUID, intervention_id: UUID) -> Intervention:
    """One intervention of a project.

    Raises:
        InterventionNotFound: the project has no such intervention.
    """
    found = Intervention.objects.filter(id=intervention_id, project_id=project_id).first()
    if found is None:
        raise InterventionNotFound(intervention_id=intervention_id)
    return found


def action(intervention: Intervention, name: str) -> Action:
    """An action that is allowed on this intervention.

    Raises:
        InvalidOption: it is not.
    """
    if name not in intervention.actions:
        message = f"This intervention allows {', '.join(intervention.actions)}; not {name!r}."
        raise InvalidOption(message, code="action_not_allowed", field="/action")
    return extensions.intervention_actions.get(f"{intervention.subject_type}.{name}")


def preview(intervention: Intervention, decision: Decision) -> Mapping[str, Any]:
    """What an action would do, if it were taken now. Nothing is changed.

    Raises:
        AlreadyResolved: somebody has decided.
        InvalidOption, InvalidPayload, WrongStatus: the action could not be taken so.
    """
    _open(intervention)
    return action(intervention, decision.action).preview(intervention, decision)


def resolve(intervention: Intervention, decision: Decision) -> Intervention:
    """Take an action. Of several who decide at once, one does.

    Raises:
        AlreadyResolved, InvalidOption, InvalidPayload, WrongStatus: see `preview`; or there is no reason given.
        SecondPersonRequired: somebody else must approve it: see `jobs/inbox.py`.
    """
    _open(intervention)
    if wants_second(intervention) and not decision.approved_by:
        raise SecondPersonRequired
    if not decision.reason.strip():
        message = "A decision wants its reason."
        raise InvalidOption(message, code="reason_required", field="/reason")
    with transaction.atomic():
        action(intervention, decision.action).act(intervention, decision)
    intervention.refresh_from_db()
    return intervention


def wants_second(intervention: Intervention) -> bool:
    """Whether nobody decides alone: it is about a job of a kind that says so, or about the confirmation of one."""
    return intervention.id in wanting_second([intervention])


def wanting_second(rows: Sequence[Intervention]) -> set[UUID]:
    """Those of some interventions about which nobody decides alone. A confirmation has the id of its job."""
    kinds = [kind.name for kind in registry.kinds() if kind.second_person]
    about = {UUID(row.subject_id): row for row in rows if row.subject_type in {"job", "confirmation"}}
    if not kinds or not about:
        return set()
    projects = {row.project_id for row in about.values() if row.project_id}
    jobs = Job.objects.filter(project_id__in=projects, id__in=about, kind__in=kinds).values_list("id", "project_id")
    return {about[job_id].id for job_id, project_id in jobs if about[job_id].project_id == project_id}


def _open(intervention: Intervention) -> None:
    if intervention.resolved_at is not None:
        message = f"It was resolved by {intervention.resolved_by or 'the platform'}: {intervention.action}."
        raise AlreadyResolved(message)


# ---------------------------------------------------------------------------------------------- blocked jobs


def decide(job: Job, decision: Decision) -> None:
    """Let a blocked job go on by one of `ACTS`. The caller has locked its row, in a transaction.

    Raises:
        WrongStatus: it does not stand blocked (any more).
        InvalidOption, InvalidPayload: what the act wants is missing, or does not fit.
        SecondPersonRequired: nobody decides about its kind alone.
    """
    if services.wants_second(job) and not decision.approved_by:
        raise SecondPersonRequired
    act, payload, output = _checked(job, decision)
    if _target(act, job) is Status.QUEUED:
        unique.keep(job, decision.payload)
    data = services.as_json(
        {"reason": decision.reason, "actor": decision.actor, "action": decision.action}
        | ({"attempt": job.attempt, "output": decision.output} if act.wants == "output" else {})
    )
    move = Move(job.id, job.project_id)
    moved = store.move_many(_verb(act, job), [move], data=data, payload=payload, output=output, fresh=act.fresh)
    before = {"payload": job.payload, "steps": job.steps} if payload is not None else None
    services.audit_job(f"job.{decision.action}", job, decision.actor, decision.reason, before=before)
    if _target(act, job) in ENDED and job.lane is not None:
        lanes.leave([(job.project_id, job.lane)])
    if _target(act, job) is Status.QUEUED:
        transaction.on_commit(lambda: bell.ring(moved.values(), sweep=True))


def resume(
    *, project_id: UUID, job_id: UUID, actor: str, reason: str = "", data: Mapping[str, Any] | None = None
) -> None:
    """Let a blocked job go on, or a parked one before its time, by its own id.

    `data`: for the handler of a parked one, as `job.woken_by.data`.

    Raises:
        JobNotFound: the project has no such job.
        WrongStatus: it is neither blocked nor parked.
        InvalidOption: there are data for a blocked one, or too many.
    """
    reason = reason or "requested"
    with transaction.atomic():
        job = services.locked(project_id, job_id)
        if job.status == Status.PARKED:
            awaiting.resume(job, actor=actor, reason=reason, data=_fitting(data or {}))
            services.audit_job("job.resume", job, actor, reason)
            return
        if data is not None and job.status == Status.BLOCKED:
            message = "A job that is blocked runs again as it was: it takes no data."
            raise InvalidOption(message, code="data_not_allowed", field="/data")
        decide(job, Decision("resume", actor, reason))


def _fitting(data: Mapping[str, Any]) -> Mapping[str, Any]:
    text = services.as_json(dict(data))
    if len(text) > LARGEST_DATA or services.has_nul(text):
        message = f"data has at most {LARGEST_DATA} bytes as JSON, and no NUL character."
        raise InvalidOption(message, code="invalid_data", field="/data")
    return data


def foresee(job: Job, decision: Decision) -> dict[str, Any]:
    """What `decide` would make of a job and of its lane."""
    act, _, _ = _checked(job, decision)
    target = _target(act, job)
    shown: dict[str, Any] = {
        "job": {"id": job.id, "status": target, "attempt": 0 if act.fresh else job.attempt},
        "lane": None,
    }
    if act.wants == "payload":
        shown["job"]["payload"] = decision.payload
    if act.wants == "output":
        shown["job"]["output"] = decision.output
    if job.lane is not None:
        behind = lanes.behind(job.project_id, job.lane, job.id)
        shown["lane"] = {"lane": job.lane, "waiting": behind.number, "next": behind.first if target in ENDED else None}
    return shown


def _checked(job: Job, decision: Decision) -> tuple[_Act, str | None, str | None]:
    if job.status != Status.BLOCKED:
        message = f"The job is {job.status}: there is nothing to decide."
        raise WrongStatus(message, status=job.status)
    act = ACTS[decision.action]
    for name, value in (("payload", decision.payload), ("output", decision.output)):
        if act.wants == name and value is None:
            message = f"{act.title} wants {name}."
            raise InvalidOption(message, code=f"{name}_required", field=f"/{name}")
        if act.wants != name and value is not None:
            message = f"{act.title} takes no {name}."
            raise InvalidOption(message, code=f"{name}_not_allowed", field=f"/{name}")
    payload = output = None
    if act.wants == "payload" and decision.payload is not None:
        payload = services.new_payload(job, decision.payload)
    if act.wants == "output":
        output = services.as_json(decision.output)
        if len(output) > LARGEST_OUTPUT or services.has_nul(output):
            message = f"An output has at most {LARGEST_OUTPUT} bytes as JSON, and no NUL character."
            raise InvalidOption(message, code="invalid_output", field="/output")
    return act, payload, output


def _verb(act: _Act, job: Job) -> str:
    return "supply_chain" if act.verb == "supply" and job.confirm is not None else act.verb


def _target(act: _Act, job: Job) -> Status:
    verb = _verb(act, job)
    return next(t.target for t in TRANSITIONS if t.verb == verb)


def _act_on_job(intervention: Intervention, decision: Decision) -> None:
    job = services.locked(_project(intervention), UUID(intervention.subject_id))
    # Under the lock of the job: it may have gone on, and be blocked by something new.
    intervention.refresh_from_db()
    _open(intervention)
    decide(job, decision)


def _foresee_job(intervention: Intervention, decision: Decision) -> Mapping[str, Any]:
    job = Job.objects.get(id=intervention.subject_id, project_id=_project(intervention))
    return foresee(job, decision)


def _project(intervention: Intervention) -> UUID:
    if intervention.project_id is None:  # no job is without a project
        raise InterventionNotFound(intervention_id=intervention.id)
    return intervention.project_id


def register() -> None:
    """Register what may be done to blocked jobs. Called once, at boot."""
    for name, act in ACTS.items():
        extensions.intervention_actions.register(
            f"job.{name}",
            Action(act.title, act.explanation, act.permission, act.wants, act=_act_on_job, preview=_foresee_job),
        )
