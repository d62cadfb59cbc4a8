"""The sidebar: what is shown where. A page that this person may not see, or that is not there, is left out."""

from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib import admin
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse

from jobs.models import Intervention


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the sidebar: a model (`app.Model`) or the name of a route, with the permission that it needs."""

    title: str
    icon: str
    model: str = ""
    route: str = ""
    permission: str = ""


ENTRIES: tuple[tuple[str, tuple[Entry, ...]], ...] = (
    (
        "Work",
        (
            Entry("Overview", "space_dashboard", route="admin:index"),
            Entry("Jobs", "work", "jobs.Job"),
            Entry("Batches", "stacks", "jobs.JobBatch"),
            Entry("Acts on many", "library_add_check", "jobs.BulkAct"),
            Entry("Attempts", "replay", route="admin:jobs_job_attempts", permission="jobs.view_attempt"),
            Entry("Messages", "mail", "ingestion.Message"),
            Entry("Interventions", "back_hand", "jobs.Intervention"),
            Entry(
                "Dead letters",
                "report",
                route="admin:reconciliation_redrive_letters",
                permission="reconciliation.view_redrive",
            ),
            Entry("Redrives", "restart_alt", "reconciliation.Redrive"),
            Entry("Findings", "troubleshoot", "reconciliation.Finding"),
        ),
    ),
    (
        "Alarms",
        (
            Entry("Alarms", "notifications_active", "reconciliation.Alarm"),
            Entry("Rules of alarms", "rule_settings", "reconciliation.AlarmRule"),
            Entry("Silences", "notifications_off", "reconciliation.Silence"),
        ),
    ),
    (
        "Engine",
        (
            Entry("Workers", "memory", "jobs.Worker"),
            Entry("Shelves", "inventory_2", "jobs.Shelf"),
            Entry("Pauses", "pause_circle", "jobs.Pause"),
            Entry("Kinds", "tune", "jobs.KindSettings"),
            Entry("Limits", "speed", "jobs.LimitKey"),
            Entry("Rules of limits", "rule", "jobs.LimitRule"),
            Entry("Schedules", "event_repeat", "django_celery_beat.PeriodicTask"),
        ),
    ),
    (
        "Chain",
        (
            Entry("Confirmations", "verified", "confirmations.Confirmation"),
            Entry("Transactions", "receipt_long", "confirmations.Transaction"),
            Entry("Signers", "draw", "confirmations.Signer"),
            Entry("Contracts", "description", "confirmations.Contract"),
            Entry("Networks", "hub", "confirmations.Network"),
        ),
    ),
    (
        "Log",
        (
            Entry("Events", "history", "events.Event"),
            Entry("Consumers", "downloading", "events.Consumer"),
            Entry("Audit record", "policy", "events.AuditRecord"),
        ),
    ),
    (
        "Access",
        (
            Entry("Projects", "folder", "projects.Project"),
            Entry("API keys", "key", "projects.ApiKey"),
            Entry("People", "person", "auth.User"),
            Entry("Groups", "group", "auth.Group"),
        ),
    ),
)


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups of the sidebar for this person."""
    groups: list[dict[str, Any]] = [
        {
            "title": title,
            "separator": index > 0,
            "items": [item for entry in entries if (item := _item(request, entry))],
        }
        for index, (title, entries) in enumerate(ENTRIES)
    ]
    elsewhere: list[dict[str, Any]] = [
        {"title": "API documentation", "icon": "menu_book", "link": _address("docs"), "active": _never},
        {"title": "Flower", "icon": "local_florist", "link": settings.FLOWER_URL, "active": _never},
    ]
    groups.append({"title": "Elsewhere", "separator": True, "items": [item for item in elsewhere if item["link"]]})
    return [group for group in groups if group["items"]]


def _item(request: HttpRequest, entry: Entry) -> dict[str, Any] | None:
    if entry.model:
        link = _list_of(request, entry.model)
    else:
        allowed = not entry.permission or request.user.has_perm(entry.permission)
        link = _address(entry.route) if allowed else None
    if link is None:
        return None
    item: dict[str, Any] = {"title": entry.title, "icon": entry.icon, "link": link}
    attempts = _address("admin:jobs_job_attempts") or ""
    letters = _address("admin:reconciliation_redrive_letters") or ""
    if entry.model == "jobs.Job":
        item["active"] = lambda request: request.path.startswith(link) and not request.path.startswith(attempts)
    if entry.model == "reconciliation.Redrive":
        item["active"] = lambda request: request.path.startswith(link) and not request.path.startswith(letters)
    if entry.model == "jobs.Intervention" and (waiting := _open_interventions()):
        item |= {"badge": waiting, "badge_variant": "warning"}
    return item


def _list_of(request: HttpRequest, label: str) -> str | None:
    try:
        model = apps.get_model(label)
    except LookupError:
        return None
    if not admin.site.is_registered(model) or not admin.site.get_model_admin(model).has_view_permission(request):
        return None
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _address(route: str) -> str | None:
    if route == "docs":
        return "/api/v1/docs"
    try:
        return reverse(route)
    except NoReverseMatch:
        return None


def _open_interventions() -> int:
    """How many wait for a person (99 at most)."""
    return len(Intervention.objects.filter(resolved_at=None).values_list("id")[:99])


def _never(_request: HttpRequest) -> bool:
    return False


def environment(_request: HttpRequest) -> list[str]:
    """The label in the header: which profile this is."""
    return [settings.PROFILE, "danger" if settings.PROFILE == "production" else "info"]


def style(_request: HttpRequest) -> str:
    """The style sheet beside the theme's own."""
    return static("jobplatform/admin.css")


def mark(_request: HttpRequest) -> str:
    """The platform's sign."""
    return static("jobplatform/mark.svg")
