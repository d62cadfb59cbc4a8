"""Redrives in the admin: how far each is and what came of it; start, pause and abort."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from unfold.decorators import display

from events.models import AuditRecord
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import ProjectFilter, uuid_of
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import ReadOnlyAdmin
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from reconciliation.admin import letters, planning
from reconciliation.admin.letters import PERMISSION
from reconciliation.errors import WrongPlanStatus
from reconciliation.models import Redrive, RedriveRow
from reconciliation.services import plans
from reconciliation.services.plans import ALLOWED, By
from reconciliation.states import RowState

LOOKS = {
    "freezing": Look("busy", "hourglass_top"),
    "ready": Look("ask", "flag"),
    "running": Look("busy", "hourglass_top"),
    "paused": Look("ask", "pause_circle"),
    "stopped": Look("bad", "report"),
    "done": Look("good", "check_circle"),
    "aborted": Look("ask", "block"),
    "frozen": Look("idle", "ac_unit"),
    "redriven": Look("busy", "restart_alt"),
    "recovered": Look("good", "check_circle"),
    "failing": Look("ask", "warning"),
    "failed": Look("bad", "error"),
    "cancelled": Look("ask", "block"),
    "skipped": Look("idle", "step_over"),
}
MOST = 50
COUNTS = ("redriven", "recovered", "failing", "failed", "cancelled", "skipped")


class Act:
    """Something that is done with a redrive by hand."""

    def __init__(self, verb: str, title: str, explanation: str, tone: str, icon: str) -> None:
        self.verb, self.title, self.explanation, self.tone, self.icon = verb, title, explanation, tone, icon
        self.do = {"start": plans.start, "pause": plans.pause, "abort": plans.abort}[verb]


ACTS = {
    act.verb: act
    for act in (
        Act("start", "Start", "It goes on. What failed again before counts no more.", "primary", "play_circle"),
        Act("pause", "Pause", "It queues no more jobs; those that it has queued run.", "default", "pause_circle"),
        Act("abort", "Abort", "It ends. What it has queued stays queued; others stay dead letters.", "danger", "block"),
    )
}


@admin.register(Redrive)
class RedriveAdmin(ReadOnlyAdmin):
    """Redrives, newest first."""

    list_display = ["began", "project", "state", "share", *COUNTS, "actor", "reason"]
    list_filter = ["status", ProjectFilter]
    list_display_links = ["began"]

    def get_urls(self) -> list[URLPattern]:
        """The pages and acts beside Django's own addresses."""
        site = self.admin_site
        own = [
            path("dead-letters/", site.admin_view(self._letters), name="reconciliation_redrive_letters"),
            path("plan/", site.admin_view(self._plan), name="reconciliation_redrive_plan"),
        ]
        own += [
            path(f"<uuid:row_id>/{verb}/", site.admin_view(self._act), {"verb": verb}, f"reconciliation_redrive_{verb}")
            for verb in ACTS
        ]
        return [*own, *super().get_urls()]

    def _letters(self, request: HttpRequest) -> HttpResponse:
        return letters.show(self, request)

    def _plan(self, request: HttpRequest) -> HttpResponse:
        return planning.show(self, request)

    @display(description="Planned")
    def began(self, row: Redrive) -> SafeString:
        """When."""
        return markup.moment(row.created_at)

    @display(description="Project")
    def project(self, row: Redrive) -> SafeString | str:
        """Whose jobs."""
        return subjects.project_of(row) if row.project_id else "all"

    @display(description="State")
    def state(self, row: Redrive) -> SafeString:
        """How it stands."""
        return badge(row.status, LOOKS[row.status])

    @display(description="Queued")
    def share(self, row: Redrive) -> SafeString:
        """How far it is."""
        return markup.progress_bar({"done": row.next_number - 1, "total": row.frozen})

    # -------------------------------------------------------------------------------------------- the page
    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page of one redrive; 404 for an id that is none."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        row = self._row(uuid_of(object_id))
        may = request.user.has_perm(PERMISSION)
        chosen = request.GET.get("state", "")
        found = RedriveRow.objects.filter(redrive_id=row.id).order_by("number")
        if chosen in set(RowState):
            found = found.filter(state=chosen)
        context = {
            **self.admin_site.each_context(request),
            "title": "Redrive",
            "subtitle": str(row.id),
            "opts": self.opts,
            "row": row,
            "badge": self.state(row),
            "project": self.project(row),
            "done": markup.share_of({"done": row.next_number - 1, "total": row.frozen}) or 0,
            "counts": [(name, badge(name, LOOKS[name]), f"{getattr(row, name):,}") for name in COUNTS],
            "filter": [
                (markup.spoken(name), ", ".join(map(str, value)) if isinstance(value, list) else markup.brief(value))
                for name, value in row.filter.items()
            ],
            "change": markup.pretty(row.change) if row.change else None,
            "moments": [
                (name, markup.moment_and_date(at))
                for name, at in (("Planned", row.created_at), ("Started", row.started_at), ("Ended", row.finished_at))
                if at is not None
            ],
            "buttons": [
                (act, reverse(f"admin:reconciliation_redrive_{act.verb}", args=(row.id,)))
                for act in ACTS.values()
                if may and row.status in ALLOWED[act.verb]
            ],
            "chosen": chosen,
            "states": [state.value for state in RowState],
            "jobs": [
                (one.number, subjects.link("job", one.job_id), badge(one.state, LOOKS[one.state]),
                 markup.visible(one.why), markup.moment(one.changed_at))
                for one in found[:MOST]
            ],
            "most": MOST,
            "audit": AuditRecord.objects.filter(subject_type="redrive", subject_id=str(row.id))[:MOST],
        }  # fmt: skip
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "reconciliation/admin/redrive.html", context)

    def _row(self, key: UUID | None) -> Redrive:
        row = Redrive.objects.filter(id=key).first() if key else None
        if row is None:
            raise Http404
        return row

    def _act(self, request: HttpRequest, row_id: UUID, verb: str) -> HttpResponse:
        """The form of an act, and the act."""
        act = ACTS[verb]
        if not (self.has_view_permission(request) and request.user.has_perm(PERMISSION)):
            raise PermissionDenied
        row = self._row(row_id)
        back = reverse("admin:reconciliation_redrive_change", args=(row.id,))
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                act.do(row.id, row.project_id, By(actor_of(request), form.cleaned_data["reason"]))
            except WrongPlanStatus as error:
                messages.warning(request, str(error))
            else:
                messages.success(request, f"{act.title}: done.")
            return HttpResponseRedirect(back)
        context = {
            **self.admin_site.each_context(request),
            "title": f"{act.title} a redrive",
            "content_title": f"{act.title} a redrive",
            "act": act,
            "about": [("Stands", self.state(row)), ("Reason", row.reason), ("Jobs", f"{row.frozen:,}")],
            "danger": act.tone == "danger",
            "form": form,
            "back": back,
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, "backoffice/decide.html", context)
