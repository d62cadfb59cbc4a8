"""Messages in the admin: to be looked at, never changed. What can be done about one is done to its job."""

import json
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.db.models.expressions import RawSQL
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import display
from unfold.views import ChangeList

from ingestion.models import Message
from ingestion.states import ENDED_WITHOUT_OBJECT, KIND, MessageStatus, job_status_of, status_of
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.bounded import MOST_ROWS, BoundedChangeList
from jobplatform.backoffice.filters import ProjectFilter, uuid_of
from jobplatform.backoffice.markup import Look
from jobplatform.backoffice.readonly import ReadOnlyAdmin
from jobs.models import Job

MOST_SCANNED = 5_000
"""Messages that are not stored of which a list looks for those in one status."""

LOOKS = {
    MessageStatus.RECEIVED: Look("wait", "schedule"),
    MessageStatus.PROCESSED: Look("good", "check_circle"),
    MessageStatus.FAILED: Look("bad", "error"),
    MessageStatus.REJECTED: Look("bad", "block"),
    MessageStatus.CANCELLED: Look("off", "cancel"),
}

_PROJECTS = "(select distinct project_id from jobs_shelf where kind = %s) shelf"

# Keys are compared as rows, so that each part of the table is read by its own index, in order: see selectors.py.
_WITHIN = "(project_id, id) >= (shelf.project_id, %s) and (project_id, id) <= (shelf.project_id, %s)"
_COMPANY = (
    "(project_id, company_id, id) >= (shelf.project_id, %s, %s)"
    " and (project_id, company_id, id) <= (shelf.project_id, %s, %s)"
)
_NEWEST = "order by project_id desc, id desc"
_NEWEST_OF_COMPANY = "order by project_id desc, company_id desc, id desc"

_RECEIVED = f"""
select found.id from {_PROJECTS}
cross join lateral (
    select m.id from (
        select id, project_id from ingestion_message where {_WITHIN} and stored_at is null {_NEWEST} limit %s
    ) m
    left join lateral (select status from jobs_job where project_id = m.project_id and id = m.id limit 1) j on true
    where j.status is null or j.status <> all(%s)
    order by m.id desc limit %s
) found
"""  # noqa: S608 - constants of this module

_ENDED = f"""
select found.id from {_PROJECTS}
cross join lateral (
    select id from jobs_job where project_id = shelf.project_id and status = %s and kind = %s order by id desc limit %s
) found
"""  # noqa: S608 - constants of this module

_NAMED = f"""
select id from ingestion_message where id = %s
union
select id from ingestion_message where message_id = %s
union
select found.id from {_PROJECTS}
cross join lateral (
    (select id from ingestion_message where {_COMPANY} and stored_at is null {_NEWEST_OF_COMPANY} limit %s)
    union all
    (select id from ingestion_message where {_COMPANY} and stored_at is not null {_NEWEST_OF_COMPANY} limit %s)
) found
"""  # noqa: S608 - constants of this module

_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)


class StatusFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """By status, which is that of the job."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All statuses."""
        return [(status.value, status.value) for status in MessageStatus]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Message]) -> QuerySet[Message]:
        """Messages in the chosen status."""
        value = self.value()
        if value not in list(MessageStatus):
            return queryset
        status = MessageStatus(value)
        if status is MessageStatus.PROCESSED:
            return queryset.filter(stored_at__isnull=False)
        jobs = Job.objects.filter(id=OuterRef("id"), project_id=OuterRef("project_id"))
        if status is MessageStatus.RECEIVED:
            return queryset.filter(~Exists(jobs.filter(status__in=ENDED_WITHOUT_OBJECT)), stored_at=None)
        return queryset.filter(Exists(jobs.filter(status=job_status_of(status))), stored_at=None)


