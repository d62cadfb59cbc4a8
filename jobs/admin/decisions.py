"""The form of a decision on an intervention whose subject is no job: what it would do, and why it is taken.

What may be decided is what the app of the subject has registered (`extensions.intervention_actions`).
"""

import json
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import ObjectDoesNotExist, PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import conditional_escape, format_html
from django.utils.safestring import SafeString

from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import uuid_of
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from jobs import extensions, inbox, interventions, services
from jobs.admin.forms import EditForm, OutputForm
from jobs.errors import InvalidOption, JobsError
from jobs.extensions import Action, Decision
from jobs.models import Intervention

_FORMS: dict[str | None, type[ReasonForm]] = {None: ReasonForm, "payload": EditForm, "output": OutputForm}
_ROWS = 5
_GONE = "What it is about is there no longer."


def open_to(row: Intervention) -> list[tuple[str, Action]]:
    """The actions that may be taken here, each with the address of its form."""
    if row.resolved_at is not None or (row.subject_type == "job" and not interventions.wants_second(row)):
        return []
    found = ((name, f"{row.subject_type}.{name}") for name in row.actions)
    return [
        (reverse("admin:jobs_intervention_decide", args=(row.id, name)), extensions.intervention_actions.get(full))
        for name, full in found
        if full in extensions.intervention_actions
    ]


def subject_of(row: Intervention) -> SafeString:
    """What it is about, by its name where it has one, with the way to its page."""
    key = uuid_of(row.subject_id)
    named = str(subjects.names(row.subject_type, [key]).get(key, "")) if key else ""
    name = markup.visible(named) if named and row.subject_type != "job" else row.subject_id
    return format_html("{} {}", row.subject_type, subjects.link(row.subject_type, row.subject_id, name))


def decide(model_admin: Any, request: HttpRequest, intervention_id: UUID, action: str) -> HttpResponse:
    """The form of one decision, a look ahead, and the decision."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    row = Intervention.objects.filter(id=intervention_id).first()
    name = f"{row.subject_type}.{action}" if row else ""
    if row is None or action not in row.actions:
        raise Http404
    second = interventions.wants_second(row)
    if row.subject_type == "job" and not second:  # its own page has the form
        raise Http404
    if name not in extensions.intervention_actions:
        raise Http404
    act = extensions.intervention_actions.get(name)
    if not request.user.has_perm(act.permission):
        raise PermissionDenied
    back = reverse("admin:jobs_intervention_change", args=(row.id,))
    if row.resolved_at is not None:
        messages.warning(request, "This was decided already.")
        return HttpResponseRedirect(back)
    form = _form(act, request, row)
    foreseen, remark = (None, "") if form.is_bound else _first_look(row, act, action, form, actor_of(request))
    if form.is_valid():
        done, foreseen = _take(row, action, form, actor_of(request), dry="foresee" in request.POST)
        if done:
            messages.success(
                request, f"{act.title}: {'proposed; another person approves it' if second else 'decided'}."
            )
            return HttpResponseRedirect(back)
    title = f"{act.title}: {row.subject_type}"
    context = {
        **model_admin.admin_site.each_context(request),
        "title": title,
        "content_title": title,
        "act": act,
        "about": [
            ("Reason", markup.spoken(row.reason)),
            ("Subject", subject_of(row)),
            *((f"Evidence: {name}", value) for name, value in markup.facts(row.evidence)),
        ],
        "remark": remark or ("Nobody decides about this alone: somebody else must approve it." if second else ""),
        "foresees": True,
        "foreseen": foreseen,
        "form": form,
        "back": back,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "backoffice/decide.html", context)


def _form(act: Action, request: HttpRequest, row: Intervention) -> ReasonForm:
    suggested = _suggested(act, row)
    given = {act.wants: json.dumps(suggested, ensure_ascii=False)} if act.wants and suggested else {"payload": "{}"}
    form = _FORMS[act.wants](request.POST if request.method == "POST" else None, initial=given)
    if act.wants:
        form.fields[act.wants].widget.attrs["rows"] = _ROWS
    form.fields["reason"].required = "foresee" not in request.POST
    return form


def _suggested(act: Action, row: Intervention) -> Any:
    try:
        return act.suggest(row) if act.suggest else None
    except (ObjectDoesNotExist, ValidationError):  # what it is about is there no longer
        return None


def _decision(action: str, actor: str, given: dict[str, Any]) -> Decision:
    return Decision(action, actor, given.get("reason", ""), given.get("payload"), given.get("output"))


def _first_look(
    row: Intervention, act: Action, action: str, form: ReasonForm, actor: str
) -> tuple[markup.Shown | None, str]:
    """What it would do, or why nothing. What it says of an empty value, where it wants one, stands beside the field."""
    given: dict[str, Any] = {act.wants: {}} if act.wants else {}
    try:
        return markup.pretty(interventions.preview(row, _decision(action, actor, given))), ""
    except JobsError as error:
        said = markup.visible(str(error))
    except (ObjectDoesNotExist, ValidationError):
        return None, _GONE
    if act.wants:
        form.fields[act.wants].help_text = conditional_escape(said)
        return None, ""
    return None, said


def _take(
    row: Intervention, action: str, form: ReasonForm, actor: str, *, dry: bool
) -> tuple[bool, markup.Shown | None]:
    """Whether it was done; what it would do, where that was asked for. What is wrong stands in the form."""
    decision = _decision(action, actor, form.cleaned_data)
    try:
        _check_text(decision)
        if dry:
            return False, markup.pretty(interventions.preview(row, decision))
        if interventions.wants_second(row):
            inbox.propose(row, decision)
        else:
            interventions.resolve(row, decision)
    except InvalidOption as error:
        field = error.field.strip("/")
        form.add_error(field if field in form.fields else None, str(error))
    except JobsError as error:
        form.add_error(None, str(error))
    except (ObjectDoesNotExist, ValidationError):
        form.add_error(None, _GONE)
    else:
        return True, None
    return False, None


def _check_text(decision: Decision) -> None:
    """Raises `JobsError`: the audit record cannot keep what is given."""
    if services.has_nul(services.as_json([decision.payload, decision.output])):
        message = "A value holds a NUL character, which cannot be kept."
        raise InvalidOption(message, code="invalid_payload", field="/payload")
