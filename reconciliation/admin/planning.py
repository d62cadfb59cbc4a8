"""The form of a redrive: which dead letters, how fast, what is different this time; a look ahead; and the plan."""

import json
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from pydantic import ValidationError
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import uuid_of
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from reconciliation import selectors
from reconciliation.admin.letters import PERMISSION
from reconciliation.errors import InvalidPlan
from reconciliation.serializers import BeginReconciliation
from reconciliation.services import plans

EVERYBODY = ""
LONGEST = 2000


def _text(label: str, help_text: str, *, initial: str = "") -> forms.CharField:
    return forms.CharField(
        label=label, help_text=help_text, initial=initial, required=False, max_length=LONGEST,
        widget=UnfoldAdminTextInputWidget(),
    )  # fmt: skip


class PlanForm(ReasonForm):
    """What the API takes, as text."""

    codes = _text("Errors", "Codes or fingerprints of errors, with spaces between them.")
    kind = _text("Kind", "Only jobs of this kind.")
    project = forms.ChoiceField(label="Project", required=False, widget=UnfoldAdminSelectWidget())
    canary = _text("Canary", "So many go first; the others follow when it is known how those did.", initial="20")
    stop_above = _text("Stop above (%)", "It rests when more than so many percent have failed again.", initial="20")
    pace = _text("Pace (jobs a second)", "Empty: as fast as it goes.")
    patch = forms.CharField(
        label="Change of the payload",
        help_text='A JSON merge patch, as {"currency": "EUR"}; null removes a field. Empty: as it was.',
        required=False,
        max_length=LONGEST,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2, "class": "jp-json-input", "spellcheck": "false"}),
    )
    field_order = ("codes", "kind", "project", "canary", "stop_above", "pace", "patch", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].widget.attrs.pop("autofocus", None)  # it stands last
        listed = sorted(((str(key), name) for key, name in subjects.projects().items()), key=lambda item: item[1])
        self.fields["project"].choices = [(EVERYBODY, "All projects"), *listed]  # type: ignore[attr-defined] # a choice field

    def asked(self) -> BeginReconciliation | None:
        """What the form says; None, with the errors in it, if it says nothing that could be done."""
        told = self.cleaned_data
        words: dict[str, Any] = {"errors_allowed_to_retry": told["codes"].replace(",", " ").split()}
        try:
            words |= {name: json.loads(told[name]) for name in ("canary", "stop_above", "pace") if told[name].strip()}
            if told["patch"].strip():
                words["change"] = {"payload": json.loads(told["patch"])}
        except ValueError:
            self.add_error(None, "Canary, stop and pace are numbers; the change is a JSON object.")
            return None
        if told["kind"].strip():
            words["kind"] = told["kind"].strip()
        try:
            return BeginReconciliation.model_validate(words)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_context=False):
                self.add_error(None, f"{'.'.join(str(part) for part in item['loc'])}: {item['msg']}")
        return None


class Act:
    """How the page calls itself."""

    title = "Plan and start"
    explanation = (
        "Dead letters that fit all of this are queued once more, each once: a few first, the others when those do well."
    )


def show(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """The form, a look ahead, and the redrive."""
    if not (model_admin.has_view_permission(request) and request.user.has_perm(PERMISSION)):
        raise PermissionDenied
    given = {name: request.GET[name] for name in ("codes", "kind", "project") if name in request.GET}
    form = PlanForm(request.POST if request.method == "POST" else None, initial=given)
    dry = "foresee" in request.POST
    form.fields["reason"].required = not dry
    foreseen = None
    if form.is_valid() and (ask := form.asked()) is not None:
        project, plan = uuid_of(form.cleaned_data["project"]), ask.plan()
        try:
            plans.check(plan)
            if dry:
                foreseen = markup.pretty(_told(selectors.foresee(project, plan.filter)))
            else:
                reason = form.cleaned_data["reason"]
                row = plans.begin(project_id=project, plan=plan, actor=actor_of(request), reason=reason)
                messages.success(request, "The redrive is planned.")
                return HttpResponseRedirect(reverse("admin:reconciliation_redrive_change", args=(row.id,)))
        except InvalidPlan as error:
            form.add_error(None, str(error))
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Plan a redrive",
        "content_title": "Plan a redrive",
        "act": Act,
        "foresees": True,
        "foreseen": foreseen,
        "form": form,
        "back": reverse("admin:reconciliation_redrive_letters"),
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "backoffice/decide.html", context)


def _told(found: selectors.Foreseen) -> dict[str, Any]:
    return {
        "jobs": f"{found.matched:,}{' or more' if found.more else ''}",
        "causes": list(found.causes),
        "samples": list(found.samples),
    }
