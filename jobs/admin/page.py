"""The page of one job: what it is, how it went, and what may be done."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from events.models import AuditRecord, Event
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.filters import uuid_of
from jobs import extensions, registry, selectors, serializers, standing, tuning
from jobs.admin import acts, attempts, looks, timeline
from jobs.admin.listing import find
from jobs.admin.measures import is_late, most_attempts, seconds_of
from jobs.errors import JobNotFound
from jobs.models import Attempt, Awaited, Intervention, Job, Worker
from jobs.states import ENDED, Gate, Status

WAITING = {Status.QUEUED, Status.PARKED}
MOST_EVENTS = 200
MOST_ATTEMPTS = 100
MOST_DRAWN = 2_000
"""Events, and attempts, that the timeline is drawn from: the newest."""
MOST_RELATED = 20


def show(model_admin: Any, request: HttpRequest, object_id: str) -> HttpResponse:
    """The page; 404 for an id that is none."""
    if not model_admin.has_view_permission(request):
        raise PermissionDenied
    job_id = uuid_of(object_id)
    job = find(job_id) if job_id else None
    if job is None:
        raise Http404
    tuning.refresh()
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
        "explanation": _explanation(job),
        "progress": markup.progress_bar(job.progress),
        "progress_note": job.progress.get("note", "") if isinstance(job.progress, dict) else "",
        "error": job.error if isinstance(job.error, dict) else None,
        "drawing": _drawing(job, happened, tried),
        "attempts": attempts.rows(reversed(tried)),
        "events": [_event(event) for event in happened],
        "values": _values(job),
        "sections": _sections(job),
        "interventions": _interventions(job),
        "audit": AuditRecord.objects.filter(subject_type="job", subject_id=str(job.id))[:MOST_RELATED],
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "jobs/admin/job.html", context)


def _facts(job: Job) -> list[tuple[str, Any]]:
    most, seconds = most_attempts(job), seconds_of(job)
    subject = job.kind.partition(".")[0]  # the job of a message has the message's id
    worker = Worker.objects.filter(id=job.claimed_by).first() if job.claimed_by else None
    facts: list[tuple[str, Any]] = [
        ("Project", subjects.project_of(job)),
        (subject.capitalize(), subjects.link(subject, job.id, "open") if subjects.exists(subject, job.id) else None),
        ("Created", markup.moment_and_date(job.created_at)),
        ("Due", markup.moment_and_date(job.due_at) if job.status in WAITING else None),
        ("Waits for", _awaited(job)),
        ("Started", markup.moment_and_date(job.started_at) if job.started_at else None),
        ("Finished", markup.moment_and_date(job.finished_at) if job.finished_at else None),
        ("Duration", f"{markup.duration(seconds)}{' (late)' if is_late(job, seconds) else ''}" if seconds else None),
        ("Attempt", f"{job.attempt} of {most}" if most else str(job.attempt)),
        ("Stage", job.stage),
        ("Priority", str(job.priority) if job.priority else None),
        ("Lane", _lane(job)),
        ("Worker", subjects.link("worker", worker.pk, str(worker)) if worker else None),
        ("Quality", f"{job.quality:g}" if job.quality is not None else None),
        ("Timeout", markup.duration(job.timeout) if job.timeout else None),
        ("Retry delay", markup.duration(job.retry_delay) if job.retry_delay is not None else None),
    ]
    return [(name, value) for name, value in facts if value is not None]


def _awaited(job: Job) -> SafeString | None:
    """The event that may wake it before it is due."""
    row = (
        Awaited.objects.filter(job_id=job.id, project_id=job.project_id).first()
        if job.status == Status.PARKED
        else None
    )
    if row is None:
        return None
    about = format_html('<small class="jp-soft">{}</small>', markup.visible(row.subject)) if row.subject else ""
    return format_html('<span class="jp-two"><span>{}</span>{}</span>', row.type, about)


def _lane(job: Job) -> SafeString | None:
    """Its lane, which leads to all jobs of it; for the first one, how many wait behind it and since when."""
    if job.lane is None:
        return None
    link = format_html(
        '<a class="jp-link" href="{}?{}">{}</a>',
        reverse("admin:jobs_job_changelist"),
        urlencode({"q": job.lane}),
        markup.visible(job.lane),
    )
    if job.status in ENDED or job.gate & Gate.LANE:
        return link
    rows = selectors.lanes(job.project_id, lane=job.lane, status=None, after=None, forward=True, limit=1).rows
    if not rows or not rows[0].waiting:
        return link
    since = markup.moment(rows[0].waiting_since)
    waiting = format_html("{} behind it, the first since {}", rows[0].waiting, since)
    return format_html('<span class="jp-two"><span>{}</span><small class="jp-soft">{}</small></span>', link, waiting)


def _explanation(job: Job) -> str:
    """Why a job that has not ended does not move on, as the API explains it."""
    if job.status in ENDED:
        return ""
    try:
        return str(serializers.explain(standing.of(job.project_id, job.id))["detail"])
    except JobNotFound:  # tidied away meanwhile
        return ""


def _drawing(job: Job, happened: Sequence[Event], tried: Sequence[Attempt]) -> timeline.Drawing | None:
    """The timeline. Of a long life more is drawn than is listed, so it is read again without what is heavy."""
    now = dt.datetime.now(dt.UTC)
    if len(happened) == MOST_EVENTS or len(tried) == MOST_ATTEMPTS:
        newest = Event.objects.filter(subject_id=job.id).only("type", "occurred_at", "seq").order_by("-seq")
        happened = list(newest[:MOST_DRAWN])[::-1]
        heavy = ("error", "log", "metrics")
        tried = list(Attempt.objects.filter(job_id=job.id).defer(*heavy).order_by("-claim_no")[:MOST_DRAWN])[::-1]
    running = job.attempt if job.status == Status.PROCESSING else None
    return timeline.draw(
        timeline.spans(happened, tried, now=now, running=running, confirming=job.status == Status.CONFIRMING)
    )


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
    """What apps above the engine say about the job. A name `<noun>_id` becomes a link to that subject's page.

    What an app has made safe itself is shown as it is.
    """
    said: list[tuple[str, Any]] = []
    if len(extensions.job_sections):
        shown = serializers.show_job(selectors.job(job.project_id, job.id))
        said += [(name, shown.get(name)) for name, _ in extensions.job_sections]
    said += [(name, section(job)) for name, section in extensions.page_sections]
    return [
        (name.replace("_", " "), [_said(key, value) for key, value in section.items()])
        for name, section in said
        if section
    ]


def _said(name: str, value: Any) -> tuple[str, Any]:
    noun, underscore, _ = name.rpartition("_id")
    if underscore and value is not None and subjects.address(noun, value):
        return noun.replace("_", " "), subjects.link(noun, value)
    if isinstance(value, Mapping | list):
        return name.replace("_", " "), markup.brief(value, 400)
    if isinstance(value, SafeString):
        return name.replace("_", " "), value
    return name.replace("_", " "), markup.NOTHING if value is None else markup.visible(str(value))


def _interventions(job: Job) -> list[tuple[Any, Intervention]]:
    found = Intervention.objects.filter(subject_type="job", subject_id=str(job.id)).order_by("-opened_at")
    return [(subjects.link("intervention", row.pk, row.reason), row) for row in found[:MOST_RELATED]]
