"""What a person may do to a schedule: run it now, pause it, resume it, make the jobs of a time that is past."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django_celery_beat.models import PeriodicTask

from jobplatform.admin.schedule_forms import BackfillForm
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from jobs import firing, schedules
from jobs.errors import InvalidOption, JobsError
from jobs.models import Schedule

_FIELDS = {"/from": "begin", "/to": "end"}


@dataclass(frozen=True, slots=True)
class Act:
    """One thing to do, in words, and how it is done. `do` says what came of it."""

    title: str
    explanation: str
    do: Callable[[Schedule, str, dict[str, Any]], str]
    form: type[ReasonForm] = ReasonForm
    when_enabled: bool | None = None  # None: always
    foresees: bool = False


def _run(row: Schedule, actor: str, given: dict[str, Any]) -> str:
    job = firing.run(schedule_id=row.id, project_id=None, actor=actor, reason=given["reason"])
    return f"The job {job.id} was created."


def _pause(row: Schedule, actor: str, given: dict[str, Any]) -> str:
    schedules.pause(schedule_id=row.id, project_id=None, actor=actor, reason=given["reason"])
    return "The schedule is paused."


def _resume(row: Schedule, actor: str, given: dict[str, Any]) -> str:
    schedules.resume(schedule_id=row.id, project_id=None, actor=actor, reason=given["reason"])
    return "The schedule is enabled, from now on."


def _backfill(row: Schedule, actor: str, given: dict[str, Any]) -> str:
    done = firing.backfill(
        schedule_id=row.id, project_id=None, begin=given["begin"], end=given["end"], actor=actor,
        reason=given["reason"], dry_run=given["dry"],
    )  # fmt: skip
    if not given["dry"]:
        return f"{done.made} jobs were created."
    return f"{done.instants} instants, {done.existing} of which have a job: {done.instants - done.existing} jobs."


ACTS = {
    "run": Act("Run now", "Makes one job now. When the schedule is due stays as it is.", _run),
    "pause": Act("Pause", "No instant makes a job any more, until somebody resumes it.", _pause, when_enabled=True),
    "resume": Act(
        "Resume", "Fires again from now on. What was due in between makes no job.", _resume, when_enabled=False
    ),
    "backfill": Act(
        "Backfill", "Makes the jobs of a time that is past, for the instants that have none.", _backfill,
        BackfillForm, foresees=True,
    ),
}  # fmt: skip


def show(model_admin: Any, request: HttpRequest, name: str, object_id: str) -> HttpResponse:
    """The form of an act on one schedule, and the act."""
    if not model_admin.has_change_permission(request):
        raise PermissionDenied
    task = PeriodicTask.objects.filter(pk=object_id).first() if object_id.isdecimal() else None
    if task is None:
        raise Http404
    act = ACTS[name]
    row = schedules.of_task(task)
    address = reverse("admin:django_celery_beat_periodictask_change", args=(task.pk,))
    form = act.form(request.POST if request.method == "POST" else None)
    foreseen = ""
    if form.is_valid():
        dry = act.foresees and "foresee" in request.POST
        try:
            said = act.do(row, actor_of(request), {**form.cleaned_data, "dry": dry})
        except InvalidOption as error:
            form.add_error(_FIELDS.get(error.field), str(error))
        except JobsError as error:
            form.add_error(None, str(error))
        else:
            if not dry:
                messages.success(request, said)
                return HttpResponseRedirect(address)
            foreseen = said
    title = f"{act.title}: {schedules.name_of(row)}"
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "content_title": title,
        "act": act,
        "danger": name == "pause",
        "foreseen": foreseen,
        "form": form,
        "back": address,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "jobplatform/schedule_act.html", context)
