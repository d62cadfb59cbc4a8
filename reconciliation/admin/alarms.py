"""Alarms in the admin: what fires, since when and how badly; and silences, each with its end."""

import datetime as dt
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget

from events.models import Event
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import ProjectFilter, uuid_of
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import ReadOnlyAdmin
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from jobs import store
from jobs.models import Job
from jobs.states import PLATFORM
from reconciliation.errors import InvalidRule
from reconciliation.measures import MEASURES
from reconciliation.models import Alarm, Silence
from reconciliation.services import alarms, rules
from reconciliation.services.plans import By
from reconciliation.services.rules import Hush
from reconciliation.states import AlarmState

LOOKS = {
    "pending": Look("busy", "hourglass_top"),
    "firing": Look("bad", "notifications_active"),
    "resolved": Look("good", "check_circle"),
    "page": Look("bad", "phone_in_talk"),
    "warn": Look("ask", "warning"),
    "silenced": Look("idle", "notifications_off"),
}
PERMISSION = "reconciliation.add_silence"
HOURS = ((1, "an hour"), (4, "4 hours"), (24, "a day"), (7 * 24, "a week"))
MOST = 50


def measured(measure: str, value: float) -> str:
    """A value with its unit."""
    unit = MEASURES[measure].unit if measure in MEASURES else ""
    return f"{value:,.6g} {unit}".strip()


@admin.register(Alarm)
class AlarmAdmin(ReadOnlyAdmin):
    """Alarms, newest first."""

    list_display = ["alarm", "standing", "urgency", "about", "project", "is_", "worst_was", "began", "ended"]
    list_display_links = ["alarm"]
    list_filter = ["state", "severity", ProjectFilter]

    def get_urls(self) -> list[URLPattern]:
        """The act beside Django's own addresses."""
        silence = self.admin_site.admin_view(self._silence)
        return [path("<uuid:row_id>/silence/", silence, name="reconciliation_alarm_silence"), *super().get_urls()]

    @display(description="Alarm")
    def alarm(self, row: Alarm) -> str:
        """Of which rule."""
        return row.name

    @display(description="State")
    def standing(self, row: Alarm) -> SafeString:
        """How it stands."""
        return badge(row.state, LOOKS[row.state])

    @display(description="Severity")
    def urgency(self, row: Alarm) -> SafeString:
        """What is expected."""
        return badge(row.severity, LOOKS[row.severity])

    @display(description="About")
    def about(self, row: Alarm) -> SafeString | str:
        """Which queue, kind or address."""
        return markup.code(row.subject) if row.subject else ""

    @display(description="Project")
    def project(self, row: Alarm) -> SafeString | str:
        """Whose."""
        return subjects.project_of(row) if row.project_id else ""

    @display(description="Value")
    def is_(self, row: Alarm) -> str:
        """The last value."""
        return measured(row.measure, row.value)

    @display(description="Worst")
    def worst_was(self, row: Alarm) -> str:
        """The worst value."""
        return measured(row.measure, row.worst)

    @display(description="Since")
    def began(self, row: Alarm) -> SafeString:
        """Since when."""
        return markup.moment(row.since)

    @display(description="Over")
    def ended(self, row: Alarm) -> SafeString | str:
        """When it was over."""
        return markup.moment(row.resolved_at) if row.resolved_at else ""

    # -------------------------------------------------------------------------------------------- the page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page of one alarm; 404 for an id that is none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self._row(uuid_of(object_id))
        open_ = row.state != AlarmState.RESOLVED
        silences = list(Silence.objects.filter(until__gt=store.now())) if open_ else []
        hushed = alarms.silenced(row, silences)
        moments = (("Since", row.since), ("Fired", row.fired_at), ("Told", row.told_at), ("Over", row.resolved_at))
        told = Job.objects.filter(project_id=PLATFORM, id__in=row.messages[-MOST:]).order_by("-id")
        context = {
            **self.admin_site.each_context(request),
            "title": row.name,
            "subtitle": row.subject,
            "opts": self.opts,
            "row": row,
            "badges": [
                self.standing(row),
                self.urgency(row),
                *([badge("silenced", LOOKS["silenced"])] if hushed else []),
            ],
            "facts": [
                ("Measured", MEASURES[row.measure].title if row.measure in MEASURES else row.measure),
                ("About", self.about(row) or "all"),
                ("Value", self.is_(row)),
                ("Worst", self.worst_was(row)),
                ("Threshold", measured(row.measure, row.threshold)),
                *((name, markup.moment_and_date(at)) for name, at in moments if at is not None),
            ],
            "advice": row.rule.advice if row.rule else "",
            "rule": reverse("admin:reconciliation_alarmrule_change", args=(row.rule_id,)) if row.rule_id else "",
            "silence": reverse("admin:reconciliation_alarm_silence", args=(row.id,))
            if open_ and row.rule_id and request.user.has_perm(PERMISSION)
            else "",
            "told": [
                (subjects.link("job", job.id), job.payload["what"], job.payload["to"], job.status) for job in told
            ],
            "events": [
                (markup.moment_and_date(event.occurred_at), event.type, measured(row.measure, event.data["value"]))
                for event in Event.objects.filter(subject_id=row.id, type__startswith="alarm.").order_by("id")
            ],
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "reconciliation/admin/alarm.html", context)

    def _row(self, key: UUID | None) -> Alarm:
        row = Alarm.objects.select_related("rule").filter(id=key).first() if key else None
        if row is None:
            raise Http404
        return row

    def _silence(self, request: HttpRequest, row_id: UUID) -> HttpResponse:
        """The form of a silence, and the silence."""
        if not (self.has_view_permission(request) and request.user.has_perm(PERMISSION)):
            raise PermissionDenied
        row = self._row(row_id)
        back = reverse("admin:reconciliation_alarm_change", args=(row.id,))
        form = SilenceForm(request.POST if request.method == "POST" else None)
        if form.is_valid() and row.rule_id is not None:
            until = store.now() + dt.timedelta(hours=int(form.cleaned_data["hours"]))
            whole = form.cleaned_data["whole"]
            try:
                rules.silence(
                    Hush(row.rule_id, "" if whole else row.subject, until),
                    By(actor_of(request), form.cleaned_data["reason"]),
                )
            except InvalidRule as error:
                messages.warning(request, str(error))
            else:
                messages.success(request, "Silenced.")
            return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": "Silence an alarm",
            "content_title": "Silence an alarm",
            "act": SilenceAct,
            "about": [("Alarm", row.name), ("About", row.subject or "all"), ("State", self.standing(row))],
            "form": form,
            "back": back,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "backoffice/decide.html", context)


