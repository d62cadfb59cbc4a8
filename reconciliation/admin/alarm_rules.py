"""Rules of alarms in the admin: changed, and tried on the last seven days before they are saved."""

import datetime as dt
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget
from uuid_utils.compat import uuid7

from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import uuid_of
from jobplatform.backoffice.markup import badge
from jobplatform.backoffice.readonly import PlatformAdmin
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from reconciliation.admin.alarms import LOOKS, measured
from reconciliation.alarming import Trial
from reconciliation.errors import InvalidRule
from reconciliation.measures import MEASURES
from reconciliation.models import AlarmRule
from reconciliation.services import rules
from reconciliation.services.plans import By
from reconciliation.states import Severity

MOST = 20


def _text(label: str, help_text: str = "", *, required: bool = False) -> forms.CharField:
    widget = UnfoldAdminTextInputWidget()
    return forms.CharField(label=label, help_text=help_text, required=required, max_length=2000, widget=widget)


def _number(label: str, help_text: str) -> forms.FloatField:
    return forms.FloatField(label=label, help_text=help_text, widget=UnfoldAdminTextInputWidget())


class RuleForm(ReasonForm):
    """A rule, as text."""

    name = _text("Name", required=True)
    measure = forms.ChoiceField(widget=UnfoldAdminSelectWidget())
    subject = _text("Only about", "A queue, kind or address. Empty: each by itself.")
    project_id = forms.ChoiceField(label="Project", required=False, widget=UnfoldAdminSelectWidget())
    threshold = _number("Threshold", "Values beyond it are bad: above it, or below where low values are bad.")
    clears_at = _number("Over at", "A milder value, so that one that wavers is told once.")
    lasts_seconds = _number("Fires after (s)", "So long the value stays bad before anybody is told.")
    calm_seconds = _number("Over after (s)", "So long it stays mild before the alarm is over.")
    severity = forms.ChoiceField(widget=UnfoldAdminSelectWidget(), choices=[(s.value, s.value) for s in Severity])
    mail_to = _text("Mail to", "Addresses with spaces between them. Empty: ALARM_MAIL_TO.")
    topics = _text("Topics of SNS", "ARNs with spaces between them. Empty: ALARM_TOPICS.")
    advice = forms.CharField(
        required=False, max_length=2000, help_text="What to do; it is part of the message.",
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 2}),
    )  # fmt: skip
    enabled = forms.BooleanField(required=False, initial=True)
    field_order = (
        "name", "measure", "subject", "project_id", "threshold", "clears_at", "lasts_seconds", "calm_seconds",
        "severity", "mail_to", "topics", "advice", "enabled", "reason",
    )  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["reason"].widget.attrs.pop("autofocus", None)  # it stands last
        named = [(one.name, f"{one.title} ({one.unit})") for one in MEASURES.values()]
        self.fields["measure"].choices = named  # type: ignore[attr-defined] # a choice field
        listed = sorted(((str(key), name) for key, name in subjects.projects().items()), key=lambda item: item[1])
        self.fields["project_id"].choices = [("", "The whole platform"), *listed]  # type: ignore[attr-defined] # (same)

    def fill(self, row: AlarmRule) -> AlarmRule:
        """The rule as the form says."""
        for name in rules.FIELDS:
            value = self.cleaned_data[name]
            if name in {"mail_to", "topics"}:
                value = value.replace(",", " ").split()
            elif name == "project_id":
                value = uuid_of(value)
            setattr(row, name, value)
        return row


class SaveAct:
    """How the page calls itself."""

    title = "Save"
    explanation = "From the next round on, within half a minute, alarms go by it."


def _initial(row: AlarmRule) -> dict[str, Any]:
    given = {name: getattr(row, name) for name in rules.FIELDS}
    return given | {
        "mail_to": " ".join(row.mail_to), "topics": " ".join(row.topics), "project_id": str(row.project_id or ""),
    }  # fmt: skip


