"""The page of one job: what it is, how it went, and what may be done."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone

from events.models import AuditRecord, Event
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import uuid_of
from jobs import extensions, registry
from jobs.admin import acts, attempts, looks, timeline
from jobs.admin.measures import is_late, most_attempts, seconds_of
from jobs.models import Attempt, Intervention, Job, Shelf, Worker
from jobs.states import ENDED, Status

MOST_EVENTS = 200
MOST_ATTEMPTS = 100
MOST_RELATED = 20


def show(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """The page; 404 for an id that is none."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    job_id = uuid_of(object_id)
    job = Job.objects.filter(id=job_id).first() if job_id else None
    if job is None:
        raise Http404
    happened = list(Event.objects.filter(subject_id=job.id).order_by("-seq")[:MOST_EVENTS])[::-1]
    tried = list(Attempt.objects.filter(job_id=job.id).order_by("-claim_no")[:MOST_ATTEMPTS])[::-1]
    context = {
        **model_admin.admin_site.each_context(request),
        "title": job.kind,
        "subtitle": str(job.id),
        "opts": model_admin.opts,
        "object": job,
        "job": job,
        "kind": registry.find(job.kind),
        "badge": looks.status(job.status),
        "live": job.status not in ENDED,
        "acts": [act for act in acts.ACTS.values() if act.open_to(request, job)],
        "facts": _facts(job),
        "waits_for": _reason_to_wait(job),
        "progress": markup.progress_bar(job.progress),
        "progress_note": (job.progress or {}).get("note", "") if isinstance(job.progress, dict) else "",
        "error": job.error if isinstance(job.error, dict) else None,
        "drawing": _drawing(job, happened, tried),
        "attempts": attempts.rows(reversed(tried)),
        "events": [_event(event) for event in happened],
        "values": _values(job),
        "sections": _sections(job),
        "interventions": _interventions(job),
        "audit": AuditRecord.objects.filter(subject_type="job", subject_id=str(job.id))[:MOST_RELATED],
    }
    request.current_app = model_admin.admin_site.name  # type: ignore[attr-defined] # as Django's own admin views do
    return TemplateResponse(request, "jobs/admin/job.html", context)


def _facts(job: Job) -> list[tuple[str, Any]]:
    most, seconds = most_attempts(job), seconds_of(job)
    project = subjects.projects().get(job.project_id, str(job.project_id))
    worker = Worker.objects.filter(id=job.claimed_by).first() if job.claimed_by else None
    facts: list[tuple[str, Any]] = [
        ("Project", subjects.link("project", job.project_id, project)),
        ("Created", markup.moment(job.created_at)),
        ("Due", markup.moment(job.due_at) if job.status in {Status.QUEUED, Status.PARKED} else None),
        ("Started", markup.moment(job.started_at) if job.started_at else None),
        ("Finished", markup.moment(job.finished_at) if job.finished_at else None),
        ("Duration", f"{markup.duration(seconds)}{' (late)' if is_late(job, seconds) else ''}" if seconds else None),
        ("Attempt", f"{job.attempt} of {most}" if most else str(job.attempt)),
        ("Stage", job.stage),
        ("Priority", str(job.priority) if job.priority else None),
        ("Lane", job.lane),
        ("Worker", subjects.link("worker", worker.pk, str(worker)) if worker else None),
        ("Quality", f"{job.quality:g}" if job.quality is not None else None),
        ("Timeout", markup.duration(job.timeout) if job.timeout else None),
        ("Retry delay", markup.duration(job.retry_delay) if job.retry_delay is not None else None),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _reason_to_wait(job: Job) -> str:
    """Why a queued job does not run, where that can be told without asking the workers."""
    if job.cancel_requested and job.status == Status.PROCESSING:
        return "It was asked to stop; its handler decides when."
    if job.status != Status.QUEUED:
        return ""
    shelf = Shelf.objects.filter(id=job.shelf_id).first()
    if shelf is not None and shelf.paused:
        return "Its shelf is paused."
    live = Worker.objects.filter(stopped_at=None, kinds__contains=[job.kind])
    if not live.exists():
        return "No live worker knows this kind."
    return "It waits for its due time." if job.due_at > timezone.now() else ""


def _drawing(job: Job, happened: Sequence[Event], tried: Sequence[Attempt]) -> timeline.Drawing | None:
    now = dt.datetime.now(dt.UTC)
    running = job.attempt if job.status == Status.PROCESSING else None
    return timeline.draw(timeline.spans(happened, tried, now=now, running=running))


def _event(event: Event) -> dict[str, Any]:
    return {
        "seq": event.seq,
        "at": event.occurred_at,
        "type": event.type,
        "brief": markup.brief(event.data, 90),
        "data": markup.pretty(event.data),
    }


def _values(job: Job) -> list[tuple[str, markup.Shown]]:
    named = (
        ("Payload", job.payload),
        ("Output", job.output),
        ("Metadata", job.metadata),
        ("Steps", job.steps),
    )
    return [(name, shown) for name, value in named if (shown := markup.pretty(value)) is not None]


def _sections(job: Job) -> list[tuple[str, list[tuple[str, Any]]]]:
    """What apps above the engine say about the job. A name `<noun>_id` becomes a link to that subject's page."""
    mapping = {
        name: getattr(job, name)
        for name in ("id", "project_id", "kind", "status", "stage", "payload", "output", "metadata", "error", "confirm")
    }
    found = []
    for name, section in extensions.job_sections:
        said = section(mapping)
        if said:
            found.append((name.replace("_", " "), [_said(key, value) for key, value in said.items()]))
    return found


def _said(name: str, value: Any) -> tuple[str, Any]:
    noun, underscore, _ = name.rpartition("_id")
    if underscore and value is not None and subjects.address(noun, value):
        return noun.replace("_", " "), subjects.link(noun, value)
    if isinstance(value, Mapping | list):
        return name.replace("_", " "), markup.brief(value, 400)
    return name.replace("_", " "), markup.NOTHING if value is None else markup.visible(str(value))


def _interventions(job: Job) -> list[tuple[Any, Intervention]]:
    found = Intervention.objects.filter(subject_type="job", subject_id=str(job.id)).order_by("-opened_at")
    return [(subjects.link("intervention", row.pk, row.reason), row) for row in found[:MOST_RELATED]]
