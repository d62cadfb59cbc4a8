"""Rows that people edit by forms of Django's own, with what they changed in the audit record."""

from typing import Any

from django.contrib.admin import ModelAdmin
from django.db.models import Manager, Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest

from events import audit
from jobplatform.backoffice.reasons import actor_of

LONGEST_VALUE = 1000
_HIDDEN = "(not shown)"


def changes_of(form: "ModelForm[Any]") -> dict[str, dict[str, Any]]:
    """What a valid form changes: `{"before": {name: value}, "after": {name: value}}`, as text; no passwords."""
    names = form.changed_data
    return {
        "before": {name: _shown(name, form.initial.get(name)) for name in names},
        "after": {name: _shown(name, form.cleaned_data.get(name)) for name in names},
    }


def _shown(name: str, value: Any) -> Any:
    if "password" in name:
        return _HIDDEN
    if isinstance(value, QuerySet | Manager):
        value = list(value.all())
    if isinstance(value, list | tuple | set | frozenset):
        return sorted(str(item)[:LONGEST_VALUE] for item in value)[:LONGEST_VALUE]
    return value if value is None or isinstance(value, bool | int) else str(value)[:LONGEST_VALUE]


class AuditedAdmin(ModelAdmin):  # type: ignore[type-arg] # generic for the type checker only
    """Mix-in, first of the bases: Django's own log of changes goes to the audit record as well, in one transaction."""

    def construct_change_message(
        self, request: HttpRequest, form: Any, formsets: Any, add: bool = False  # noqa: FBT001, FBT002 - Django's signature
    ) -> Any:  # fmt: skip
        """Django's message; what changed is kept for the record, which is made with it."""
        request._changes = changes_of(form)  # type: ignore[attr-defined] # noqa: SLF001 - Django offers no other way
        return super().construct_change_message(request, form, formsets, add)

    def log_addition(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Somebody added a row."""
        self._record(request, obj, "add")
        return super().log_addition(request, obj, message)

    def log_change(self, request: HttpRequest, obj: Model, message: Any) -> Any:
        """Somebody changed a row, or the password of a person."""
        self._record(request, obj, "change", message=message if isinstance(message, str) else "")
        return super().log_change(request, obj, message)

    def log_deletions(self, request: HttpRequest, queryset: Any) -> Any:
        """Somebody deleted rows."""
        for obj in queryset:
            self._record(request, obj, "delete")
        return super().log_deletions(request, queryset)

    @staticmethod
    def _record(request: HttpRequest, obj: Model, verb: str, message: str = "") -> None:
        changes: dict[str, Any] = getattr(request, "_changes", {})
        noun = obj._meta.model_name or ""
        audit.record(
            action=f"{noun}.{verb}",
            actor=actor_of(request),
            subject_type=noun,
            subject_id=str(obj.pk),
            data={"name": str(obj), **changes, **({"message": message} if message else {})},
        )
