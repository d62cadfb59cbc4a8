"""Limits in the admin: what of each key is in use, and the rules that people set over those of the code."""

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import PlatformAdmin, ReadOnlyAdmin
from jobplatform.backoffice.reasons import ReasonForm, actor_of
from jobs import limits, registry, rules
from jobs.admin import kinds
from jobs.errors import InvalidOption
from jobs.models import LimitKey, LimitRule

OPEN, FULL, CLOSED, RAMP = (
    Look("good", "check_circle"),
    Look("busy", "hourglass_top"),
    Look("ask", "block"),
    Look("busy", "trending_up"),
)


BOUNDS = ("name", "project_id", "concurrency", "rate", "burst")


class RuleForm(ReasonForm, forms.ModelForm):  # type: ignore[type-arg] # generic for the type checker only
    """Which limit, whose, and its bounds."""

    name = forms.ChoiceField(widget=UnfoldAdminSelectWidget())
    project_id = forms.UUIDField(required=False, label="Project id", widget=UnfoldAdminTextInputWidget())
    concurrency = forms.IntegerField(required=False, help_text="At once.", widget=UnfoldAdminIntegerFieldWidget())
    rate = forms.FloatField(required=False, help_text="Starts a second.", widget=UnfoldAdminTextInputWidget())
    burst = forms.FloatField(required=False, help_text="At once after a rest.", widget=UnfoldAdminTextInputWidget())

    class Meta:
        model = LimitRule
        fields = BOUNDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = sorted({*limits.names(), *([self.instance.name] if self.instance.pk else [])})
        self.fields["name"].choices = [(name, name) for name in names]  # type: ignore[attr-defined] # a ChoiceField
        for fixed in ("name", "project_id"):  # what a rule is for does not change
            self.fields[fixed].disabled = self.instance.pk is not None

    def clean(self) -> dict[str, Any]:
        """Bounds that a limit may have."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            try:
                rules.check(**{name: cleaned.get(name) for name in BOUNDS})  # type: ignore[arg-type]
            except InvalidOption as error:
                raise ValidationError(str(error)) from error
        return cleaned


@admin.register(LimitRule)
class LimitRuleAdmin(PlatformAdmin):
    """Rules over limits. They hold at once, for what waits as well."""

    form = RuleForm
    list_display = ["name", "project", "concurrency", "rate", "burst", "changed", "kinds"]
    search_fields = ["name"]
    ordering = ("name", "project_id")
    actions = None

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who may set a rule may drop it."""
        return request.user.has_perm("jobs.change_limitrule")

    def save_model(self, request: HttpRequest, obj: LimitRule, form: RuleForm, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Through the services."""
        saved = rules.rule(
            name=obj.name,
            project_id=obj.project_id,
            concurrency=obj.concurrency,
            rate=obj.rate,
            burst=obj.burst,
            actor=actor_of(request),
            reason=form.cleaned_data["reason"],
        )
        obj.pk = saved.pk

    def delete_model(self, request: HttpRequest, obj: LimitRule) -> None:
        """Through the services."""
        rules.unrule(obj, actor=actor_of(request))

    @display(description="Kinds")
    def kinds(self, row: LimitRule) -> SafeString:
        """Which kinds go by it, with their other settings."""
        named = [kind.name for kind in registry.kinds() if kind.limit and limits.name_of(kind, kind.limit) == row.name]
        links = ((kinds.address_of(name), name) for name in named)
        return format_html_join(", ", '<a class="jp-link" href="{}">{}</a>', links)

    @display(description="Project")
    def project(self, row: LimitRule) -> SafeString | str:
        """Whose."""
        return subjects.project_of(row) if row.project_id else "all projects"

    @display(description="Changed")
    def changed(self, row: LimitRule) -> SafeString:
        """When."""
        return markup.moment(row.changed_at)


class KeyForm(ReasonForm, forms.ModelForm):  # type: ignore[type-arg] # generic for the type checker only
    """Until when the key is closed; empty opens it."""

    class Meta:
        model = LimitKey
        fields = ("closed_until",)


@admin.register(LimitKey)
class LimitKeyAdmin(ReadOnlyAdmin):
    """Keys of limits: what is in use, and who has closed one. A closed key lets no job start."""

    form = KeyForm
    list_display = ["limit", "key", "project", "state", "in_use", "concurrency", "rate", "touched"]
    list_display_links = ["limit"]
    list_filter = ["waiting"]
    search_fields = ["name", "key"]
    search_help_text = "Limit or key"
    ordering = ("-touched_at",)
    window_fields = ("touched_at", "id")
    fields = [
        "limit", "key", "project", "state", "in_use", "concurrency", "rate", "burst", "ramp", "next_at",
        "closed_reason", "closed_until", "reason",
    ]  # fmt: skip
    readonly_fields = [name for name in fields if name not in {"closed_until", "reason"}]

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whoever may rule over limits may close a key."""
        return request.user.has_perm("jobs.change_limitrule")

    def save_model(self, request: HttpRequest, obj: LimitKey, form: KeyForm, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Close or open the key, with its audit record."""
        rules.close(obj, obj.closed_until, actor=actor_of(request), reason=form.cleaned_data["reason"])

    @display(description="Limit")
    def limit(self, row: LimitKey) -> str:
        """Its name."""
        return row.name

    @display(description="Project")
    def project(self, row: LimitKey) -> SafeString | str:
        """Whose jobs it counts."""
        return "all projects" if row.project_id == limits.EVERYBODY else subjects.project_of(row)

    @display(description="State")
    def state(self, row: LimitKey) -> SafeString:
        """Open, full, closed or reopening."""
        if row.closed_until is not None and row.closed_until > timezone.now():
            return badge("closed", CLOSED)
        if row.ramp is not None:
            return badge(f"reopening, {row.ramp} at once", RAMP)
        return badge("jobs wait", FULL) if row.waiting else badge("open", OPEN)

    @display(description="Last used")
    def touched(self, row: LimitKey) -> SafeString:
        """When a job of it was claimed or ended."""
        return markup.moment(row.touched_at)
