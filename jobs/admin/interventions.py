"""Interventions in the admin: what only a person may decide, and the way to the act that decides it."""

from functools import partial
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
from jobs.admin import acts, decisions, talk
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

    list_display = ["why", "state", "subject", "opened", "assigned", "decision"]
    list_display_links = ["why"]
    list_filter = [OpenFilter, talk.AssignedFilter, ProjectFilter]
    search_fields = ["subject_id", "reason"]
    search_help_text = "Subject id or reason"
    fields = [
        "state", "named", "why", "shown_evidence", "proposed", "allowed", "opened", "assigned", "said", "decision",
        "decision_reason",
    ]  # fmt: skip
    readonly_fields = [name for name in fields if name != "decision_reason"]

    def get_urls(self) -> list[URLPattern]:
        """The forms of decisions beside Django's own addresses."""
        form = path(
            "<uuid:intervention_id>/decide/<slug:action>/",
            self.admin_site.admin_view(self._decide),
            name="jobs_intervention_decide",
        )
        talks = [
            path(
                f"<uuid:intervention_id>/{verb}/",
                self.admin_site.admin_view(partial(talk.show, self, verb)),
                name=f"jobs_intervention_{verb}",
            )
            for verb in talk.VERBS
        ]
        return [form, *talks, *super().get_urls()]

    def _decide(self, request: HttpRequest, intervention_id: UUID, action: str) -> HttpResponse:
        return decisions.decide(self, request, intervention_id, action)

    @display(description="Reason")
    def why(self, row: Intervention) -> str:
        """Why a person is asked."""
        return markup.spoken(row.reason)[:200]

    @display(description="State")
    def state(self, row: Intervention) -> SafeString:
        """Open or resolved."""
        return badge("open", OPEN) if row.resolved_at is None else badge("resolved", RESOLVED)

    @display(description="Subject")
    def subject(self, row: Intervention) -> SafeString:
        """What it is about."""
        return format_html("{} {}", row.subject_type, subjects.link(row.subject_type, row.subject_id, row.subject_id))

    @display(description="Subject")
    def named(self, row: Intervention) -> SafeString:
        """The same by its name, where it has one."""
        return decisions.subject_of(row)

    @display(description="Evidence")
    def shown_evidence(self, row: Intervention) -> SafeString:
        """What is known."""
        known = markup.facts(row.evidence)
        if not known or any("\n" in value for _, value in known):
            shown = markup.pretty(row.evidence)
            return format_html('<pre class="jp-json">{}</pre>', shown.text if shown else "")
        told = format_html_join("", "<div><dt>{}</dt><dd>{}</dd></div>", ((n.capitalize(), v) for n, v in known))
        return format_html('<dl class="jp-facts jp-evidence">{}</dl>', told)

    @display(description="Allowed actions")
    def allowed(self, row: Intervention) -> SafeString:
        """What may be decided, and where it is."""
        if here := decisions.open_to(row):
            may = [(where, act.title) for where, act in here if self._may(row, act.permission)]
            if not may:
                return markup.words([act.title for _, act in here], 20)
            return format_html_join(" ", '<a class="jp-button" href="{}">{}</a>', may)
        if row.subject_type != "job" or row.resolved_at is not None:
            return markup.words(row.actions, 20)
        chosen = [acts.BY_DECISION[name] for name in row.actions if name in acts.BY_DECISION]
        open_to = [act for act in chosen if self._may(row, act.permission)]
        if not open_to:
            return markup.words([act.title for act in chosen], 20)
        return format_html_join(
            " ",
            '<a class="jp-button" href="{}">{}</a>',
            ((reverse(f"admin:jobs_job_{act.name}", args=(row.subject_id,)), act.title) for act in open_to),
        )

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Intervention | None:
        """The row, which knows who looks at it: what somebody may not do is named, and leads nowhere."""
        row: Intervention | None = super().get_object(request, object_id, from_field)
        if row is not None:
            row.looked_at_by = request.user  # type: ignore[attr-defined] # for this page alone
        return row

    @staticmethod
    def _may(row: Intervention, permission: str) -> bool:
        user = getattr(row, "looked_at_by", None)
        return user is not None and bool(user.has_perm(permission))

    @display(description="Proposed")
    def proposed(self, row: Intervention) -> SafeString | str:
        """What the first of two persons wants."""
        return talk.proposed(row, may=self._may(row, talk.PERMISSION))

    @display(description="Assigned to")
    def assigned(self, row: Intervention) -> SafeString | str:
        """Whose it is."""
        return talk.assigned(row, may=self._may(row, talk.PERMISSION))

    @display(description="Comments")
    def said(self, row: Intervention) -> SafeString | str:
        """What people say."""
        return talk.said(row, may=self._may(row, talk.PERMISSION))

    @display(description="Opened")
    def opened(self, row: Intervention) -> SafeString:
        """When."""
        return markup.moment(row.opened_at)

    @display(description="Decision")
    def decision(self, row: Intervention) -> SafeString | str:
        """What was decided, by whom and when."""
        if row.resolved_at is None:
            return markup.NOTHING
        approved = f", approved by {row.approved_by}" if row.approved_by else ""
        return format_html("{} by {}{}, {}", row.action, row.resolved_by, approved, markup.moment(row.resolved_at))
