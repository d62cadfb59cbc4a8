"""Kinds in the admin: what the code says of each, what people have set, and what other settings would have done."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from events.models import AuditRecord
from jobplatform.backoffice import markup
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import PlatformAdmin
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from jobs import hindsight, limits, registry, tuning
from jobs.errors import InvalidOption, JobsError, SettingsChanged
from jobs.hindsight import Hindsight
from jobs.models import KindSettings
from jobs.registry import Kind
from jobs.tuning import Settings

SET, ODD = Look("busy", "tune"), Look("ask", "warning")
LATEST_CHANGES = 10

TITLES = {
    "max_attempts": "Attempts",
    "first": "First delay",
    "factor": "Factor",
    "cap": "Longest delay",
    "timeout": "Timeout",
    "batch": "Jobs per claim",
    "expect": "Expected",
    "priority": "Priority",
}
_SECONDS = {"first", "cap", "timeout", "expect"}
_WHOLE = {"max_attempts", "batch", "priority"}
_HELP = {
    "max_attempts": "The first run and its retries together.",
    "first": "Seconds before the second attempt.",
    "factor": "By which each further delay is longer than the one before.",
    "cap": "Seconds; no delay is longer.",
    "timeout": "Seconds that one attempt may take.",
    "batch": "At most; it adapts to how long they take.",
    "expect": "Seconds that are normal; an attempt that takes longer is late.",
    "priority": "-100 to 100, for jobs that are created without one. Higher runs first.",
}


class KindForm(ReasonForm):
    """Settings of one kind. What is left empty is as the code says."""

    version = forms.IntegerField(widget=forms.HiddenInput())
    days = forms.TypedChoiceField(
        label="History", coerce=int, initial=7, required=False, widget=UnfoldAdminSelectWidget(),
        choices=[(days, f"last {days} days" if days > 1 else "last day") for days in hindsight.DAYS],
        help_text="For Try on history: jobs that were created in this time.",
    )  # fmt: skip
    field_order = (*tuning.NAMES, "reason", "days", "version")

    def __init__(self, kind: Kind[Any], data: Any = None, **kwargs: Any) -> None:
        super().__init__(data, **kwargs)
        code = tuning.values_of(kind)
        for name in tuning.NAMES:
            said = getattr(code, name)
            attrs = {"placeholder": "none" if said is None else f"{said:g}", "inputmode": "decimal"}
            if name in _WHOLE:
                field: forms.Field = forms.IntegerField(widget=UnfoldAdminIntegerFieldWidget(attrs=attrs))
            else:
                field = forms.FloatField(widget=UnfoldAdminTextInputWidget(attrs=attrs))
            field.required, field.label, field.help_text = False, TITLES[name], _HELP[name]
            if kind.retry.one_shot and name in tuning.ONCE_ONLY:
                field.disabled, field.help_text = True, "It runs once at most, and alone."
            self.fields[name] = field
        self.fields["reason"].widget.attrs.pop("autofocus", None)
        self.order_fields(self.field_order)

    def settings(self) -> Settings:
        """What was asked for."""
        return Settings(**{name: self.cleaned_data.get(name) for name in tuning.NAMES})


@dataclass(frozen=True, slots=True)
class Cell:
    """One setting of a kind, as text."""

    title: str
    code: str
    tuned: str
    effective: str


@dataclass(frozen=True, slots=True)
class Line:
    """A kind in the list. `problem`: why its row is ignored."""

    name: str
    link: str
    cells: list[Cell]
    state: Any
    changed: Any
    problem: str = ""


@admin.register(KindSettings)
class KindAdmin(PlatformAdmin):
    """Every registered kind, whether somebody has set something or not."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Never: a kind is a function in the code."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: it is reset, with a reason."""
        return False

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """All kinds, by name."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        rows = {row.kind: row for row in KindSettings.objects.all()}
        wanted = request.GET.get("q", "").strip().lower()
        lines = [_line(registry.declared(kind.name), rows.get(kind.name)) for kind in registry.kinds()]
        gone = [row for name, row in sorted(rows.items()) if registry.find(name) is None and tuning.of_row(row).set()]
        context = {
            "title": "Kinds",
            "content_title": "Kinds",
            "lines": [line for line in lines if wanted in line.name],
            "gone": [{"name": row.kind, "changed": markup.moment(row.updated_at)} for row in gone],
            "titles": [TITLES[name] for name in tuning.NAMES],
            "q": wanted,
        }
        return self._page(request, "jobs/admin/kinds.html", context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """One kind: its settings, a trial of others on its history, and who has changed them."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        kind = _kind(object_id)
        row = KindSettings.objects.filter(kind=kind.name).first()
        may = self.has_change_permission(request)
        if request.method == "POST" and not may:
            raise PermissionDenied
        line = _line(kind, row)
        initial = tuning.of_row(row).set() | {"version": row.version if row else 0}
        form = KindForm(kind, request.POST if request.method == "POST" else None, initial=initial)
        shown: list[str] = []
        if request.method == "POST":
            form.fields["reason"].required = "try" not in request.POST
            for name in tuning.NAMES:  # a reset looks at none of them
                form.fields[name].disabled |= "reset" in request.POST
            done, shown = _act(request, kind, form)
            if done:
                messages.success(request, done)
                return HttpResponseRedirect(line.link)
        context = {
            "title": kind.name,
            "content_title": f"Kind {kind.name}",
            "about": kind.title,
            "line": line,
            "form": form if may else None,
            "set": bool(tuning.of_row(row).set()),
            "row": row,
            "tried": shown,
            "limit": _limit(kind),
            "changes": _changes(kind.name),
            "back": reverse("admin:jobs_kindsettings_changelist"),
        }
        return self._page(request, "jobs/admin/kind.html", context)

    def _page(self, request: HttpRequest, template: str, context: dict[str, Any]) -> HttpResponse:
        request.current_app = self.admin_site.name
        return TemplateResponse(request, template, {**self.admin_site.each_context(request), **context})


def address_of(kind: str) -> str:
    """The page of a kind."""
    return reverse("admin:jobs_kindsettings_change", args=(quote(kind),))


def _kind(object_id: str) -> Kind[Any]:
    """By its name, as it is or as the admin writes it in addresses."""
    for name in (object_id, unquote(object_id)):
        if registry.find(name) is not None:
            return registry.declared(name)
    raise Http404


# ---------------------------------------------------------------------------------------------- acts


def _act(request: HttpRequest, kind: Kind[Any], form: KindForm) -> tuple[str, list[str]]:
    """Save, reset, or try. Returns what was done, and what the trial has shown; what is wrong stands in the form."""
    if not form.is_valid():
        if "version" in form.errors:
            form.add_error(None, "The form is not complete: load this page anew.")
        return "", []
    wanted = Settings() if "reset" in request.POST else form.settings()
    try:
        made = tuning.tuned(kind, wanted)
        if "try" in request.POST:
            return "", lines_of(made, hindsight.look_back(made, form.cleaned_data["days"] or 7))
        tuning.change(
            kind=kind.name,
            settings=wanted,
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
            version=form.cleaned_data["version"],
        )
    except InvalidOption as error:
        field = error.field.strip("/")
        form.add_error(field if field in form.fields else None, str(error))
    except SettingsChanged as error:
        form.add_error(None, f"{error} Load this page anew.")
    except JobsError as error:
        form.add_error(None, str(error))
    else:
        what = "goes by its code again" if not wanted.set() else "is set"
        return f"{kind.name} {what}. Every process knows within a few seconds of work.", []
    return "", []


def lines_of(kind: Kind[Any], seen: Hindsight) -> list[str]:
    """What a trial has shown, in sentences."""
    since = f"the last {seen.days} days" if seen.days > 1 else "the last day"
    lines = [
        f"Of {_number(seen.jobs, 'job')} created in {since}, with {_number(seen.attempts, 'ended attempt')}:",
        f"{_number(seen.retried, 'job')} that failed would have been retried.",
        f"{_number(seen.failed, 'job')} that succeeded on a later attempt would have failed.",
        f"{_number(seen.ended, 'attempt')} would have been ended by the timeout.",
        f"{_number(seen.longer, 'attempt')} that timed out would have had longer.",
    ]
    if kind.expect is not None:
        lines.append(f"{_number(seen.late, 'attempt')} would have been late.")
    waits = ", ".join(_text("first", wait) for wait in seen.delays)
    end = ", ..." if kind.retry.max_attempts - 1 > len(seen.delays) else "."
    lines.append(f"Delays between attempts: {waits}{end}" if waits else "There is one attempt, and no delay.")
    if seen.back_to is not None:
        lines.append(
            f"Not all was looked at: {seen.looked_at:,} attempts of all kinds, of jobs created since"
            f" {seen.back_to:%Y-%m-%d %H:%M:%S} UTC."
        )
    return lines


# ---------------------------------------------------------------------------------------------- showing


def _line(kind: Kind[Any], row: KindSettings | None) -> Line:
    """`kind` is as its code says."""
    settings = tuning.of_row(row)
    problem, made = "", kind
    try:
        made = tuning.tuned(kind, settings)
    except InvalidOption as error:
        problem = str(error)
    code, now = tuning.values_of(kind), tuning.values_of(made)
    cells = [
        Cell(TITLES[name], *(_text(name, getattr(values, name)) for values in (code, settings, now)))
        for name in tuning.NAMES
    ]
    state = badge("ignored", ODD) if problem else badge("set", SET) if settings.set() else ""
    changed = markup.moment(row.updated_at) if row else ""
    return Line(kind.name, address_of(kind.name), cells, state, changed, problem)


def _text(name: str, value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:g} s" if name in _SECONDS else f"{value:g}"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun if count == 1 else f'{noun}s'}"


def _limit(kind: Kind[Any]) -> dict[str, str] | None:
    if kind.limit is None:
        return None
    name = limits.name_of(kind, kind.limit)
    found = urlencode({"q": name})
    return {
        "name": name,
        "rules": f"{reverse('admin:jobs_limitrule_changelist')}?{found}",
        "keys": f"{reverse('admin:jobs_limitkey_changelist')}?{found}",
    }


def _changes(kind: str) -> list[dict[str, Any]]:
    records = AuditRecord.objects.filter(subject_type="kind", subject_id=kind).order_by("-id")[:LATEST_CHANGES]
    return [
        {
            "at": markup.moment(record.occurred_at),
            "actor": record.actor,
            "reason": markup.visible(record.reason),
            "before": _said(record.data.get("before")),
            "after": _said(record.data.get("after")),
        }
        for record in records
    ]


def _said(settings: Any) -> str:
    if not isinstance(settings, dict) or not settings:
        return "as the code says"
    return ", ".join(f"{TITLES.get(name, name)} {_text(name, value)}" for name, value in settings.items())
