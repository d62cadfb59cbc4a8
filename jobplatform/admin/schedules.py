"""Schedules in the admin. Beat makes a job from each, so a schedule names a kind, never a Celery task."""

import json
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    PeriodicTasks,
    SolarSchedule,
)
from pydantic import ValidationError as PayloadError
from unfold.admin import ModelAdmin
from unfold.decorators import action, display
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextareaWidget

from events import audit
from jobplatform.backoffice import markup
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import PlatformAdmin
from jobplatform.backoffice.reasons import actor_of
from jobs import registry

ON, PAUSED = Look("good", "play_circle"), Look("ask", "pause_circle")

for _model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    if admin.site.is_registered(_model):
        admin.site.unregister(_model)


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg] # the stub is generic, the class is not
    """A schedule: the kind, when, and the payload of its jobs."""

    task = forms.ChoiceField(label="Kind", widget=UnfoldAdminSelectWidget())
    kwargs = forms.JSONField(
        label="Payload", initial=dict, widget=UnfoldAdminTextareaWidget(attrs={"rows": 6, "class": "jp-json-input"})
    )

    class Meta:
        model = PeriodicTask
        fields = ("name", "task", "kwargs", "enabled", "description", "interval", "crontab", "clocked", "one_off")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["kwargs"] = json.loads(self.instance.kwargs or "{}")  # the column is text
        if "task" in self.fields:  # not for those who may only look
            names = [kind.name for kind in registry.kinds()]
            if self.instance.task and self.instance.task not in names:
                names.append(self.instance.task)
            self.fields["task"].choices = [(name, name) for name in names]  # type: ignore[attr-defined] # a ChoiceField

    def clean(self) -> dict[str, Any]:
        """The payload fits the kind. Raises ValidationError."""
        cleaned: dict[str, Any] = super().clean() or {}
        kind, payload = registry.find(cleaned.get("task", "")), cleaned.get("kwargs")
        if kind is None:
            raise ValidationError({"task": "No handler is registered for this kind."})
        if not isinstance(payload, dict):
            raise ValidationError({"kwargs": "The payload is a JSON object: {…}."})
        try:
            kind.payload.model_validate(payload)
        except PayloadError as error:
            lines = [f"{'.'.join(map(str, item['loc'])) or 'payload'}: {item['msg']}" for item in error.errors()]
            raise ValidationError({"kwargs": lines}) from error
        return cleaned


@admin.register(PeriodicTask)
class ScheduleAdmin(PlatformAdmin):
    """Schedules: each makes a job of its kind whenever it is due."""

    form = ScheduleForm
    list_display = ["name", "kind", "state", "when", "last_run", "total_run_count"]
    list_filter = ["enabled"]
    search_fields = ["name", "task"]
    list_select_related = ["interval", "crontab", "clocked", "solar"]
    actions: ClassVar[Any] = ["enable", "pause"]
    fieldsets = (
        (None, {"fields": ("name", "task", "kwargs", "enabled", "description")}),
        ("When", {"fields": ("interval", "crontab", "clocked", "one_off")}),
    )

    def save_model(self, request: HttpRequest, obj: PeriodicTask, form: ScheduleForm, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Keep it, with its audit record."""
        obj.kwargs = json.dumps(form.cleaned_data["kwargs"])
        super().save_model(request, obj, form, change)
        _record(request, obj, "schedule.change" if change else "schedule.create")

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """An empty payload."""
        return {"kwargs": {}, **super().get_changeform_initial_data(request)}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a shipped one would come back at the next start. It is paused instead."""
        return False

    @action(description="Enable selected schedules", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Let them fire."""
        self._switch(request, queryset, on=True)

    @action(description="Pause selected schedules", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Let them rest."""
        self._switch(request, queryset, on=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[PeriodicTask], *, on: bool) -> None:
        for row in queryset.exclude(enabled=on):
            queryset.filter(pk=row.pk).update(enabled=on)
            _record(request, row, "schedule.enable" if on else "schedule.pause")
        PeriodicTasks.update_changed()

    @display(description="Kind")
    def kind(self, row: PeriodicTask) -> SafeString:
        """The kind of its jobs."""
        return markup.code(row.task)

    @display(description="State")
    def state(self, row: PeriodicTask) -> SafeString:
        """Enabled or paused."""
        return badge("enabled", ON) if row.enabled else badge("paused", PAUSED)

    @display(description="When")
    def when(self, row: PeriodicTask) -> str:
        """Its interval, crontab or moment."""
        return str(row.interval or row.crontab or row.clocked or row.solar or markup.NOTHING)

    @display(description="Fired last")
    def last_run(self, row: PeriodicTask) -> SafeString:
        """When."""
        return markup.moment(row.last_run_at)


def _record(request: HttpRequest, row: PeriodicTask, act: str) -> None:
    audit.record(
        action=act,
        actor=actor_of(request),
        subject_type="schedule",
        subject_id=str(row.pk),
        data={"name": row.name, "kind": row.task},
    )


@admin.register(IntervalSchedule, CrontabSchedule, ClockedSchedule)
class MomentAdmin(ModelAdmin):  # type: ignore[misc] # unfold has no types
    """When schedules fire. Reached from a schedule's page."""

    search_fields: ClassVar[Any] = ()

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Not on the front page."""
        return False
