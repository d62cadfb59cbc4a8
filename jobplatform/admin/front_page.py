"""The front page: how much waits, what needs a person, who works, and how far the consumers of the log are."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from events import log
from jobplatform.backoffice import markup, subjects
from jobs.admin import listing, looks
from jobs.admin.workers import LOOKS, state_of
from jobs.models import Worker
from jobs.states import Status

SHOWN_ALWAYS = (Status.QUEUED, Status.PROCESSING, Status.BLOCKED, Status.FAILED)
SHOWN_IF_ANY = (Status.PARKED, Status.PENDING_APPROVAL, Status.CONFIRMING, Status.REJECTED, Status.CANCELLED)
NEEDS_A_PERSON = (Status.BLOCKED, Status.FAILED)
MOST = 8


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Django's context of the index page, with ours for those who may see jobs."""
    if not request.user.has_perm("jobs.view_job"):
        return context
    return {**context, "tiles": _tiles(), "troubles": _troubles(), "workers": _workers(), "consumers": _consumers()}


def _tiles() -> list[dict[str, Any]]:
    counted = listing.counts()
    tiles = []
    for status in (*SHOWN_ALWAYS, *SHOWN_IF_ANY):
        number, more = counted.get(status.value, (0, False))
        if number or status in SHOWN_ALWAYS:
            look = looks.STATUS[status]
            tiles.append(
                {
                    "title": status.value.replace("_", " "),
                    "number": f"{number:,}{'+' if more else ''}",
                    "look": look,
                    "quiet": not number,
                    "link": f"{reverse('admin:jobs_job_changelist')}?{urlencode({'status': status.value})}",
                }
            )
    return tiles


def _troubles() -> list[dict[str, Any]]:
    names = subjects.projects()
    return [
        {
            "job": job,
            "link": reverse("admin:jobs_job_change", args=(job.pk,)),
            "badge": looks.status(job.status),
            "project": names.get(job.project_id, str(job.project_id)),
            "code": markup.code(job.error["code"]) if isinstance(job.error, dict) and job.error.get("code") else "",
            "text": markup.visible(str(job.error.get("message", "")))[:160] if isinstance(job.error, dict) else "",
            "at": markup.moment(job.finished_at or job.started_at),
        }
        for job in listing.newest(NEEDS_A_PERSON, MOST)
    ]


def _workers() -> list[dict[str, Any]]:
    now = timezone.now()
    found = Worker.objects.filter(stopped_at=None).order_by("name", "pid")[:20]
    return [
        {
            "name": worker.name,
            "pid": worker.pid,
            "badge": markup.badge(state_of(worker, now), LOOKS[state_of(worker, now)]),
            "queues": markup.words(worker.queues),
            "heard": markup.moment(worker.heartbeat_at),
        }
        for worker in found
    ]


def _consumers() -> list[dict[str, Any]]:
    return [
        {"name": name, "lag": markup.duration(seconds) if seconds else "up to date", "failures": failures}
        for name, (seconds, failures) in sorted(log.lag().items())
    ]
