"""Acts on many jobs, and batches, in the admin: how far they are."""

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminTextInputWidget

from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import ReadOnlyAdmin
from jobplatform.backoffice.reasons import LONGEST_REASON, actor_of
from jobs import batches, bulk
from jobs.models import BulkAct, JobBatch

LOOKS = {
    "running": Look("busy", "hourglass_top"),
    "done": Look("good", "check_circle"),
    "ended": Look("good", "check_circle"),
    "aborted": Look("ask", "block"),
    "stalled": Look("ask", "pause_circle"),
}


class StopForm(forms.ModelForm):  # type: ignore[type-arg] # generic for the type checker only
    """Saving it stops the act."""

    why_stop = forms.CharField(
        label="Stop it, because", min_length=3, max_length=LONGEST_REASON, widget=UnfoldAdminTextInputWidget()
    )

    class Meta:
        model = BulkAct
        fields = ()


@admin.register(BulkAct)
class BulkActAdmin(ReadOnlyAdmin):
    """Acts on many jobs. One that runs may be stopped; what it has done stays done."""

    list_display = ["verb", "project", "state", "matched", "done", "skipped", "actor", "began"]
    list_filter = ["status", "verb"]
    fields = [
        "verb", "filter", "priority", "project", "state", "matched", "done", "skipped", "actor", "reason", "began",
        "finished_at",
    ]  # fmt: skip
    readonly_fields = [*fields]
    form = StopForm

    def get_fields(self, request: HttpRequest, obj: BulkAct | None = None) -> list[str]:
        """Who may stop it is asked why."""
        return [*self.fields, "why_stop"] if self.has_change_permission(request, obj) else [*self.fields]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may cancel jobs may stop an act that runs."""
        return obj is not None and obj.status == bulk.RUNNING and request.user.has_perm("jobs.cancel_job")

    def save_model(self, request: HttpRequest, obj: BulkAct, form: StopForm, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Stop the act behind the slice that it is at."""
        why = form.cleaned_data["why_stop"]
        bulk.abort(project_id=obj.project_id, act_id=obj.id, actor=actor_of(request), reason=why)

    @display(description="Project")
    def project(self, row: BulkAct) -> SafeString:
        """Whose jobs."""
        return subjects.project_of(row)

    @display(description="State")
    def state(self, row: BulkAct) -> SafeString:
        """How far it is."""
        return badge(row.status, LOOKS[row.status])

    @display(description="Began")
    def began(self, row: BulkAct) -> SafeString:
        """When."""
        return markup.moment(row.created_at)


@admin.register(JobBatch)
class JobBatchAdmin(ReadOnlyAdmin):
    """Batches: jobs that were created together, and the job that follows."""

    list_display = ["title", "project", "state", "total", "began", "ended_at"]
    search_fields = ["name"]
    fields = [
        "title", "project", "state", "total", "counts", "follow", "follow_when", "followed_by", "follow_error", "began",
        "ended_at",
    ]  # fmt: skip
    readonly_fields = fields

    @display(description="Batch")
    def title(self, row: JobBatch) -> str:
        """Its name, or its id."""
        return str(row)

    @display(description="Project")
    def project(self, row: JobBatch) -> SafeString:
        """Whose jobs."""
        return subjects.project_of(row)

    @display(description="State")
    def state(self, row: JobBatch) -> SafeString:
        """Running, ended, or stalled: not all ended well, and what follows wants that."""
        name = "stalled" if row.stalled_at else "ended" if row.ended_at else "running"
        return badge(name, LOOKS[name])

    @display(description="Jobs by status")
    def counts(self, row: JobBatch) -> str:
        """How many of its jobs have which status."""
        counts = batches.standing(row).counts
        return ", ".join(f"{number:,} {status}" for status, number in sorted(counts.items())) or "none"

    @display(description="Followed by")
    def followed_by(self, row: JobBatch) -> SafeString | str:
        """The job that follows."""
        return subjects.link("job", row.follow_id) if row.follow_id else "nothing yet" if row.follow else "nothing"

    @display(description="Began")
    def began(self, row: JobBatch) -> SafeString:
        """When."""
        return markup.moment(row.created_at)
