"""Attempts: of one job, and of all jobs as a page of their own.

Their key has two parts, which Django's admin does not take; a table that is only looked at needs no more than this.
"""

import datetime as dt
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.http import urlencode

from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.bounded import WINDOW
from jobplatform.backoffice.filters import uuid_of
from jobs.admin import looks
from jobs.models import Attempt, Job, Worker

PER_PAGE = 50
_LATEST = 2**33  # seconds: a moment that a date can hold


def rows(found: Iterable[Attempt]) -> list[dict[str, Any]]:
    """Attempts as the templates show them."""
    listed = list(found)
    workers = {row.pk: str(row) for row in Worker.objects.filter(id__in={a.worker_id for a in listed if a.worker_id})}
    return [_row(attempt, workers) for attempt in listed]


def _row(attempt: Attempt, workers: dict[Any, str]) -> dict[str, Any]:
    error = attempt.error if isinstance(attempt.error, dict) else None
    worker = workers.get(attempt.worker_id)
    log = attempt.log if isinstance(attempt.log, list) else []
    return {
        "job_id": attempt.job_id,
        "claim_no": attempt.claim_no,
        "attempt": attempt.attempt,
        "stage": attempt.stage,
        "badge": looks.outcome(attempt.outcome),
        "started": attempt.started_at,
        "seconds": markup.duration((attempt.ended_at - attempt.started_at).total_seconds()),
        "ended": markup.moment(attempt.ended_at),
        "worker": subjects.link("worker", attempt.worker_id, worker)
        if worker
        else (attempt.worker_id or markup.NOTHING),
        "error": error,
        "error_code": markup.code(error.get("code", "")) if error else "",
        "error_text": markup.visible(str(error.get("message", ""))) if error else "",
        "log": [_line(line) for line in log],
        "metrics": markup.brief(attempt.metrics, 400),
    }


def _line(line: Any) -> dict[str, str]:
    if not isinstance(line, dict):
        return {"at": "", "message": markup.brief(line, 2000), "values": ""}
    at = line.get("at")
    when = dt.datetime.fromtimestamp(at, dt.UTC) if isinstance(at, int | float) and 0 <= at < _LATEST else None
    return {
        "at": when.strftime("%H:%M:%S.%f")[:-3] if when else "",
        "message": markup.visible(str(line.get("message", "")))[:2000],
        "values": markup.brief({name: value for name, value in line.items() if name not in {"at", "message"}}, 1000),
    }


def show(model_admin: Any, request: HttpRequest) -> HttpResponse:
    """The newest attempts, by the age of their jobs; `?job=`, `?outcome=` and `?before=` narrow them."""
    if not request.user.has_perm("jobs.view_attempt"):
        raise PermissionDenied
    term, outcome = request.GET.get("job", "").strip(), request.GET.get("outcome", "")
    found, older = _newest(uuid_of(term), bool(term), outcome, request.GET.get("before", ""))
    jobs = Job.objects.filter(project_id__in={row.project_id for row in found}, id__in={row.job_id for row in found})
    kinds = dict(jobs.values_list("id", "kind"))
    shown = rows(found)
    for row in shown:
        row["kind"] = kinds.get(row["job_id"], "")
    context = {
        **model_admin.admin_site.each_context(request),
        "title": "Attempts",
        "content_title": "Attempts",
        "attempts": shown,
        "outcomes": [name for name in looks.OUTCOME if name != "running"],
        "outcome": outcome,
        "term": term,
        "older": f"?{urlencode({'job': term, 'outcome': outcome, 'before': older})}" if older else "",
        "paged": "before" in request.GET,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "jobs/admin/attempts.html", context)


def _newest(job_id: UUID | None, narrowed: bool, outcome: str, before: str) -> tuple[list[Attempt], str]:  # noqa: FBT001 - a fact about the search box
    """One page, and where the next one begins (empty: nowhere). Looks at `WINDOW` rows at most."""
    if narrowed and job_id is None:
        return [], ""
    every = Attempt.objects.order_by("-job_id", "-claim_no")
    if job_id is not None:
        every = every.filter(job_id=job_id)
    edge = _edge(before)
    if edge is not None:
        # Two comparisons and not a row value: both are served by the key, and the first alone bounds the scan.
        every = every.filter(job_id__lte=edge[0]).exclude(job_id=edge[0], claim_no__gte=edge[1])
    end = next(iter(every.values_list("job_id", flat=True)[WINDOW : WINDOW + 1]), None)
    within = every if end is None else every.filter(job_id__gte=end)
    if outcome:
        within = within.filter(outcome=outcome)
    found = list(within[: PER_PAGE + 1])
    if len(found) > PER_PAGE:
        last = found[PER_PAGE - 1]
        return found[:PER_PAGE], f"{last.job_id}.{last.claim_no}"
    return found, f"{end}.0" if end is not None else ""


def _edge(before: str) -> tuple[UUID, int] | None:
    job, _, claim = before.partition(".")
    job_id = uuid_of(job)
    return (job_id, int(claim)) if job_id is not None and claim.isdecimal() and len(claim) < 11 else None  # noqa: PLR2004 - digits of an integer column
