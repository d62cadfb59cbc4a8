"""Pauses in the admin: begin one, look at those that hold, end one. Each act wants its reason."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.readonly import PlatformAdmin
from jobplatform.backoffice.reasons import LONGEST_REASON, actor_of
from jobs import pauses, registry
from jobs.errors import InvalidOption
from jobs.models import Pause
from jobs.states import CatchUp


class PauseForm(forms.ModelForm):  # type: ignore[type-arg] # generic for the type checker only
    """What is paused, and why."""

    reason = forms.CharField(min_length=3, max_length=LONGEST_REASON, widget=UnfoldAdminTextInputWidget())
    kind = forms.CharField(required=False, widget=UnfoldAdminTextInputWidget(), empty_value=None)
    queue = forms.CharField(required=False, widget=UnfoldAdminTextInputWidget(), empty_value=None)
    project_id = forms.UUIDField(required=False, label="Project id", widget=UnfoldAdminTextInputWidget())
    schedules = forms.TypedChoiceField(
        label="Instants of schedules meanwhile", required=False, empty_value=None, widget=UnfoldAdminSelectWidget(),
        choices=[("", "as each schedule says"), *((policy.value, policy.value) for policy in CatchUp)],
        help_text="When the pause ends, none of them, the latest one, or all make jobs.",
    )  # fmt: skip

    class Meta:
        model = Pause
        fields = ("kind", "queue", "project_id", "until", "schedules", "reason")

    def clean_kind(self) -> str | None:
        """A kind that there is: a misspelt one would pause nothing."""
        kind: str | None = self.cleaned_data["kind"]
        if kind is not None and registry.find(kind) is None:
            message = "There is no such kind."
            raise ValidationError(message)
        return kind

    def clean(self) -> dict[str, Any]:
        """Something is named, and its end is ahead."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                pauses.check(
                    project_id=cleaned.get("project_id"), kind=cleaned.get("kind"), queue=cleaned.get("queue"),
                    until=cleaned.get("until"), reason=cleaned.get("reason", ""),
                )  # fmt: skip
            except InvalidOption as error:
                raise ValidationError(str(error)) from error
        return cleaned


@admin.register(Pause)
class PauseAdmin(PlatformAdmin):
    """Pauses. Adding one begins it, deleting it ends it."""

    form = PauseForm
    list_display = ["what", "project", "until", "reason", "actor", "began"]
    list_display_links = ["what"]
    search_fields = ["kind", "queue", "reason"]
    ordering = ("-id",)
    actions = None

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: end it, and begin another."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may begin one may end one."""
        return request.user.has_perm("jobs.add_pause")

    def save_model(self, request: HttpRequest, obj: Pause, form: PauseForm, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Through the services."""
        begun = pauses.pause(
            actor=actor_of(request),
            reason=obj.reason,
            project_id=obj.project_id,
            kind=obj.kind,
            queue=obj.queue,
            until=obj.until,
            schedules=obj.schedules,
        )
        obj.id = begun.id

    def delete_model(self, request: HttpRequest, obj: Pause) -> None:
        """Through the services."""
        pauses.resume(pause_id=obj.id, project_id=None, actor=actor_of(request))

    @display(description="What")
    def what(self, row: Pause) -> str:
        """The kind and the queue, or all."""
        return " ".join(part for part in (row.kind, row.queue and f"queue {row.queue}") if part) or "all jobs"

    @display(description="Project")
    def project(self, row: Pause) -> SafeString | str:
        """Whose jobs."""
        return subjects.project_of(row) if row.project_id else "all projects"

    @display(description="Began")
    def began(self, row: Pause) -> SafeString:
        """When."""
        return markup.moment(row.created_at)
