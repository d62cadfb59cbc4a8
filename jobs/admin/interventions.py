"""Interventions in the admin: what only a person may decide, and the way to the act that decides it."""

from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import display

from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import ProjectFilter
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import ReadOnlyAdmin
from jobs.admin import acts, decisions
from jobs.models import Intervention

OPEN, RESOLVED = Look("ask", "back_hand"), Look("good", "check_circle")


class OpenFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """Open or resolved."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The two states."""
        return [("open", "open"), ("resolved", "resolved")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Intervention]) -> QuerySet[Intervention]:
        """Interventions in the chosen state."""
        return queryset.filter(resolved_at__isnull=self.value() == "open") if self.value() else queryset


@admin.register(Intervention)
class InterventionAdmin(ReadOnlyAdmin):
    """Interventions, newest first."""

    list_display = ["why", "state", "subject", "opened", "decision"]
    list_display_links = ["why"]
    list_filter = [OpenFilter, ProjectFilter]
    search_fields = ["subject_id", "reason"]
    search_help_text = "Subject id or reason"
    fields = ["state", "subject", "reason", "shown_evidence", "allowed", "opened", "decision", "decision_reason"]
    readonly_fields = ["state", "subject", "shown_evidence", "allowed", "opened", "decision"]

    def get_urls(self) -> list[URLPattern]:
        """The forms of decisions beside Django's own addresses."""
        form = path(
            "<uuid:intervention_id>/decide/<slug:action>/",
            self.admin_site.admin_view(self._decide),
            name="jobs_intervention_decide",
        )
        return [form, *super().get_urls()]

    def _decide(self, request: HttpRequest, intervention_id: UUID, action: str) -> HttpResponse:
        return decisions.decide(self, request, intervention_id, action)

    @display(description="Reason")
    def why(self, row: Intervention) -> str:
        """Why a person is asked."""
        return markup.visible(row.reason)[:200]

    @display(description="State")
    def state(self, row: Intervention) -> SafeString:
        """Open or resolved."""
        return badge("open", OPEN) if row.resolved_at is None else badge("resolved", RESOLVED)

    @display(description="Subject")
    def subject(self, row: Intervention) -> SafeString:
        """What it is about."""
        return format_html("{} {}", row.subject_type, subjects.link(row.subject_type, row.subject_id, row.subject_id))

    @display(description="Evidence")
    def shown_evidence(self, row: Intervention) -> SafeString:
        """What is known."""
        shown = markup.pretty(row.evidence)
        return format_html('<pre class="jp-json">{}</pre>', shown.text if shown else "")

    @display(description="Allowed actions")
    def allowed(self, row: Intervention) -> SafeString:
        """What may be decided, and where it is."""
        if here := decisions.open_to(row):
            return format_html_join(
                " · ", '<a class="jp-link" href="{}">{}</a>', ((where, act.title) for where, act in here)
            )
        if row.subject_type != "job" or row.resolved_at is not None:
            return markup.words(row.actions, 20)
        chosen = [acts.BY_DECISION[name] for name in row.actions if name in acts.BY_DECISION]
        return format_html_join(
            " · ",
            '<a class="jp-link" href="{}">{}</a>',
            ((reverse(f"admin:jobs_job_{act.name}", args=(row.subject_id,)), act.title) for act in chosen),
        )

    @display(description="Opened")
    def opened(self, row: Intervention) -> SafeString:
        """When."""
        return markup.moment(row.opened_at)

    @display(description="Decision")
    def decision(self, row: Intervention) -> SafeString | str:
        """What was decided, by whom and when."""
        if row.resolved_at is None:
            return markup.NOTHING
        return format_html("{} by {}, {}", row.action, row.resolved_by, markup.moment(row.resolved_at))
