"""Schedules in the admin. Each makes jobs, so a schedule names a kind, never a Celery task."""

import json
from typing import Any, ClassVar
from uuid import UUID

from django.apps import apps
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django_celery_beat import admin as _theirs  # noqa: F401 - registers what is taken off below
from django_celery_beat.models import (
    ClockedSchedule,
    CrontabSchedule,
    IntervalSchedule,
    PeriodicTask,
    SolarSchedule,
)
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from jobplatform.admin import schedule_acts
from jobplatform.admin.audited import AuditedAdmin
from jobplatform.admin.schedule_forms import POLICIES, WHEN, ScheduleForm
from jobplatform.backoffice import markup, subjects
from jobplatform.backoffice.markup import Look, badge
from jobplatform.backoffice.readonly import PlatformAdmin
from jobplatform.backoffice.reasons import actor_of
from jobs import schedules
from jobs.admin import looks
from jobs.errors import JobsError
from jobs.models import Firing, Job, Schedule
from jobs.states import Status

ON, PAUSED, ENDED = Look("good", "play_circle"), Look("ask", "pause_circle"), Look("off", "check_circle")

for _model in (ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask, SolarSchedule):
    admin.site.unregister(_model)

# What people know as a schedule is a "periodic task" to django-celery-beat. (Migrations do not look at these.)
PeriodicTask._meta.verbose_name = "schedule"
PeriodicTask._meta.verbose_name_plural = "schedules"
apps.get_app_config("django_celery_beat").verbose_name = "Engine"


