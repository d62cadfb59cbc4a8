"""The admin of rows that only the platform writes."""

from typing import Any, ClassVar

from django.contrib.admin import ShowFacets
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.views import ChangeList

from jobplatform.backoffice.bounded import BoundedChangeList, BoundedPaginator


class PlatformAdmin(ModelAdmin):  # type: ignore[misc] # unfold has no types
    """What every admin page of the platform has in common."""

    list_per_page = 50
    list_max_show_all = 0
    show_full_result_count = False
    show_facets = ShowFacets.NEVER  # a count per choice of a filter is a scan per choice
    list_fullwidth = True
    list_filter_sheet = True
    list_filter_submit = True
    list_disable_select_all = True


class ReadOnlyAdmin(PlatformAdmin):
    """Rows to look at: whoever may view them may not add, change or delete them here."""

    actions: ClassVar[Any] = None
    sortable_by: ClassVar[Any] = ()
    ordering: tuple[str, ...] = ("-id",)
    window_fields: tuple[str, ...] = ("id",)
    paginator = BoundedPaginator
    list_after_template = "backoffice/window.html"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never."""
        return False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """A bounded list."""
        return BoundedChangeList
