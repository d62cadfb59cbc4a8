"""Schedules over HTTP: of the caller's project."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from jobplatform.api.database import retry_transient
from jobplatform.api.idempotency import idempotent
from jobplatform.api.pages import CursorPage
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, IdempotencyHeader, page_of
from jobplatform.api.views import ApiRequest, ApiView
from jobs import firing, schedules
from jobs.models import Schedule
from jobs.serializers.schedules import (
    ActOnSchedule,
    BackfillSchedule,
    BackfillShown,
    CreateSchedule,
    RunShown,
    ScheduleDetail,
    ScheduleShown,
    show_backfill,
    show_detail,
    show_schedule,
)

_REASON = {"reason": "The provider is down."}


def _once(request: ApiRequest, route: str, fn: Callable[[], Response]) -> Response:
    project_id = request.caller.project_id
    return idempotent(request, project_id=project_id, route=f"POST /api/v1/{route}", fn=lambda: retry_transient(fn))


def _detail(project_id: UUID, schedule_id: UUID) -> dict[str, Any]:
    row = schedules.get(project_id, schedule_id)
    return show_detail(row, firing.last_of([row]).get(row.id))


class SchedulesView(ApiView):
    """Schedules of the project.

    GET lists them. POST creates one, which makes a job of its kind whenever it is due.
    """

    name = "Schedules"
    scopes = {"GET": "schedules:read", "POST": "schedules:write"}

    @extend_schema(
        operation_id="schedules_list", parameters=LIST_PARAMETERS, responses={200: page_of(ScheduleShown), **PROBLEMS}
    )
    def get(self, request: ApiRequest) -> Response:
        """List schedules."""
        page = CursorPage(request)
        rows = page.of(schedules.of_project(request.caller.project_id))
        last = firing.last_of(rows)
        return Response(
            page.answer(rows, key=lambda row: (row.id,), show=lambda row: show_schedule(row, last.get(row.id)))
        )

    @extend_schema(
        operation_id="schedules_create",
        parameters=[IdempotencyHeader],
        request=CreateSchedule,
        responses={201: ScheduleDetail, **PROBLEMS},
    )
    def post(self, request: ApiRequest) -> Response:
        """Create a schedule."""
        ask = request.body_as(CreateSchedule)
        caller = request.caller

        def create() -> Response:
            row = schedules.create(project_id=caller.project_id, new=ask.new(), actor=caller.actor)
            shown = show_detail(row, None)
            return Response(shown, status=201, headers={"Location": shown["links"]["self"]})

        return _once(request, "schedules", create)

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A report every night."""
        example: dict[str, Any] = CreateSchedule.model_json_schema()["example"]
        return example


class ScheduleView(ApiView):
    """One schedule. DELETE removes it; the jobs that it has made stay."""

    name = "Schedule"
    scopes = {"GET": "schedules:read", "DELETE": "schedules:write"}

    @extend_schema(operation_id="schedules_get", responses={200: ScheduleDetail, **PROBLEMS})
    def get(self, request: ApiRequest, schedule_id: UUID) -> Response:
        """Show one schedule, with its next five instants."""
        return Response(_detail(request.caller.project_id, schedule_id))

    @extend_schema(operation_id="schedules_delete", responses={204: None, **PROBLEMS})
    def delete(self, request: ApiRequest, schedule_id: UUID) -> Response:
        """Delete a schedule."""
        caller = request.caller
        retry_transient(
            lambda: schedules.delete(schedule_id=schedule_id, project_id=caller.project_id, actor=caller.actor)
        )
        return Response(status=204)


class ScheduleRunView(ApiView):
    """Run a schedule now. POST makes one job; when the schedule is due stays as it is."""

    name = "Run a schedule now"
    scopes = {"POST": "schedules:write"}

    @extend_schema(
        operation_id="schedules_run",
        parameters=[IdempotencyHeader],
        request=ActOnSchedule,
        responses={202: RunShown, **PROBLEMS},
    )
    def post(self, request: ApiRequest, schedule_id: UUID) -> Response:
        """Make one job of the schedule now, even if it is paused."""
        caller = request.caller
        schedules.get(caller.project_id, schedule_id)  # who may not see it, is told nothing of its body
        ask = request.body_as(ActOnSchedule, optional=True)

        def run() -> Response:
            job = firing.run(
                schedule_id=schedule_id, project_id=caller.project_id, actor=caller.actor, reason=ask.reason
            )
            where = reverse("jobs:job", args=(job.id,))
            shown = {"job_id": job.id, "links": {"job": where}}
            return Response(shown, status=202, headers={"Location": where})

        return _once(request, f"schedules/{schedule_id}/run", run)

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason."""
        return {"reason": "The report of last night was wrong."}


class SchedulePauseView(ApiView):
    """Pause a schedule. POST does it; no instant makes a job until it is resumed."""

    name = "Pause a schedule"
    scopes = {"POST": "schedules:write"}

    @extend_schema(operation_id="schedules_pause", request=ActOnSchedule, responses={200: ScheduleDetail, **PROBLEMS})
    def post(self, request: ApiRequest, schedule_id: UUID) -> Response:
        """Pause a schedule."""
        return _switch(request, schedule_id, schedules.pause)

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason."""
        return _REASON


class ScheduleResumeView(ApiView):
    """Resume a schedule. POST does it; it fires from now on, and what was due meanwhile makes no job."""

    name = "Resume a schedule"
    scopes = {"POST": "schedules:write"}

    @extend_schema(operation_id="schedules_resume", request=ActOnSchedule, responses={200: ScheduleDetail, **PROBLEMS})
    def post(self, request: ApiRequest, schedule_id: UUID) -> Response:
        """Resume a schedule."""
        return _switch(request, schedule_id, schedules.resume)

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason."""
        return {"reason": "The provider is up again."}


def _switch(request: ApiRequest, schedule_id: UUID, act: Callable[..., Schedule]) -> Response:
    caller = request.caller
    schedules.get(caller.project_id, schedule_id)  # who may not see it, is told nothing of its body
    ask = request.body_as(ActOnSchedule, optional=True)
    retry_transient(
        lambda: act(schedule_id=schedule_id, project_id=caller.project_id, actor=caller.actor, reason=ask.reason)
    )
    return Response(_detail(caller.project_id, schedule_id))


class ScheduleBackfillView(ApiView):
    """Make the jobs of a time that is past. POST makes those that are missing; twice is once."""

    name = "Backfill a schedule"
    scopes = {"POST": "schedules:write"}

    @extend_schema(
        operation_id="schedules_backfill",
        parameters=[IdempotencyHeader],
        request=BackfillSchedule,
        responses={200: BackfillShown, **PROBLEMS},
    )
    def post(self, request: ApiRequest, schedule_id: UUID) -> Response:
        """Make the jobs of all instants from `from` to `to` that have none."""
        caller = request.caller
        schedules.get(caller.project_id, schedule_id)  # who may not see it, is told nothing of its body
        ask = request.body_as(BackfillSchedule)

        def fill() -> Response:
            done = firing.backfill(
                schedule_id=schedule_id,
                project_id=caller.project_id,
                begin=ask.begin,
                end=ask.end,
                actor=caller.actor,
                reason=ask.reason,
                dry_run=ask.dry_run,
            )
            return Response(show_backfill(done, dry_run=ask.dry_run))

        return _once(request, f"schedules/{schedule_id}/backfill", fill)

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A day, to see how many."""
        example: dict[str, Any] = BackfillSchedule.model_json_schema()["example"]
        return example
