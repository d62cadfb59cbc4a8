"""Lists of the chain's rows: what of large tables a page looks at, their filters, and how a search is read."""

from enum import StrEnum
from typing import Any, ClassVar

from django.db.models import Func, QuerySet, TextField
from django.http import Http404, HttpRequest, HttpResponse
from unfold.contrib.filters.admin import DropdownFilter
from unfold.views import ChangeList

from confirmations.admin import pages
from confirmations.models import Attempt
from confirmations.states import Mode
from jobplatform.backoffice.bounded import BoundedChangeList
from jobplatform.backoffice.filters import uuid_of
from jobplatform.backoffice.readonly import ReadOnlyAdmin

HASH = 32
"""Bytes of a hash."""


class Digits(Func):
    """The bytes of a column as hexadecimal digits, without 0x."""

    function = "encode"
    template = "%(function)s(%(expressions)s, 'hex')"
    output_field = TextField()


def digits_of(text: str) -> str:
    """What somebody typed of an address, as `Digits` has it."""
    return text.strip().lower().removeprefix("0x")


def sent_as(text: str) -> QuerySet[Attempt, Any] | None:
    """The attempt with this hash, as a query for its transaction; None: the text is no hash."""
    try:
        found = bytes.fromhex(digits_of(text))
    except ValueError:
        return None
    if len(found) != HASH:
        return None
    return Attempt.objects.filter(hash=found).values("transaction_id")


class WordFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """By a column that holds a word of an enumeration, which has the filter's name."""

    words: ClassVar[type[StrEnum]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All words."""
        return [(word.value, word.value.replace("_", " ")) for word in self.words]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows with the chosen word."""
        value = self.value()
        return queryset.filter(**{self.parameter_name: value}) if value in list(self.words) else queryset


class ModeFilter(WordFilter):
    """By the way on chain."""

    title = parameter_name = "mode"
    words = Mode


class ChainChangeList(BoundedChangeList):
    """A bounded list whose admin says which rows an index yields, and adds to a page's rows what they do not hold."""

    def bound(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Cut the rows to the window, or to what the admin finds without one."""
        if self.query:  # whatever a search finds, it finds by an index
            self.leafable = False
            return rows
        chosen = {spec.parameter_name: spec.value() for spec in self.filter_specs}
        found: QuerySet[Any] | None = self.model_admin.among(rows, chosen)
        if found is not None:
            self.leafable = False
            return found
        return super().bound(request, rows)

    def get_results(self, request: HttpRequest) -> None:
        """The page, with the figures of its rows."""
        super().get_results(request)
        self.model_admin.add_figures(self.result_list)


class ChainAdmin(ReadOnlyAdmin):
    """Rows of the chain, newest first, each with a page of facts."""

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """The bounded list."""
        return ChainChangeList

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """The filters alone: most columns are bytes, of which no address can speak."""
        return lookup in {spec.parameter_name for spec in self.list_filter}

    def among(self, rows: QuerySet[Any], chosen: dict[str, Any]) -> QuerySet[Any] | None:
        """The rows for these filters, where an index yields them however old they are; None: those of the window."""
        return None

    def add_figures(self, rows: list[Any]) -> None:
        """Put on the rows of a page what its columns show beside."""

    def page_of(self, request: HttpRequest, row: Any) -> pages.Page:
        """What the page of a row says."""
        raise NotImplementedError

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page of one row; 404 for an id that is none."""
        pages.check(self, request)
        key = uuid_of(object_id)
        row = self.get_queryset(request).filter(pk=key).first() if key else None
        if row is None:
            raise Http404
        return pages.show(self, request, row, self.page_of(request, row))