class SilenceAct:
    """How the page calls itself."""

    title = "Silence"
    explanation = "No messages are sent of it until then. It stays visible, and events are published all the same."


class SilenceForm(ReasonForm):
    """For how long, and of what."""

    hours = forms.ChoiceField(choices=HOURS, label="For", widget=UnfoldAdminSelectWidget())
    whole = forms.BooleanField(
        required=False, label="All alarms of its rule", help_text="Else of this queue, kind or address alone."
    )
    field_order = ("hours", "whole", "reason")


@admin.register(Silence)
class SilenceAdmin(ReadOnlyAdmin):
    """Silences, newest first."""

    list_display = ["of", "about", "ends", "actor", "reason", "act"]
    list_display_links = None
    list_select_related = ["rule"]

    def get_urls(self) -> list[URLPattern]:
        """The act beside Django's own addresses."""
        end = self.admin_site.admin_view(self._end)
        return [path("<uuid:row_id>/end/", end, name="reconciliation_silence_end"), *super().get_urls()]

    def get_queryset(self, request: HttpRequest) -> Any:
        """The rows, and who looks at them."""
        self._may = request.user.has_perm(PERMISSION)
        return super().get_queryset(request)

    @display(description="Of")
    def of(self, row: Silence) -> str:
        """Which rule."""
        return str(row.rule or "all alarms")

    @display(description="About")
    def about(self, row: Silence) -> str:
        """Which subject."""
        return row.subject or "all"

    @display(description="Ends")
    def ends(self, row: Silence) -> SafeString:
        """When."""
        return markup.moment(row.until)

    @display(description="Act")
    def act(self, row: Silence) -> SafeString | str:
        """The way to end it."""
        if row.until <= store.now():
            return ""
        address = reverse("admin:reconciliation_silence_end", args=(row.id,))
        return format_html('<a class="jp-button" href="{}">End</a>', address)

    def _end(self, request: HttpRequest, row_id: UUID) -> HttpResponse:
        """The form of an end, and the end."""
        if not (self.has_view_permission(request) and request.user.has_perm(PERMISSION)):
            raise PermissionDenied
        row = Silence.objects.select_related("rule").filter(id=row_id).first()
        if row is None:
            raise Http404
        back = reverse("admin:reconciliation_silence_changelist")
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            rules.end_silence(row, By(actor_of(request), form.cleaned_data["reason"]))
            messages.success(request, "Ended: what fires still is told.")
            return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": "End a silence",
            "content_title": "End a silence",
            "act": EndAct,
            "about": [("Of", self.of(row)), ("About", self.about(row)), ("Ends", self.ends(row))],
            "form": form,
            "back": back,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "backoffice/decide.html", context)


class EndAct:
    """How the page calls itself."""

    title = "End"
    explanation = "Messages are sent again; what fires still is told within a minute."