class MessageChangeList(BoundedChangeList):
    """The list of messages, within bounds whatever is asked for."""

    result_list: Any

    def bound(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Cut the rows to those that an index yields for what was chosen."""
        most = MOST_ROWS + 1
        sought = uuid_of(self.query)
        if sought is not None:
            company = [sought, _FIRST, sought, _LAST, most]
            params = (sought, sought, KIND, *company, *company)
            return rows.filter(id__in=RawSQL(_NAMED, params))  # noqa: S611 - values are bound
        chosen = {spec.parameter_name: spec.value() for spec in self.filter_specs}
        status = chosen["status"]
        if status == MessageStatus.RECEIVED:
            ended = [status.value for status in ENDED_WITHOUT_OBJECT]
            between = (_FIRST, _LAST, MOST_SCANNED)
            return rows.filter(id__in=RawSQL(_RECEIVED, (KIND, *between, ended, most)))  # noqa: S611 - values are bound
        if status in list(MessageStatus) and status != MessageStatus.PROCESSED:
            ended_as = job_status_of(MessageStatus(status)).value
            return rows.filter(id__in=RawSQL(_ENDED, (KIND, ended_as, KIND, most)))  # noqa: S611 - values are bound
        return super().bound(request, rows)

    def get_results(self, request: HttpRequest) -> None:
        """The page, each message with the name of its project."""
        super().get_results(request)
        names = subjects.projects()
        found: list[Any] = list(self.result_list)
        for message in found:
            message.project_name = names.get(message.project_id, str(message.project_id))
        self.result_list = found


@admin.register(Message)
class MessageAdmin(ReadOnlyAdmin):
    """Messages, newest first."""

    list_display = ["message", "state", "project", "company", "received", "stored", "length"]
    list_display_links = ["message"]
    list_filter = [StatusFilter, ProjectFilter]
    search_fields = ["id"]
    search_help_text = "Id of a message (the sender's or ours) or of a company"
    fields = [
        "state", "project", "company_id", "message_id", "message_time", "received", "stored", "length", "sha256", "key",
        "job", "trouble", "original",
    ]  # fmt: skip
    readonly_fields = fields

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The list that stays fast over millions of rows."""
        return MessageChangeList

    def get_queryset(self, request: HttpRequest) -> QuerySet[Message]:
        """Messages with the status of their jobs, without their bodies."""
        rows: QuerySet[Message] = super().get_queryset(request).defer("body")
        job = Job.objects.filter(id=OuterRef("id"), project_id=OuterRef("project_id"))
        return rows.annotate(job_status=Subquery(job.values("status")[:1]), job_error=Subquery(job.values("error")[:1]))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Message], search_term: str
    ) -> tuple[QuerySet[Message], bool]:
        """The list itself looks ids up; anything else is found nowhere."""
        term = search_term.strip()
        return (queryset if not term or uuid_of(term) else queryset.none()), False

    @display(description="Message")
    def message(self, message: Message) -> SafeString:
        """What its sender calls it."""
        return format_html('<span class="jp-id">{}</span>', message.message_id)

    @display(description="Status")
    def state(self, message: Message) -> SafeString:
        """Where it stands."""
        status = status_of(getattr(message, "job_status", None), stored=message.stored_at is not None)
        return markup.badge(status, LOOKS[status])

    @display(description="Project")
    def project(self, message: Message) -> SafeString:
        """Whose it is."""
        name = getattr(message, "project_name", "") or subjects.names("project", [message.project_id]).get(
            message.project_id, ""
        )
        return subjects.link("project", message.project_id, name)

    @display(description="Company")
    def company(self, message: Message) -> SafeString:
        """Who sent it."""
        return format_html('<span class="jp-id">{}</span>', message.company_id)

    @display(description="Received")
    def received(self, message: Message) -> SafeString:
        """When it came."""
        return markup.moment(message.received_at)

    @display(description="Stored")
    def stored(self, message: Message) -> SafeString:
        """When its original came to be in object storage."""
        return markup.moment(message.stored_at)

    @display(description="Bytes")
    def length(self, message: Message) -> str:
        """The length of its body."""
        return f"{message.size:,}"

    @display(description="SHA-256")
    def sha256(self, message: Message) -> SafeString:
        """Of its body."""
        return markup.code(message.body_sha256.hex())

    @display(description="Key in object storage")
    def key(self, message: Message) -> SafeString:
        """Where its original is, or will be."""
        return markup.code(message.object_key)

    @display(description="Job")
    def job(self, message: Message) -> SafeString:
        """The job that processes it."""
        return subjects.link("job", message.job_id)

    @display(description="Error")
    def trouble(self, message: Message) -> SafeString:
        """What went wrong: what is written on it, else its job's error."""
        return markup.code(markup.brief(message.error or getattr(message, "job_error", None), 1000) or markup.NOTHING)

    @display(description="Body as kept")
    def original(self, message: Message) -> SafeString:
        """The body, indented for reading."""
        body = bytes(message.body)
        try:
            shown = markup.pretty(json.loads(body))
        except ValueError:  # not what was received
            shown = markup.pretty(body.decode(errors="replace"))
        return format_html('<pre class="jp-json">{}</pre>', shown.text if shown else "")