@admin.register(AlarmRule)
class AlarmRuleAdmin(PlatformAdmin):
    """Rules of alarms."""

    list_display = ["name", "urgency", "measured", "bounds", "times", "project", "enabled"]
    list_filter = ["enabled", "severity"]
    search_fields = ["name"]
    ordering = ("name",)
    actions = None

    def delete_model(self, request: HttpRequest, obj: AlarmRule) -> None:
        """Through the services."""
        rules.remove(obj, By(actor_of(request), "removed in the admin"))

    def delete_queryset(self, request: HttpRequest, queryset: Any) -> None:
        """Through the services, one by one."""
        for row in queryset:
            self.delete_model(request, row)

    @display(description="Severity")
    def urgency(self, row: AlarmRule) -> SafeString:
        """What is expected of whoever is told."""
        return badge(row.severity, LOOKS[row.severity])

    @display(description="Measured")
    def measured(self, row: AlarmRule) -> str:
        """What."""
        return MEASURES[row.measure].title if row.measure in MEASURES else row.measure

    @display(description="Fires beyond, over at")
    def bounds(self, row: AlarmRule) -> str:
        """The two thresholds."""
        return f"{measured(row.measure, row.threshold)}, {measured(row.measure, row.clears_at)}"

    @display(description="After (s)")
    def times(self, row: AlarmRule) -> str:
        """How long each must last."""
        return f"{row.lasts_seconds:g}, {row.calm_seconds:g}"

    @display(description="Project")
    def project(self, row: AlarmRule) -> SafeString | str:
        """Whose."""
        return subjects.project_of(row) if row.project_id else "the platform"

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """The form of a new rule."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        return self._form(request, AlarmRule(id=uuid7()), {"lasts_seconds": 60, "calm_seconds": 120})

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The form of a rule; 404 for an id that is none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        key = uuid_of(object_id)
        row = AlarmRule.objects.filter(id=key).first() if key else None
        if row is None:
            raise Http404
        return self._form(request, row, _initial(row))

    def _form(self, request: HttpRequest, row: AlarmRule, given: dict[str, Any]) -> HttpResponse:
        dry = "foresee" in request.POST
        form = RuleForm(request.POST if request.method == "POST" else None, initial=given)
        form.fields["reason"].required = not dry
        trial = None
        if request.method == "POST" and not dry and not self.has_change_permission(request):
            raise PermissionDenied
        if form.is_valid():
            try:
                wanted = form.fill(row)
                if dry:
                    trial = rules.try_on(wanted)
                else:
                    self._save(request, wanted, form.cleaned_data["reason"])
                    return HttpResponseRedirect(reverse("admin:reconciliation_alarmrule_changelist"))
            except InvalidRule as error:
                form.add_error(error.field or None, str(error))
        context = {
            **self.admin_site.each_context(request),
            "title": given.get("name") or "A rule of alarms",
            "content_title": given.get("name") or "A rule of alarms",
            "act": SaveAct,
            "foresees": True,
            "trial": None if trial is None else _told(row.measure, trial),
            "form": form,
            "back": reverse("admin:reconciliation_alarmrule_changelist"),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "reconciliation/admin/rule.html", context)

    def _save(self, request: HttpRequest, row: AlarmRule, reason: str) -> None:
        if AlarmRule.objects.exclude(id=row.id).filter(name=row.name).exists():
            message = "Another rule has this name."
            raise InvalidRule(message, field="name")
        rules.save(row, By(actor_of(request), reason))
        messages.success(request, f"{row.name}: saved.")


def _told(measure: str, trial: Trial) -> dict[str, Any]:
    """What came of a trial, for the page."""
    return {
        "fired": len(trial.episodes),
        "pending": trial.pending,
        "hours": f"{trial.points / 60:,.1f}",
        "more": max(0, len(trial.episodes) - MOST),
        "episodes": [
            (
                markup.moment_and_date(dt.datetime.fromtimestamp(one.fired_at, dt.UTC)),
                "fires still" if one.resolved_at is None else markup.duration(one.resolved_at - one.fired_at),
                one.subject or "all",
                measured(measure, one.worst),
            )
            for one in trial.episodes[-MOST:][::-1]
        ],
    }
