"""Jobs in the admin: the list, the page of one job, and the acts of an operator."""

from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse
from django.utils.html import format_html
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import ProjectFilter
from jobplatform.backoffice.readonly import ReadOnlyAdmin
from jobs.admin import acts, attempts, filters, looks, page
from jobs.admin.listing import JobChangeList, search
from jobs.admin.measures import is_late, most_attempts, seconds_of
from jobs.models import Job
from jobs.states import Stage, Status

DONE = frozenset({Status.PROCESSED, Status.CONFIRMED, Status.CONFIRMING, Status.PENDING_APPROVAL})


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    """Jobs: looked at, cancelled, retried; never added, deleted or edited in place."""

    list_display = ["job", "state", "project", "attempts", "created", "due", "took"]
    list_display_links = ["job"]
    list_filter: ClassVar[Any] = [
        filters.StatusFilter,
        filters.LateFilter,
        filters.KindFilter,
        filters.QueueFilter,
        ProjectFilter,
        filters.StageFilter,
        filters.CreatedFilter,
    ]
    search_fields = ["id"]
    search_help_text = "Job id, lane, error code, metadata value or name=value"
    actions: ClassVar[Any] = ["cancel_selected", "retry_selected"]

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[JobChangeList]:
        """The list that stays fast over millions of rows."""
        return JobChangeList

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Job], search_term: str
    ) -> tuple[QuerySet[Job], bool]:
        """By lane, error code or metadata; the list itself looks ids up."""
        return search(queryset, search_term), False

    def has_cancel_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may cancel."""
        return request.user.has_perm(acts.CANCEL.permission)

    def has_retry_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may retry."""
        return request.user.has_perm(acts.RETRY.permission)

    # -------------------------------------------------------------------------------------------- pages
    def get_urls(self) -> list[URLPattern]:
        """The acts and the list of attempts beside Django's own addresses."""
        view = self.admin_site.admin_view
        one = [
            path(f"<uuid:job_id>/{act}/", view(self._act), {"act": act}, name=f"jobs_job_{act}") for act in acts.ACTS
        ]
        return [
            path("attempts/", view(self._attempts), name="jobs_job_attempts"),
            path("selected/<slug:act>/", view(self._act_on_selected), name="jobs_job_act_on_selected"),
            *one,
            *super().get_urls(),
        ]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page of one job."""
        return page.show(self, request, object_id)

    def _act(self, request: HttpRequest, job_id: UUID, act: str) -> HttpResponse:
        return acts.act_on_one(self, request, act, job_id)

    def _act_on_selected(self, request: HttpRequest, act: str) -> HttpResponse:
        return acts.act_on_selected(self, request, act)

    def _attempts(self, request: HttpRequest) -> HttpResponse:
        return attempts.show(self, request)

    @action(description="Cancel selected jobs", permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse:
        """Ask for the reason."""
        return self._ask(request, "cancel")

    @action(description="Retry selected jobs", permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: QuerySet[Job]) -> HttpResponse:
        """Ask for the reason."""
        return self._ask(request, "retry")

    def _ask(self, request: HttpRequest, act: str) -> HttpResponse:
        chosen = request.POST.getlist("_selected_action")[: acts.MOST_SELECTED]
        address = reverse("admin:jobs_job_act_on_selected", args=(act,))
        return HttpResponseRedirect(f"{address}?{urlencode({'ids': ','.join(chosen)})}")

    # -------------------------------------------------------------------------------------------- columns
    @display(description="Job")
    def job(self, job: Job) -> SafeString:
        """Kind and id."""
        return format_html('<span class="jp-two"><b>{}</b><small class="jp-id">{}</small></span>', job.kind, job.id)

    @display(description="Status")
    def state(self, job: Job) -> SafeString:
        """Status; below it the error's code, the stage where it is not the first, and that it was asked to stop."""
        code = job.error.get("code") if isinstance(job.error, dict) else None
        notes = [
            markup.visible(str(code))[:64] if code and code != job.status else "",
            "" if job.stage == Stage.PROCESS else job.stage,
            "cancel asked" if job.cancel_requested else "",
        ]
        note = " · ".join(note for note in notes if note)
        below = format_html('<small class="jp-id">{}</small>', note) if note else ""
        return format_html('<span class="jp-two"><span>{}</span>{}</span>', looks.status(job.status), below)

    @display(description="Project")
    def project(self, job: Job) -> SafeString:
        """The project's name."""
        return subjects.project_of(job)

    @display(description="Attempt")
    def attempts(self, job: Job) -> SafeString:
        """Which of how many; below it a bar of its progress, where the handler told and is not done."""
        most = most_attempts(job)
        number = f"{job.attempt} of {most}" if most else str(job.attempt)
        bar = markup.progress_bar(None if job.status in DONE else job.progress)
        return format_html('<span class="jp-two"><span>{}</span>{}</span>', number, bar)

    @display(description="Created")
    def created(self, job: Job) -> SafeString:
        """When."""
        return markup.moment(job.created_at)

    @display(description="Due")
    def due(self, job: Job) -> SafeString | str:
        """When it may run, while it waits."""
        return markup.moment(job.due_at) if job.status in {Status.QUEUED, Status.PARKED} else markup.NOTHING

    @display(description="Duration")
    def took(self, job: Job) -> SafeString:
        """Of the latest attempt, marked when it was longer than the kind expects."""
        seconds = seconds_of(job)
        late = format_html(' <small class="jp-late">{}</small>', "late") if is_late(job, seconds) else ""
        return format_html("{}{}", markup.duration(seconds), late)
