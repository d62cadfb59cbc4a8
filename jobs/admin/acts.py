"""What an operator may do to jobs: cancel, retry, decide on blocked ones. Each wants a permission and a reason.

The services do it and write the audit record; doing it twice does it once.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from jobplatform.backoffice import markup
from jobplatform.backoffice.filters import uuid_of
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from jobs import interventions, registry, services
from jobs.admin import looks
from jobs.admin.forms import EditForm, OutputForm, WakeForm
from jobs.admin.listing import find, projects
from jobs.errors import InvalidOption, InvalidPayload, JobsError, SecondPersonRequired
from jobs.extensions import Decision
from jobs.models import Intervention, Job
from jobs.states import CANCELLABLE, REDRIVABLE, Status

MOST_SELECTED = 100
"""Jobs of one act from the list: more is a redrive, which goes in slices."""


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to do: who may, from which statuses, and how it is called before and after."""

    name: str
    title: str
    done: str
    permission: str
    allowed: frozenset[Status]
    icon: str
    tone: str
    explanation: str
    do: Callable[[Job, str, dict[str, Any]], Job]
    form: type[ReasonForm] = field(default=ReasonForm)
    decision: str = ""  # its name among the actions of an intervention

    def open_to(self, request: HttpRequest, job: Job) -> bool:
        """Whether this person may do it to this job now."""
        return job.status in self.allowed and request.user.has_perm(self.permission)


def _cancel(job: Job, actor: str, given: dict[str, Any]) -> Job:
    return services.cancel(project_id=job.project_id, job_id=job.id, actor=actor, reason=given["reason"])


def _retry(job: Job, actor: str, given: dict[str, Any]) -> Job:
    return services.retry(
        project_id=job.project_id, job_id=job.id, actor=actor, reason=given["reason"], payload=given.get("payload")
    )


def _wake(job: Job, actor: str, given: dict[str, Any]) -> Job:
    interventions.resume(
        project_id=job.project_id, job_id=job.id, actor=actor, reason=given["reason"], data=given["given"]
    )
    return Job.objects.get(id=job.id, project_id=job.project_id)


def _decide(name: str) -> Callable[[Job, str, dict[str, Any]], Job]:
    def do(job: Job, actor: str, given: dict[str, Any]) -> Job:
        decision = Decision(name, actor, given["reason"], given.get("payload"), given.get("output"))
        with transaction.atomic():
            interventions.decide(services.locked(job.project_id, job.id), decision)
        return Job.objects.get(id=job.id, project_id=job.project_id)

    return do


CANCEL = Act(
    "cancel",
    "Cancel",
    "cancelled",
    "jobs.cancel_job",
    CANCELLABLE | {Status.PROCESSING},
    "cancel",
    "danger",
    "A job that waits is cancelled at once. A job that runs is asked to stop; its handler decides when.",
    _cancel,
)
RETRY = Act(
    "retry",
    "Retry",
    "queued again",
    "jobs.retry_job",
    REDRIVABLE | {Status.BLOCKED},
    "replay",
    "primary",
    "The job is queued once more, with its attempts counted anew. Its history stays.",
    _retry,
    decision="retry",
)
EDIT = Act(
    "edit-and-retry",
    "Edit payload and retry",
    "queued again with the new payload",
    "jobs.edit_payload",
    REDRIVABLE | {Status.BLOCKED},
    "edit_note",
    "default",
    "The new payload replaces the old one, and the job is queued once more with its attempts counted anew.",
    _retry,
    EditForm,
    decision="edit_and_retry",
)
_BLOCKED = frozenset({Status.BLOCKED})
RESUME = Act(
    "resume",
    "Resume",
    "resumed",
    "jobs.retry_job",
    _BLOCKED,
    "resume",
    "default",
    interventions.ACTS["resume"].explanation,
    _decide("resume"),
    decision="resume",
)
WAKE = Act(
    "wake",
    "Resume now",
    "resumed",
    "jobs.retry_job",
    frozenset({Status.PARKED}),
    "resume",
    "primary",
    "The job waits no longer. Its handler runs again and finds the data below in job.woken_by.",
    _wake,
    WakeForm,
)
SKIP = Act(
    "skip",
    "Skip",
    "skipped",
    "jobs.cancel_job",
    _BLOCKED,
    "skip_next",
    "danger",
    interventions.ACTS["skip"].explanation,
    _decide("skip"),
    decision="skip",
)
SUPPLY = Act(
    "supply",
    "Supply the result",
    "done, with the result that you supplied",
    "jobs.edit_payload",
    _BLOCKED,
    "task_alt",
    "default",
    interventions.ACTS["supply"].explanation,
    _decide("supply"),
    OutputForm,
    decision="supply",
)
ACTS = {act.name: act for act in (CANCEL, RETRY, EDIT, RESUME, WAKE, SKIP, SUPPLY)}
BY_DECISION = {act.decision: act for act in ACTS.values() if act.decision}


