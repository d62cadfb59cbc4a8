"""The log, its consumers and the audit record in the admin: to be looked at, never changed."""

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import display
from unfold.sections import TemplateSection

from events import log, verification
from events.errors import HeadsUnavailable
from events.models import AuditRecord, Consumer, Event
from events.sealing import PLATFORM
from events.topics import EVENT_TYPES
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import ProjectFilter, uuid_of
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import ReadOnlyAdmin

SEALED, UNSEALED = Look("good", "verified"), Look("wait", "hourglass_top")
MOST_VERIFIED = 20_000  # records on a page; more takes longer than a person waits
NEWEST_HEADS = 72  # stored objects, one an hour


class TypeFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """By type, from the table of types."""

    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All types."""
        return [(name, name) for name in EVENT_TYPES]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Event]) -> QuerySet[Event]:
        """Events of the chosen type."""
        return queryset.filter(type=self.value()) if self.value() else queryset


class DataSection(TemplateSection):  # type: ignore[misc] # unfold has no types
    """The data of a row, unfolded below it."""

    template_name = "backoffice/data.html"

    def get_context_data(self, request: HttpRequest, instance: Any) -> dict[str, Any]:
        """The data as text."""
        return {"shown": markup.pretty(instance.data)}


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The log, newest first. Its pages follow its order, so that no page walks the partitions."""

    ordering: tuple[str, ...] = ("-position", "-id")
    window_fields: tuple[str, ...] = ("position", "id")
    list_display = ["happened", "kind_of", "subject", "seq", "project", "brief"]
    list_display_links: ClassVar[Any] = None
    list_filter = [TypeFilter, ProjectFilter]
    list_sections = [DataSection]
    search_fields = ["subject_id"]
    search_help_text = "Subject id"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Event], search_term: str
    ) -> tuple[QuerySet[Event], bool]:
        """Events of one subject."""
        if not search_term.strip():
            return queryset, False
        subject = uuid_of(search_term)
        return (queryset.filter(subject_id=subject) if subject else queryset.none()), False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """There is no page of one event: its data unfolds in the list, and its id alone is no key of the log."""
        raise Http404

    @display(description="Happened")
    def happened(self, event: Event) -> SafeString:
        """When."""
        return markup.moment(event.occurred_at)

    @display(description="Type")
    def kind_of(self, event: Event) -> SafeString:
        """Its type."""
        return markup.code(event.type)

    @display(description="Subject")
    def subject(self, event: Event) -> SafeString:
        """What it happened to: the noun of the type says what that is."""
        return subjects.link(event.type.partition(".")[0], event.subject_id)

    @display(description="Project")
    def project(self, event: Event) -> SafeString:
        """Whose it is."""
        return subjects.project_of(event)

    @display(description="Data")
    def brief(self, event: Event) -> SafeString:
        """The beginning of its data."""
        return markup.code(markup.brief(event.data, 44))


@admin.register(Consumer)
class ConsumerAdmin(ReadOnlyAdmin):
    """Readers of the log and how far they are."""

    ordering: tuple[str, ...] = ("name",)
    window_fields: tuple[str, ...] = ("name",)
    list_display = ["name", "behind", "position", "moved", "failures", "retry", "last_error"]
    fields = ["name", "behind", "position", "last_id", "moved", "failures", "retry", "error"]
    readonly_fields = ["behind", "moved", "retry"]

    @display(description="Behind")
    def behind(self, consumer: Consumer) -> str:
        """Age of the oldest row that it has yet to read."""
        seconds, _ = log.lag().get(consumer.name, (0.0, 0))
        return markup.duration(seconds) if seconds else "up to date"

    @display(description="Moved")
    def moved(self, consumer: Consumer) -> SafeString:
        """When it last moved on."""
        return markup.moment(consumer.moved_at)

    @display(description="Next try")
    def retry(self, consumer: Consumer) -> SafeString:
        """When it goes on after a failure, or after the rest of a counter."""
        return markup.moment(consumer.retry_at)

    @display(description="Error")
    def last_error(self, consumer: Consumer) -> str:
        """What went wrong last."""
        return markup.visible(consumer.error)[:120]


