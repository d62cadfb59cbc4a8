"""Projects and keys in the admin. It asks the services like everybody else, so every act is in the audit record."""

from datetime import datetime
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.decorators import action, display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminCheckboxSelectMultipleWidget, UnfoldAdminTextInputWidget

from jobplatform.backoffice.readonly import PlatformAdmin
from jobplatform.backoffice.reasons import LONGEST_REASON, actor_of
from projects import scopes, selectors, services
from projects.errors import AlreadyExpired
from projects.models import ApiKey, Project


@admin.register(Project)
class ProjectAdmin(PlatformAdmin):
    """Projects. None is ever deleted: its jobs and events name it."""

    list_display = ["name", "slug", "weight", "created_at"]
    search_fields = ["name", "slug", "id"]
    list_filter = ["created_at"]
    prepopulated_fields = {"slug": ("name",)}

    def get_readonly_fields(self, request: HttpRequest, obj: Project | None = None) -> list[str]:
        """The slug stays once it is given."""
        return ["id", "slug", "created_at"] if obj else []

    def get_prepopulated_fields(self, request: HttpRequest, obj: Project | None = None) -> dict[str, Any]:
        """A slug is made from the name as it is typed."""
        return {} if obj else dict(self.prepopulated_fields)

    def has_delete_permission(self, request: HttpRequest, obj: Project | None = None) -> bool:
        """Never."""
        return False

    def save_model(self, request: HttpRequest, obj: Project, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Through the services."""
        actor = actor_of(request)
        if change:
            services.change_project(project_id=obj.id, name=obj.name, weight=obj.weight, actor=actor)
        else:
            obj.pk = services.create_project(name=obj.name, slug=obj.slug, weight=obj.weight, actor=actor).pk


class IssueKeyForm(forms.ModelForm):  # type: ignore[type-arg] # generic for the type checker only
    """What a key is made of."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, f"{scope}: {meaning}") for scope, meaning in scopes.SCOPES.items()],
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
    )

    class Meta:
        model = ApiKey
        fields = ["project", "name", "scopes", "expires_at"]

    def clean_expires_at(self) -> datetime | None:
        """Not before it begins, by the platform's clock."""
        expires_at: datetime | None = self.cleaned_data["expires_at"]
        if expires_at is not None and expires_at <= selectors.platform_now():
            raise forms.ValidationError(str(AlreadyExpired()))
        return expires_at


class RevokeForm(BaseDialogForm):  # type: ignore[misc] # the theme has no types
    """Why a key is revoked."""

    reason = forms.CharField(min_length=3, max_length=LONGEST_REASON, widget=UnfoldAdminTextInputWidget)


@admin.register(ApiKey)
class ApiKeyAdmin(PlatformAdmin):
    """API keys. A key's text is shown once, on the page that follows its issue; a key is revoked, never deleted."""

    form = IssueKeyForm
    list_display = ["name", "key_id", "project", "state", "created_at", "created_by", "last_used_at", "expires_at"]
    list_select_related = ["project"]
    search_fields = ["key_id", "name", "project__name", "project__slug", "created_by"]
    list_filter = [("revoked_at", admin.EmptyFieldListFilter), "project", "created_at"]
    autocomplete_fields = ["project"]
    actions_detail = ["revoke"]

    @display(description="State", label={"live": "success", "revoked": "danger"})
    def state(self, key: ApiKey) -> str:
        """Whether it was revoked."""
        return "revoked" if key.revoked_at else "live"

    def get_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        """All but what is kept of the secret."""
        asked = ["project", "name", "scopes", "expires_at"]
        known = ["key_id", "created_at", "created_by", "revoked_at", "last_used_at"]
        return [*asked, *known] if obj else asked

    def get_readonly_fields(self, request: HttpRequest, obj: ApiKey | None = None) -> list[str]:
        """A key is not changed: who needs other scopes issues another one."""
        return self.get_fields(request, obj) if obj else []

    def has_delete_permission(self, request: HttpRequest, obj: ApiKey | None = None) -> bool:
        """Never."""
        return False

    def save_model(self, request: HttpRequest, obj: ApiKey, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Through the services. Its text goes to the page that follows, and nowhere else."""
        if change:
            return
        issued = services.issue_key(
            project_id=obj.project_id,
            name=obj.name,
            scopes_asked=form.cleaned_data["scopes"],
            expires_at=obj.expires_at,
            actor=actor_of(request),
        )
        obj.pk = issued.key.pk
        request.issued_key = issued  # type: ignore[attr-defined]

    def response_add(self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None) -> HttpResponse:
        """The page with the key's text: an answer to the form itself, as a redirect would have to keep it somewhere."""
        issued: services.IssuedKey = request.issued_key  # type: ignore[attr-defined]
        context = {
            **self.admin_site.each_context(request),
            "title": f"Key for {issued.key.project}",
            "opts": self.opts,
            "issued": issued,
            "list_url": reverse("admin:projects_apikey_changelist"),
        }
        response = TemplateResponse(request, "projects/key_issued.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @action(
        description="Revoke",
        url_path="revoke",
        permissions=["change"],
        icon="block",
        dialog={
            "title": "Revoke this key",
            "description": "It is refused from the next request on, for good.",
            "form_class": RevokeForm,
            "form_submit_text": "Revoke",
        },
    )
    def revoke(self, request: HttpRequest, form: RevokeForm, object_id: str) -> HttpResponse:
        """Revoke the key, with a reason."""
        key = ApiKey.objects.get(pk=object_id)
        services.revoke_key(
            project_id=key.project_id, key_id=key.pk, actor=actor_of(request), reason=form.cleaned_data["reason"]
        )
        self.message_user(request, f"Key {key.pk} is revoked.")
        address = reverse("admin:projects_apikey_change", args=[key.pk])
        return HttpResponse(headers={"HX-Redirect": address})
