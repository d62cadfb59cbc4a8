"""From an opaque id to a name and a page.

The engine and the log keep ids of things that they know nothing about. `ADMIN_SUBJECTS` of the settings says which
model a noun stands for (`project`: `projects.Project`), so that a page can name and link it.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.db.models import Model
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from jobplatform.backoffice.markup import NOTHING

PLATFORM = UUID(int=0)
"""The project of the platform's own jobs."""


def model_of(noun: str) -> type[Model] | None:
    """The model that a noun stands for, if there is one here."""
    label = settings.ADMIN_SUBJECTS.get(noun)
    if label is None:
        return None
    try:
        return apps.get_model(label)
    except LookupError:
        return None


def address(noun: str, key: object) -> str | None:
    """The admin page of a subject; None where there is none. It is not asked whether the subject exists."""
    model = model_of(noun)
    if model is None or not admin.site.is_registered(model):
        return None
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=(key,))


def projects() -> dict[UUID, str]:
    """Names of all projects by id, the platform itself among them."""
    model = model_of("project")
    names = {} if model is None else {row.pk: str(row) for row in model._default_manager.all()[:1000]}
    return {PLATFORM: "Platform", **names}


def names(noun: str, keys: Iterable[object]) -> dict[object, str]:
    """Names of subjects by id, as far as they exist."""
    model = model_of(noun)
    return {} if model is None else {key: str(row) for key, row in model._default_manager.in_bulk(set(keys)).items()}


def exists(noun: str, key: object) -> bool:
    """Whether there is such a subject."""
    model = model_of(noun)
    return model is not None and model._default_manager.filter(pk=key).exists()


def project_of(row: Any) -> SafeString:
    """A link to the project of a row. Rows of a bounded list know its name; for any other it is looked up."""
    if row.project_id is None:
        return format_html("{}", NOTHING)
    name = getattr(row, "project_name", None)
    if name is None:
        name = "Platform" if row.project_id == PLATFORM else names("project", [row.project_id]).get(row.project_id)
    return link("project", row.project_id, name or "")


def link(noun: str, key: object, name: str = "") -> SafeString:
    """A link to a subject's page, or its bare name where it has none."""
    text = name or str(key)
    where = address(noun, key) if key != PLATFORM else None
    if where is None:
        return format_html('<span class="jp-id">{}</span>', text)
    return format_html('<a class="jp-link" href="{}">{}</a>', where, text)