def act_on_one(model_admin: Any, request: HttpRequest, name: str, job_id: UUID) -> HttpResponse:
    """The form of an act on one job, and the act."""
    act = _permitted(request, name)
    job = find(job_id)
    if job is None:
        raise Http404
    address = reverse("admin:jobs_job_change", args=(job.id,))
    if job.status not in act.allowed:
        messages.warning(request, f"The job is {job.status.replace('_', ' ')} now: there is nothing to {name}.")
        return HttpResponseRedirect(address)
    initial = {"payload": json.dumps(job.payload, indent=2, ensure_ascii=False)} if act is EDIT else {}
    form = act.form(request.POST if request.method == "POST" else None, initial=initial)
    if isinstance(form, EditForm):
        form.fields["payload"].widget.attrs["rows"] = min(24, max(6, initial["payload"].count("\n") + 3))
    if form.is_valid():
        try:
            after = act.do(job, actor_of(request), form.cleaned_data)
        except InvalidPayload as error:
            for line in _lines(error):
                form.add_error("payload" if act is EDIT else None, line)
        except InvalidOption as error:
            form.add_error(error.field.strip("/") or None, str(error))
        except SecondPersonRequired as error:
            messages.warning(request, str(error))
            return HttpResponseRedirect(_asked(job) or address)
        except JobsError as error:
            messages.warning(request, str(error))  # the page has an error of its own, which hides one of these
            return HttpResponseRedirect(address)
        else:
            messages.success(request, _result(act, after))
            return HttpResponseRedirect(address)
    return _page(model_admin, request, act, [job], form=form, back=address)


def _asked(job: Job) -> str | None:
    """The page of what a person was asked about a job."""
    row = Intervention.objects.filter(subject_type="job", subject_id=str(job.id), resolved_at=None).first()
    return reverse("admin:jobs_intervention_change", args=(row.id,)) if row else None


def act_on_selected(model_admin: Any, request: HttpRequest, name: str) -> HttpResponse:
    """The form of an act on jobs selected in the list, and the act, job by job."""
    act = _permitted(request, name)
    if act.form is not ReasonForm:
        raise Http404
    given = request.GET.get("ids", "")
    ids = [found for text in given.split(",")[:MOST_SELECTED] if (found := uuid_of(text))]
    rows = Job.objects.defer("payload", "output", "steps").filter(project_id__in=projects(), id__in=ids)
    jobs = list(rows.order_by("-id"))
    address = reverse("admin:jobs_job_changelist")
    if not jobs:
        messages.warning(request, "No job was selected.")
        return HttpResponseRedirect(address)
    form = act.form(request.POST if request.method == "POST" else None)
    if form.is_valid():
        done, refused = 0, []
        for job in jobs:
            try:
                act.do(job, actor_of(request), form.cleaned_data)
                done += 1
            except JobsError as error:
                refused.append(f"{job.id}: {error}")
        if done:
            messages.success(request, f"{done} {'job was' if done == 1 else 'jobs were'} {act.done}.")
        if refused:
            messages.warning(request, f"{len(refused)} left as they are. {refused[0]}")
        return HttpResponseRedirect(address)
    return _page(model_admin, request, act, jobs, form=form, back=address)


def _permitted(request: HttpRequest, name: str) -> Act:
    act = ACTS.get(name)
    if act is None:
        raise Http404
    if not (request.user.has_perm("jobs.view_job") and request.user.has_perm(act.permission)):
        raise PermissionDenied
    return act


def _result(act: Act, job: Job) -> str:
    if act is CANCEL and job.status == Status.PROCESSING:
        return f"The job {job.id} was asked to stop."
    return f"The job {job.id} was {act.done}."


def _lines(error: InvalidPayload) -> list[str]:
    found = [
        f"{'.'.join(str(part) for part in item.get('loc', ())) or 'payload'}: {item.get('msg', '')}"
        for item in getattr(error, "errors", ())
    ]
    return found or [str(error)]


def _foresight(act: Act, job: Job) -> list[str]:
    """What will follow for a blocked job and those behind it, in sentences."""
    if not act.decision or job.status != Status.BLOCKED:
        return []
    wanted = {"payload": job.payload} if act is EDIT else {"output": {}} if act is SUPPLY else {}
    seen = interventions.foresee(job, Decision(act.decision, "", **wanted))
    lines = [f"The job will be {seen['job']['status']}, at attempt {seen['job']['attempt']} of its count."]
    if lane := seen["lane"]:
        waiting = (
            f"{lane['waiting']} {'waits' if lane['waiting'] == 1 else 'wait'} behind it in the lane {lane['lane']}"
        )
        lines.append(f"{waiting}; {lane['next']} runs next." if lane["next"] else f"{waiting}, until it has ended.")
    return lines


def _page(
    model_admin: Any, request: HttpRequest, act: Act, jobs: Sequence[Job], *, form: ReasonForm, back: str
) -> HttpResponse:
    for job in jobs:
        job.badge = looks.status(job.status)  # type: ignore[attr-defined] # for the template
        job.stands_open = job.status in act.allowed  # type: ignore[attr-defined] # (same)
    kind = registry.find(jobs[0].kind) if act is EDIT else None
    title = f"{act.title}: {jobs[0].kind}" if len(jobs) == 1 else f"{act.title}: {len(jobs)} jobs"
    context = {
        "foresight": _foresight(act, jobs[0]) if len(jobs) == 1 else [],
        **model_admin.admin_site.each_context(request),
        "title": title,
        "content_title": title,
        "act": act,
        "jobs": jobs,
        "form": form,
        "back": back,
        "schema": markup.pretty(kind.payload.model_json_schema()) if kind else None,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "jobs/admin/act.html", context)
