"""Filters that every list may need. Their choices come from small tables, never from a scan."""

from typing import Any
from uuid import UUID

from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter

from jobplatform.backoffice import subjects


def uuid_of(text: str) -> UUID | None:
    """The UUID that a text is, if it is one."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None


class ProjectFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """By project."""

    title = "project"
    parameter_name = "project"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All projects by name."""
        return sorted(((str(key), name) for key, name in subjects.projects().items()), key=lambda item: item[1])

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows of the chosen project."""
        value = self.value()
        if not value:
            return queryset
        project = uuid_of(value)
        if project is None:
            raise IncorrectLookupParameters
        return queryset.filter(project_id=project)
