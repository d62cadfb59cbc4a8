"""Lists over tables of any size: no count of the table, no scan beyond a window, one order.

A list shows the newest rows of its window. What a filter does not find there is further back, and the page offers to
look on from where the window ends.
"""

from typing import Any, cast

from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db.models import Model, Q, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from unfold.views import ChangeList

from jobplatform.backoffice import subjects
from jobplatform.backoffice.markup import NOTHING

MOST_ROWS = 1_000
"""Rows that can be leafed through. Who looks for more filters."""

WINDOW = 50_000
"""Rows that a filter may look at for one page."""

BEFORE = "before"
"""The parameter that says where an older window begins."""

BETWEEN = "~"
"""Stands between the columns of an edge in an address."""


class BoundedPaginator(Paginator):  # type: ignore[type-arg] # the stub is generic, the class is not
    """Pages over the first `MOST_ROWS` rows; counts no further."""

    @cached_property
    def count(self) -> int:
        """How many rows there are, `MOST_ROWS` at most."""
        return min(self._counted, MOST_ROWS)

    @property
    def more(self) -> bool:
        """Whether there are more than can be leafed through."""
        return self._counted > MOST_ROWS

    @cached_property
    def _counted(self) -> int:
        rows = cast("QuerySet[Model]", self.object_list)
        return rows[: MOST_ROWS + 1].count()


class BoundedChangeList(ChangeList):  # type: ignore[misc] # unfold has no types
    """A list whose statement looks at `WINDOW` rows at most.

    The admin says by which columns, which are those of its order: `window_fields`, one or two.
    """

    end_of_window: tuple[Any, ...] | None = None
    """The oldest row that was looked at; None: there is none beyond."""
    result_list: list[Any]
    leafable = True
    """Whether the rows are those of the window in its order, so that an older window can begin where they end."""

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[str]:
        """The one order that an index serves, whatever the address says."""
        return list(self.model_admin.ordering)

    def get_filters_params(self, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Without the parameter that moves the window: it is not a column."""
        found: dict[str, Any] = super().get_filters_params(params)
        found.pop(BEFORE, None)
        return found

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        """The filtered rows within the window."""
        rows: QuerySet[Any] = super().get_queryset(request, exclude_parameters)
        return self.bound(request, rows)

    def bound(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Cut the rows to the window."""
        return self.within_window(rows, self.model._default_manager.order_by(*self.model_admin.ordering))

    def within_window(self, rows: QuerySet[Any], all_rows: QuerySet[Any]) -> QuerySet[Any]:
        """Cut `rows` to the newest `WINDOW` of `all_rows`, which an index yields in their order."""
        before = self.before
        if before is not None:
            rows, all_rows = rows.filter(self._beyond("lt", before)), all_rows.filter(self._beyond("lt", before))
        fields = self.model_admin.window_fields
        self.end_of_window = next(iter(all_rows.values_list(*fields)[WINDOW - 1 : WINDOW]), None)
        return rows if self.end_of_window is None else rows.filter(self._beyond("gte", self.end_of_window))

    @property
    def before(self) -> tuple[Any, ...] | None:
        """Where the address says that the window begins. Raises what leads to the unfiltered list."""
        given = self.params.get(BEFORE)
        if not given:
            return None
        fields = [self.model._meta.get_field(name) for name in self.model_admin.window_fields]
        values = given.split(BETWEEN)
        if len(values) != len(fields):
            raise IncorrectLookupParameters
        try:
            return tuple(field.to_python(value) for field, value in zip(fields, values, strict=True))
        except ValidationError as error:
            raise IncorrectLookupParameters from error

    def _beyond(self, comparison: str, edge: tuple[Any, ...]) -> Q:
        """Rows before (`lt`) or from (`gte`) an edge in the order of the window's columns."""
        first, *second = self.model_admin.window_fields
        if not second:
            return Q(**{f"{first}__{comparison}": edge[0]})
        # The first column alone bounds what the index reads; the second decides among its equals.
        outside = "gte" if comparison == "lt" else "lt"
        bounded = Q(**{f"{first}__{'lte' if comparison == 'lt' else 'gte'}": edge[0]})
        return bounded & ~Q(**{first: edge[0], f"{second[0]}__{outside}": edge[1]})

    def get_results(self, request: HttpRequest) -> None:
        """The page, each row with the name of its project; without "show all", which would clear the filters."""
        super().get_results(request)
        self.full_result_count = self.result_count
        self.result_list = list(self.result_list)
        if self.result_list and hasattr(self.model, "project_id"):
            names = subjects.projects()
            for row in self.result_list:
                row.project_name = names.get(row.project_id, str(row.project_id or NOTHING))

    @property
    def older(self) -> str | None:
        """The address of the next older window; None when there is none."""
        edge = self.end_of_window
        if self.paginator.more:
            fields = self.model_admin.window_fields
            edge = next(iter(self.queryset.values_list(*fields)[MOST_ROWS - 1 : MOST_ROWS]), None)
        if edge is None or not self.leafable:
            return None
        return str(self.get_query_string({BEFORE: BETWEEN.join(map(str, edge))}))
