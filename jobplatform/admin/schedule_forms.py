"""What is asked of a schedule in the admin: the kind, when, the payload, and what happens if something intervenes."""

import json
from typing import Any, ClassVar

from django import forms
from django.core.exceptions import ValidationError
from django_celery_beat.models import PeriodicTask
from pydantic import ValidationError as PayloadError
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
)

from jobplatform.backoffice import subjects
from jobplatform.backoffice.reasons import ReasonForm
from jobs import registry, schedules
from jobs.errors import InvalidPayload, InvalidSchedule
from jobs.models import Schedule
from jobs.states import PLATFORM, CatchUp, Overlap

POLICIES = ("missed", "overlap", "while_paused", "pause_on_failures")
WHEN = ("interval", "crontab", "clocked", "one_off", "start_time", "expires")

_CATCH_UP = {CatchUp.SKIP: "skip: none makes a job", CatchUp.ONE: "one: the latest does", CatchUp.ALL: "all: each does"}
_OVERLAP = {
    Overlap.ALLOW: "allow: make another",
    Overlap.SKIP: "skip: make none",
    Overlap.QUEUE_ONE: "queue one: make one when it has ended",
}


def _choice(label: str, choices: dict[Any, str], help_text: str = "") -> forms.ChoiceField:
    pairs = [(choice.value, text) for choice, text in choices.items()]
    return forms.ChoiceField(
        label=label, choices=pairs, required=False, help_text=help_text, widget=UnfoldAdminSelectWidget()
    )


class ScheduleForm(forms.ModelForm):  # type: ignore[type-arg] # the stub is generic, the class is not
    """A schedule: the kind, when, and the payload of its jobs; below it, its policies."""

    task = forms.ChoiceField(label="Kind", widget=UnfoldAdminSelectWidget())
    kwargs = forms.JSONField(
        label="Payload", initial=dict, widget=UnfoldAdminTextareaWidget(attrs={"rows": 6, "class": "jp-json-input"})
    )
    project_id = forms.UUIDField(
        label="Project id", required=False, widget=UnfoldAdminTextInputWidget(), help_text="Empty: the platform itself."
    )
    missed = _choice("Missed instants", _CATCH_UP, "Those that nobody fired within two minutes.")
    overlap = _choice("While its last job has not ended", _OVERLAP)
    while_paused = _choice(
        "Instants during a pause", _CATCH_UP, "Of its kind, queue or project; a pause may say otherwise."
    )
    pause_on_failures = forms.IntegerField(
        label="Pause after so many failures", min_value=0, max_value=100, required=False,
        widget=UnfoldAdminIntegerFieldWidget(), help_text="In a row. 0: never.",
    )  # fmt: skip

    class Meta:
        model = PeriodicTask
        fields = ("name", "task", "kwargs", "enabled", "description", *WHEN)
        labels: ClassVar[Any] = {
            "interval": "Interval", "crontab": "Crontab", "clocked": "Moment", "one_off": "Once only",
            "start_time": "Not before", "expires": "Not after",
        }  # fmt: skip
        help_texts: ClassVar[Any] = {
            "name": "", "enabled": "", "description": "", "crontab": "", "start_time": "", "expires": "",
            "interval": "One of the three says when.",
            "clocked": "Once, then; it wants “once only”.",
            "one_off": "It is off when it has fired.",
        }  # fmt: skip

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["kwargs"] = json.loads(self.instance.kwargs or "{}")  # the column is text
        row = getattr(self.instance, "jobs_schedule", None) or Schedule()
        self.initial.update({name: getattr(row, name) for name in POLICIES})
        self.initial["project_id"] = None if row.project_id == PLATFORM else row.project_id
        if "task" in self.fields:  # not for those who may only look
            names = [kind.name for kind in registry.kinds()]
            if self.instance.task and self.instance.task not in names:
                names.append(self.instance.task)
            self.fields["task"].choices = [(name, name) for name in names]  # type: ignore[attr-defined] # a ChoiceField

    def clean_project_id(self) -> Any:
        """A project that there is."""
        found = self.cleaned_data["project_id"] or PLATFORM
        if found != PLATFORM and not subjects.exists("project", found):
            message = "There is no such project."
            raise ValidationError(message)
        return found

    def clean(self) -> dict[str, Any]:
        """The payload fits the kind, and there is a time at which it is due. Raises ValidationError."""
        cleaned: dict[str, Any] = super().clean() or {}
        kind, payload = registry.find(cleaned.get("task", "")), cleaned.get("kwargs")
        if kind is None:
            raise ValidationError({"task": "No handler is registered for this kind."})
        if not isinstance(payload, dict):
            raise ValidationError({"kwargs": "The payload is a JSON object: {…}."})
        try:
            kind.payload.model_validate(payload)
            schedules.check_size(json.dumps(payload))
        except InvalidPayload as error:
            raise ValidationError({"kwargs": str(error)}) from error
        except PayloadError as error:
            lines = [f"{'.'.join(map(str, item['loc'])) or 'payload'}: {item['msg']}" for item in error.errors()]
            raise ValidationError({"kwargs": lines}) from error
        self._check_time(cleaned)
        return cleaned

    def _check_time(self, cleaned: dict[str, Any]) -> None:
        said = {name: cleaned.get(name) for name in WHEN}
        named = [name for name in ("interval", "crontab", "clocked") if said[name] is not None]
        if len(named) != 1 or not cleaned.get("enabled"):
            return  # the model says what is wrong with that
        try:
            timetable = schedules.timetable_of(PeriodicTask(**said))
        except InvalidSchedule as error:
            raise ValidationError({named[0]: str(error)}) from error
        if next(timetable.after(schedules.now()), None) is None:
            raise ValidationError({named[0]: "It would never be due."})

    def policies(self) -> dict[str, Any]:
        """The columns of ours as they were given; what was not given stays as it is."""
        found = {name: self.cleaned_data.get(name) for name in POLICIES}
        given = {name: value for name, value in found.items() if value not in (None, "")}
        return given | {"project_id": self.cleaned_data["project_id"]}


class BackfillForm(ReasonForm):
    """From when to when, and why."""

    begin = forms.DateTimeField(
        label="From", help_text="UTC, as in 2026-11-22 06:00", widget=UnfoldAdminTextInputWidget()
    )
    end = forms.DateTimeField(
        label="To", help_text="UTC; this instant belongs to it", widget=UnfoldAdminTextInputWidget()
    )
    field_order = ("begin", "end", "reason")
