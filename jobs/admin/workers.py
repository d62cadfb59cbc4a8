"""Worker processes in the admin: live, silent, stopped."""

import datetime as dt
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.contrib.filters.admin import DropdownFilter
from unfold.decorators import display

from jobplatform.backoffice import markup
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import ReadOnlyAdmin
from jobs.models import Worker
from jobs.states import LIVE_SECONDS

LIVE, STALE, STOPPED = "live", "stale", "stopped"
LOOKS = {LIVE: Look("good", "sensors"), STALE: Look("bad", "sensors_off"), STOPPED: Look("off", "stop_circle")}


def state_of(worker: Worker, now: dt.datetime) -> str:
    """Live while its heartbeat is fresh; stale when it fell silent without signing off; stopped when it signed off."""
    if worker.stopped_at is not None:
        return STOPPED
    return STALE if (now - worker.heartbeat_at).total_seconds() > LIVE_SECONDS else LIVE


class StateFilter(DropdownFilter):  # type: ignore[misc] # unfold has no types
    """By state."""

    title = "state"
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """The three states."""
        return [(name, name) for name in LOOKS]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Worker]) -> QuerySet[Worker]:
        """Workers in the chosen state."""
        limit = timezone.now() - dt.timedelta(seconds=LIVE_SECONDS)
        match self.value():
            case "live":
                return queryset.filter(stopped_at=None, heartbeat_at__gte=limit)
            case "stale":
                return queryset.filter(stopped_at=None, heartbeat_at__lt=limit)
            case "stopped":
                return queryset.exclude(stopped_at=None)
        return queryset


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Worker processes, newest first."""

    list_display = ["worker", "state", "runs_queues", "runs_kinds", "started", "heartbeat", "stopped"]
    list_display_links = ["worker"]
    list_filter = [StateFilter]
    search_fields = ["name", "host"]
    search_help_text = "Name or host"
    fields = ["worker", "state", "host", "pid", "parent_pid", "queues", "kinds", "started", "heartbeat", "stopped"]
    readonly_fields = ["worker", "state", "started", "heartbeat", "stopped"]

    @display(description="Worker")
    def worker(self, worker: Worker) -> SafeString:
        """Name and process."""
        return format_html(
            '<span class="jp-two"><b>{}</b><small class="jp-id">{} · pid {}</small></span>',
            worker.name,
            worker.host,
            worker.pid,
        )

    @display(description="State")
    def state(self, worker: Worker) -> SafeString:
        """Live, stale or stopped."""
        state = state_of(worker, timezone.now())
        return badge(state, LOOKS[state])

    @display(description="Queues")
    def runs_queues(self, worker: Worker) -> SafeString:
        """The queues that it listens to."""
        return markup.words(worker.queues)

    @display(description="Kinds")
    def runs_kinds(self, worker: Worker) -> SafeString:
        """The kinds that it knows."""
        return markup.words(worker.kinds, 2)

    @display(description="Started")
    def started(self, worker: Worker) -> SafeString:
        """When."""
        return markup.moment(worker.started_at)

    @display(description="Heartbeat")
    def heartbeat(self, worker: Worker) -> SafeString:
        """When it was last heard of."""
        return markup.moment(worker.heartbeat_at)

    @display(description="Stopped")
    def stopped(self, worker: Worker) -> SafeString:
        """When it signed off, or was declared dead."""
        return markup.moment(worker.stopped_at)