@admin.register(AuditRecord)
class AuditAdmin(ReadOnlyAdmin):
    """Who did what by hand, and why, newest first."""

    list_display = ["happened", "actor", "what", "subject", "why", "project", "seal"]
    list_display_links: ClassVar[Any] = None
    list_filter = [ProjectFilter]
    list_sections = [DataSection]
    search_fields = ["actor", "action", "subject_id"]
    search_help_text = "Actor, action or subject id"
    fields = ["happened", "actor", "action", "subject", "reason", "project", "shown_data", "seal", "prev_hash", "hash"]
    readonly_fields = ["happened", "subject", "project", "shown_data", "seal"]

    def get_urls(self) -> list[URLPattern]:
        """The page of a chain beside Django's own."""
        view = self.admin_site.admin_view(self._verify)
        own = [
            path("verify/platform/", view, {"chain": None}, name="events_auditrecord_verify_platform"),
            path("verify/<uuid:chain>/", view, name="events_auditrecord_verify"),
        ]
        return [*own, *super().get_urls()]

    def _verify(self, request: HttpRequest, chain: UUID | None) -> HttpResponse:
        """Verify a chain, and show what was found. It changes nothing."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        name, report, trouble = str(chain or PLATFORM), None, ""
        try:
            report = verification.verify(name, most=MOST_VERIFIED, newest=NEWEST_HEADS)
        except HeadsUnavailable as error:
            trouble = str(error)
        context = {
            **self.admin_site.each_context(request),
            "title": "Audit record, verified",
            "opts": self.opts,
            "chain": verification.name_of(name),
            "report": report,
            "trouble": trouble,
            "complete": report is not None and all(verdict.complete for verdict in report.verdicts),
            "findings": [(str(found.sort), markup.visible(found.text)) for found in report.findings] if report else [],
            "back": reverse("admin:events_auditrecord_changelist"),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "events/admin/verified.html", context)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditRecord], search_term: str
    ) -> tuple[QuerySet[AuditRecord], bool]:
        """Exact words: an actor, an action, a subject."""
        term = search_term.strip()
        if not term:
            return queryset, False
        found = Q(actor=term) | Q(actor=f"user:{term}") | Q(action=term) | Q(subject_id=term)
        return queryset.filter(found), False

    @display(description="When")
    def happened(self, row: AuditRecord) -> SafeString:
        """When."""
        return markup.moment(row.occurred_at)

    @display(description="Action")
    def what(self, row: AuditRecord) -> SafeString:
        """What was done."""
        return markup.code(row.action)

    @display(description="Subject")
    def subject(self, row: AuditRecord) -> SafeString:
        """To what."""
        return subjects.link(row.subject_type, row.subject_id, f"{row.subject_type} {row.subject_id}")

    @display(description="Reason")
    def why(self, row: AuditRecord) -> str:
        """Why."""
        return markup.visible(row.reason)[:200] or markup.NOTHING

    @display(description="Project")
    def project(self, row: AuditRecord) -> SafeString:
        """Whose it is."""
        return subjects.project_of(row)

    @display(description="Seal")
    def seal(self, row: AuditRecord) -> SafeString:
        """Its number in its chain; it leads to the page that verifies that."""
        if row.chain_no is None:
            return badge("not sealed yet", UNSEALED)
        of = "admin:events_auditrecord_verify"
        where = reverse(of, args=(row.project_id,)) if row.project_id else reverse(f"{of}_platform")
        title = "Verify this chain"
        return format_html('<a href="{}" title="{}">{}</a>', where, title, badge(f"number {row.chain_no}", SEALED))

    @display(description="Data")
    def shown_data(self, row: AuditRecord) -> SafeString:
        """What else was noted."""
        return markup.words([markup.brief(row.data, 400)])
