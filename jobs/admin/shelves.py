"""Shelves in the admin: where something may be due, and the pause that an operator may put on one."""

from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db import transaction
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldBooleanSwitchWidget

from events import audit
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import ReadOnlyAdmin
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from jobs.models import Shelf

NEVER = 9999  # the year of a mark on an empty shelf
PAUSED, OPEN = Look("ask", "pause_circle"), Look("good", "play_circle")


class ShelfForm(ReasonForm, forms.ModelForm):  # type: ignore[type-arg] # the stub is generic, the class is not
    """Paused or not, and why."""

    class Meta:
        model = Shelf
        fields = ("paused",)
        widgets: ClassVar[Any] = {"paused": UnfoldBooleanSwitchWidget()}


@admin.register(Shelf)
class ShelfAdmin(ReadOnlyAdmin):
    """Shelves. Nothing is claimed from a paused one; jobs may still be put on it."""

    form = ShelfForm
    list_display = ["kind", "project", "priority", "cap", "weight", "state", "low_due"]
    list_filter = ["paused"]
    search_fields = ["kind"]
    search_help_text = "Kind"
    fields = ["kind", "project", "priority", "cap", "weight", "low_due", "paused", "reason"]
    readonly_fields = ["kind", "project", "priority", "cap", "weight", "low_due"]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever was given it: it reaches the pause only."""
        return request.user.has_perm("jobs.change_shelf")

    def save_model(self, request: HttpRequest, obj: Shelf, form: ShelfForm, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Pause or open the shelf, with its audit record. The relay's next look finds an opened one."""
        with transaction.atomic():
            if not Shelf.objects.filter(id=obj.id).exclude(paused=obj.paused).update(paused=obj.paused):
                return
            audit.record(
                action="shelf.pause" if obj.paused else "shelf.open",
                actor=actor_of(request),
                subject_type="shelf",
                subject_id=str(obj.id),
                project_id=obj.project_id,
                reason=form.cleaned_data["reason"],
                data={"kind": obj.kind, "priority": obj.priority, "cap": obj.cap},
            )

    @display(description="Project")
    def project(self, shelf: Shelf) -> SafeString:
        """Whose jobs lie here."""
        return subjects.project_of(shelf)

    @display(description="State")
    def state(self, shelf: Shelf) -> SafeString:
        """Paused or open."""
        return badge("paused", PAUSED) if shelf.paused else badge("open", OPEN)

    @display(description="Nothing due before")
    def low_due(self, shelf: Shelf) -> SafeString:
        """The low-water mark of due times, a hint."""
        return markup.moment(shelf.low_due_at if shelf.low_due_at.year < NEVER else None)