@admin.register(PeriodicTask)
class ScheduleAdmin(PlatformAdmin):
    """Schedules: each makes a job of its kind whenever it is due."""

    form = ScheduleForm
    list_display = ["title", "kind", "project", "state", "when", "next_instant", "last_run"]
    list_filter = ["enabled"]
    search_fields = ["name", "task"]
    list_select_related = ["interval", "crontab", "clocked", "solar", "jobs_schedule"]
    actions: ClassVar[Any] = ["enable", "pause"]
    actions_detail: ClassVar[Any] = ["run_now", "pause_it", "resume_it", "backfill"]
    readonly_fields = ["state", "project", "upcoming", "last_job", "shown_policies"]
    _what = (None, {"fields": ("name", "task", "kwargs", "enabled", "description")})
    _when = ("When", {"fields": WHEN})

    def get_fieldsets(self, request: HttpRequest, obj: PeriodicTask | None = None) -> Any:
        """How it stands, where there is one; the policies, as text for those who may only look."""
        may = self.has_change_permission(request, obj) if obj else True
        fields = ("project_id", *POLICIES) if may else ("project", "shown_policies")
        now = [("Now", {"fields": ("state", "upcoming", "last_job")})] if obj else []
        return [*now, self._what, self._when, ("Policies", {"fields": fields})]

    def get_queryset(self, request: HttpRequest) -> QuerySet[PeriodicTask]:
        """With the names of their projects."""
        found: QuerySet[PeriodicTask] = super().get_queryset(request)
        model = subjects.model_of("project")
        if model is None:
            return found
        name = Subquery(model._default_manager.filter(id=OuterRef("jobs_schedule__project_id")).values("name")[:1])
        named: QuerySet[PeriodicTask] = found.annotate(project_name=name)
        return named

    def save_model(self, request: HttpRequest, obj: PeriodicTask, form: ScheduleForm, change: bool) -> None:  # noqa: FBT001 - Django's signature
        """Keep it, with its policies and its audit record. From now on it fires as it says."""
        with transaction.atomic():
            before = _facts(obj.pk) if change else {}
            obj.kwargs = json.dumps(form.cleaned_data["kwargs"])
            super().save_model(request, obj, form, change)
            row = schedules.of_task(obj)
            Schedule.objects.filter(id=row.id).update(**form.policies())
            row.project_id = form.policies()["project_id"]
            after = _facts(obj.pk)
            changed = [name for name in after if before.get(name) != after[name]]
            changes = {"before": {name: before[name] for name in changed}} if change else {}
            act = "schedule.change" if change else "schedule.create"
            schedules.record(row, act, actor_of(request), "", **changes, after={name: after[name] for name in changed})

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """An empty payload."""
        return {"kwargs": {}, **super().get_changeform_initial_data(request)}

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Never: a shipped one would come back at the next start. It is paused instead."""
        return False

    # -------------------------------------------------------------------------------------------- acts
    @action(description="Enable selected schedules", permissions=["change"])
    def enable(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Let them fire."""
        self._switch(request, queryset, on=True)

    @action(description="Pause selected schedules", permissions=["change"])
    def pause(self, request: HttpRequest, queryset: QuerySet[PeriodicTask]) -> None:
        """Let them rest."""
        self._switch(request, queryset, on=False)

    def _switch(self, request: HttpRequest, queryset: QuerySet[PeriodicTask], *, on: bool) -> None:
        act = schedules.resume if on else schedules.pause
        for task in queryset.exclude(enabled=on):
            row = schedules.of_task(task)
            try:
                act(schedule_id=row.id, project_id=None, actor=actor_of(request), reason="")
            except JobsError as error:
                messages.warning(request, f"{task.name}: {error}")

    @action(description="Run now", url_path="run", icon="bolt", permissions=["change"])
    def run_now(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make a job now."""
        return schedule_acts.show(self, request, "run", object_id)

    @action(description="Pause", url_path="pause", icon="pause", permissions=["change"])
    def pause_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let it rest, and say why."""
        return schedule_acts.show(self, request, "pause", object_id)

    @action(description="Resume", url_path="resume", icon="resume", permissions=["change"])
    def resume_it(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let it fire again."""
        return schedule_acts.show(self, request, "resume", object_id)

    @action(description="Backfill", url_path="backfill", icon="history", permissions=["change"])
    def backfill(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Make the jobs of a time that is past."""
        return schedule_acts.show(self, request, "backfill", object_id)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Those that make sense as it stands."""
        task = PeriodicTask.objects.filter(pk=object_id).first() if str(object_id).isdecimal() else None
        if task is None:
            return []
        fitting = {name for name, act in schedule_acts.ACTS.items() if act.when_enabled in {None, task.enabled}}
        return [found for found in super().get_actions_detail(request, object_id) if found.path in fitting]

    # -------------------------------------------------------------------------------------------- columns
    @display(description="Name", ordering="name")
    def title(self, task: PeriodicTask) -> str:
        """Its name within its project."""
        return schedules.name_of(_row(task))

    @display(description="Kind")
    def kind(self, task: PeriodicTask) -> SafeString:
        """The kind of its jobs."""
        return markup.code(task.task)

    @display(description="Project")
    def project(self, task: PeriodicTask) -> SafeString:
        """Whose jobs it makes."""
        row = _row(task)
        row.project_name = "Platform" if row.project_id == subjects.PLATFORM else task.project_name  # type: ignore[attr-defined] # for the link
        return format_html('<span class="jp-nowrap">{}</span>', subjects.project_of(row))

    @display(description="State")
    def state(self, task: PeriodicTask) -> SafeString:
        """Enabled, paused and why, or at its end."""
        row = _row(task)
        if task.enabled:
            shown = badge("enabled", ON) if row.next_at is not None or not row.fingerprint else badge("ended", ENDED)
        else:
            shown = badge("paused", PAUSED)
        reason = row.paused_reason if not task.enabled else f"held by a pause: {row.held}" if row.held else ""
        below = format_html('<small class="jp-id">{}</small>', markup.visible(reason)[:200]) if reason else ""
        return format_html('<span class="jp-two"><span>{}</span>{}</span>', shown, below)

    @display(description="When")
    def when(self, task: PeriodicTask) -> str:
        """Its interval, crontab or moment."""
        return str(task.interval or task.crontab or task.clocked or task.solar or markup.NOTHING)

    @display(description="Next")
    def next_instant(self, task: PeriodicTask) -> SafeString:
        """When it is due next."""
        return markup.moment(_row(task).next_at)

    @display(description="Fired last")
    def last_run(self, task: PeriodicTask) -> SafeString:
        """When."""
        return markup.moment(task.last_run_at)

    @display(description="Next instants")
    def upcoming(self, task: PeriodicTask) -> SafeString:
        """The next five, in its own zone and in UTC."""
        found = schedules.upcoming(task, schedules.now())
        if not found:
            return format_html("{}", markup.NOTHING)
        zone = task.crontab.timezone if task.crontab is not None else None
        lines = format_html_join(
            "",
            "<tr><td>{}</td><td>{} UTC</td></tr>",
            (
                (f"{at.astimezone(zone):%a %Y-%m-%d %H:%M:%S %Z}" if zone else "", f"{at:%Y-%m-%d %H:%M:%S}")
                for at in found
            ),
        )
        return format_html('<table class="jp-table"><tbody>{}</tbody></table>', lines)

    @display(description="Last job")
    def last_job(self, task: PeriodicTask) -> SafeString:
        """The job of the latest instant that made one, and how it stands."""
        last = Firing.objects.filter(schedule_id=_row(task).id).order_by("-instant").first()
        if last is None:
            return format_html("{}", markup.NOTHING)
        job = Job.objects.filter(project_id=last.project_id, id=last.job_id).only("status").first()
        link = subjects.link("job", last.job_id)
        status = looks.status(Status(job.status)) if job else "gone"
        return format_html("{} {} for {} UTC", link, status, f"{last.instant:%Y-%m-%d %H:%M:%S}")

    @display(description="Policies")
    def shown_policies(self, task: PeriodicTask) -> SafeString:
        """For those who may only look."""
        row = _row(task)
        return format_html_join(", ", "{}: {}", ((name.replace("_", " "), getattr(row, name)) for name in POLICIES))


def _facts(task_id: int) -> dict[str, Any]:
    """All that a person may change about a schedule, as it stands in the database, for the audit record."""
    row = Schedule.objects.select_related("task", "task__interval", "task__crontab", "task__clocked").get(task=task_id)
    said = {name: getattr(row.task, name) for name in ("name", "task", "kwargs", "enabled", "description", *WHEN)}
    said |= {name: getattr(row, name) for name in ("project_id", *POLICIES)}
    return {
        name: value if value is None or isinstance(value, bool | int) else str(value) for name, value in said.items()
    }


def _row(task: PeriodicTask) -> Schedule:
    """The row of ours; one that says nothing where beat has not seen the schedule yet."""
    found: Schedule | None = getattr(task, "jobs_schedule", None)
    return found or Schedule(id=UUID(int=0), task=task)


@admin.register(IntervalSchedule, CrontabSchedule, ClockedSchedule)
class MomentAdmin(AuditedAdmin, ModelAdmin):  # type: ignore[misc] # unfold has no types
    """When schedules fire. Reached from a schedule's page."""

    search_fields: ClassVar[Any] = ()

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Not on the front page."""
        return False
