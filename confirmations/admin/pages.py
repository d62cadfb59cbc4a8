"""A page of facts: what a row of the chain is, tables of what belongs to it, and what people decided about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.safestring import SafeString

from confirmations.admin import looks
from events.models import AuditRecord
from jobplatform.backoffice import markup, subjects
from jobs.models import Intervention

MOST = 50
"""Rows of a table on a page."""
MOST_DECIDED = 20


@dataclass(frozen=True, slots=True)
class Table:
    """Rows beneath a title. `note`: what is left out, or where the rest is."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[Any]]
    empty: str = "None."
    note: SafeString | str = ""

    def cells(self) -> Iterator[list[tuple[str, Any]]]:
        """Each row with the names of its columns, which stand beside the values on a narrow screen."""
        return (list(zip(self.heads, row, strict=True)) for row in self.rows)


@dataclass(frozen=True, slots=True)
class Button:
    """A way to an act."""

    title: str
    address: str
    icon: str
    tone: str


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says. Facts without a value are left out. `lead`: what somebody comes to see."""

    noun: str
    title: str
    badge: SafeString
    key: str
    facts: Sequence[tuple[str, Any]]
    tables: Sequence[Table] = ()
    reason: str = ""
    lead: str = ""
    buttons: Sequence[Button] = field(default=())


def check(model_admin: Any, request: HttpRequest) -> None:
    """Let only those see a page who may. Raises `PermissionDenied`."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied


def show(model_admin: Any, request: HttpRequest, row: Any, page: Page) -> HttpResponse:
    """The page of a row."""
    context = {
        **model_admin.admin_site.each_context(request),
        "title": page.title,
        "subtitle": page.key,
        "opts": model_admin.opts,
        "object": row,
        "page": page,
        "reason": looks.reason(page.reason),
        "facts": [(name, value) for name, value in page.facts if value is not None],
        "interventions": _interventions(page.noun, row.pk),
        "audit": AuditRecord.objects.filter(subject_type=page.noun, subject_id=str(row.pk))[:MOST_DECIDED],
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "confirmations/admin/page.html", context)


def at(moment: Any) -> SafeString | None:
    """Date, time and age of a fact; None for none."""
    return None if moment is None else markup.moment_and_date(moment)


def _interventions(noun: str, key: Any) -> list[tuple[SafeString, Intervention]]:
    found = Intervention.objects.filter(subject_type=noun, subject_id=str(key)).order_by("-opened_at")
    return [(subjects.link("intervention", row.pk, markup.spoken(row.reason)), row) for row in found[:MOST_DECIDED]]
