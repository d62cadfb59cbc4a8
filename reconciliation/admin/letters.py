"""Dead letters by cause, as a page: what died of what, how often, and the way to queue it once more."""

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString

from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import uuid_of
from reconciliation import selectors
from reconciliation.selectors import CauseRow

PER_PAGE = 50
MOST_PROJECTS = 3
PERMISSION = "reconciliation.operate_redrive"


def show(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """The causes, the latest first; `?project=` and `?before=` narrow them."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    names = subjects.projects()
    project = uuid_of(request.GET.get("project", ""))
    after = _place(request.GET.get("before", ""))
    found = selectors.causes(project, after=after, limit=PER_PAGE + 1)
    shown, last = found[:PER_PAGE], found[PER_PAGE - 1] if len(found) > PER_PAGE else None
    number, dead = selectors.standing()
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Dead letters",
        "content_title": "Dead letters",
        "causes": [_row(row, project, names) for row in shown],
        "number": number,
        "dead": dead,
        "projects": sorted(((str(key), name) for key, name in names.items()), key=lambda item: item[1]),
        "project": str(project or ""),
        "may": request.user.has_perm(PERMISSION),
        "older": _link(project, f"{last.last_at.isoformat()}~{last.fingerprint}") if last else "",
        "paged": after is not None,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "reconciliation/admin/letters.html", context)


def latest(project: UUID | None, names: Mapping[UUID, str], most: int) -> list[dict[str, Any]]:
    """The causes that killed a job last, of a project or of all, as the front page shows them."""
    return [_row(row, project, names) for row in selectors.causes(project, limit=most)]


def _row(row: CauseRow, project: UUID | None, names: Mapping[UUID, str]) -> dict[str, Any]:
    asked = {"codes": row.fingerprint} | ({"project": str(project)} if project else {})
    return {
        "code": markup.code(row.code),
        "message": markup.visible(row.message)[:300],
        "dead": f"{row.dead:,}",
        "total": f"{row.total:,}",
        "kinds": ", ".join(f"{number:,} {kind}" for kind, number in sorted(row.kinds.items())),
        "projects": _projects(row, names),
        "first": markup.moment(row.first_at),
        "last": markup.moment(row.last_at),
        "hours": bars(row.hours),
        "sample": subjects.link("job", row.sample_id, "a sample"),
        "fingerprint": row.fingerprint,
        "plan": f"{reverse('admin:reconciliation_redrive_plan')}?{urlencode(asked)}",
    }


def _projects(row: CauseRow, names: Mapping[UUID, str]) -> SafeString:
    listed = [subjects.link("project", key, names.get(key, "")) for key in row.projects[:MOST_PROJECTS]]
    more = len(row.projects) - MOST_PROJECTS
    shown = format_html_join(", ", "{}", ((one,) for one in listed))
    return format_html("{} <small>+{}</small>", shown, more) if more > 0 else shown


def bars(hours: Any) -> SafeString:
    """How often it happened in each of the last hours, as small bars; the figures in words for who cannot see them."""
    highest = max([*hours, 1])
    rects = format_html_join(
        "",
        '<rect x="{}" y="{}" width="3" height="{}"/>',
        (
            (index * 4, 24 - max(2, round(24 * number / highest)), max(2, round(24 * number / highest)))
            for index, number in enumerate(hours)
            if number
        ),
    )
    told = f"{hours[-1]:,} in this hour, {sum(hours):,} within a day"
    return format_html(
        '<svg class="jp-hours" viewBox="0 0 96 24" width="96" height="24" role="img" aria-label="{}">'
        "<title>{}</title>{}"
        "</svg>",
        told,
        told,
        rects,
    )


def _place(text: str) -> tuple[dt.datetime, str] | None:
    at, _, fingerprint = text.partition("~")
    try:
        moment = dt.datetime.fromisoformat(at)
    except ValueError:
        return None
    return (moment, fingerprint) if moment.tzinfo is not None and "\0" not in fingerprint else None


def _link(project: UUID | None, before: str) -> str:
    return "?" + urlencode({"project": str(project or ""), "before": before})
