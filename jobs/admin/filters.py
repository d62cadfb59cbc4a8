"""Filters of the engine's lists. Their choices come from small tables and from the code, never from a scan."""

import datetime as dt
from collections.abc import Iterator
from typing import Any

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.contrib.filters.admin import DropdownFilter

from jobs import extensions, overview, registry
from jobs.admin.listing import moment_id
from jobs.models import Job, Shelf
from jobs.states import Stage, Status


class _Choice(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """One column, one value."""

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Rows of the chosen value."""
        value = self.value()
        return queryset.filter(**{self.parameter_name: value}) if value else queryset


class StatusFilter(_Choice):
    """By status."""

    title = "status"
    parameter_name = "status"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All statuses, in the order of a job's life."""
        return [(status.value, status.value.replace("_", " ")) for status in Status]


class KindFilter(_Choice):
    """By kind: those that this process knows, and those that ever had a job."""

    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All kinds by name."""
        known = {kind.name for kind in registry.kinds()}
        seen = set(Shelf.objects.values_list("kind", flat=True).distinct())
        return [(name, name) for name in sorted(known | seen)]


class QueueFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """By queue: the kinds that this process knows in it, or those that it does not know."""

    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """All queues by name."""
        names = sorted({kind.queue for kind in registry.kinds()})
        return [(name, name) for name in (*names, overview.UNKNOWN_QUEUE)]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Jobs of the kinds of the chosen queue."""
        match self.value():
            case None | "":
                return queryset
            case overview.UNKNOWN_QUEUE:
                return queryset.exclude(kind__in=[kind.name for kind in registry.kinds()])
            case name:
                return queryset.filter(kind__in=overview.kinds_of(name))


class LateFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """Jobs that are due for longer than their kind should take, or than a minute. The list itself finds them."""

    title = "late"
    parameter_name = "late"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Late or whatever."""
        return [("yes", "late only")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        """Waiting jobs."""
        return queryset.filter(status=Status.QUEUED) if self.value() == "yes" else queryset


class StageFilter(_Choice):
    """By stage."""

    title = "stage"
    parameter_name = "stage"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The engine's stages and those that apps registered."""
        names = [stage.value for stage in Stage] + [name for name, _ in extensions.stages]
        return [(name, name) for name in dict.fromkeys(names)]


class CreatedFilter(admin.ListFilter):
    """By the time of creation (UTC), from and until, read off the ids."""

    title = "created (UTC)"
    parameter_name = "created"
    template = "jobs/admin/filter_created.html"

    def __init__(self, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any) -> None:
        super().__init__(request, params, model, model_admin)
        self._given = {name: (params.pop(f"created_{name}", None) or [""])[-1] for name in ("from", "until")}

    def has_output(self) -> bool:
        """Always."""
        return True

    def expected_parameters(self) -> list[str | None]:
        """From and until."""
        return ["created_from", "created_until"]

    def value(self) -> tuple[dt.datetime | None, dt.datetime | None]:
        """The two moments, each if it was given."""
        return self._moment("from"), self._moment("until")

    def _moment(self, name: str) -> dt.datetime | None:
        text = self._given[name]
        if not text:
            return None
        try:
            return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
        except ValueError as error:
            raise IncorrectLookupParameters from error

    def choices(self, changelist: Any) -> Iterator[Any]:
        """What the template shows."""
        yield self._given

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Rows within the two moments."""
        since, until = self.value()
        if since:
            queryset = queryset.filter(id__gte=moment_id(since))
        return queryset.filter(id__lt=moment_id(until)) if until else queryset
