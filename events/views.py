"""The log over HTTP."""

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from events import selectors, services
from events.selectors import SCAN_ROWS, EventFilter, Place
from events.serializers import EventShown, ReportEvent, place_of, show_event
from events.streams import STREAM_PARAMETERS, STREAM_RESPONSES, StreamAnswer, StreamView, last_event_id
from events.topics import begins_a_type, is_type
from jobplatform.api.database import retry_transient
from jobplatform.api.idempotency import idempotent
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import Problem
from jobplatform.api.query import query_time, query_uuid
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, IdempotencyHeader, page_of
from jobplatform.api.views import ApiRequest, ApiView

_PARAMETERS = [
    OpenApiParameter(
        "type", OpenApiTypes.STR, description="Only events of this type: `job.failed`, `payment.arrived`."
    ),
    OpenApiParameter("subject_id", OpenApiTypes.UUID, description="Only events about this job, message, ..."),
    OpenApiParameter("occurred_after", OpenApiTypes.DATETIME, description="Only events from this time on."),
    OpenApiParameter("occurred_before", OpenApiTypes.DATETIME, description="Only events before this time."),
    OpenApiParameter(
        "after",
        {"type": "string", "pattern": "^(0|[0-9]{1,18}-[0-9]{1,18})$"},
        description=(
            "Follow the log: oldest first, behind the event with this id (`0`: from the start). Ask again with the id"
            " of the last event that you have seen. Only events before which no other can appear any more are shown."
        ),
    ),
    *LIST_PARAMETERS,
]


class EventsView(ApiView):
    """What happened in the project, newest first; with `after`, oldest first from there.

    A page looks at a bounded part of the log: it may hold fewer events than asked for, or none, and still have a next
    page.
    """

    name = "Events"
    scopes = {"GET": "events:read"}
    filters = frozenset({"type", "subject_id", "after", "occurred_after", "occurred_before"})

    @extend_schema(
        operation_id="events_list",
        parameters=_PARAMETERS,
        responses={200: page_of(EventShown), **PROBLEMS},
        description=(
            "The events of the project, newest first; with `after`, oldest first from there.\n\n"
            f"A page looks at {SCAN_ROWS} rows of the log at most (unless `subject_id` is given): it may hold fewer"
            " events than `limit`, or none, while `next` leads on. The list is at its end when `next` is null."
        ),
    )
    def get(self, request: ApiRequest) -> Response:
        """List events of the project."""
        after = _after(request)
        page = CursorPage(request, keys=("position", "id"), newest_first=after is None)
        wanted = EventFilter(
            type=_type(request),
            subject_id=query_uuid(request, "subject_id"),
            occurred_after=query_time(request, "occurred_after"),
            occurred_before=query_time(request, "occurred_before"),
            settled=after is not None,
        )
        edge: Any = page.after or after
        scan = selectors.events(
            request.caller.project_id, wanted, edge=edge, descending=page.descending, limit=page.fetch
        )
        return Response(
            page.answer(page.ordered(scan.rows), key=lambda row: row.place, show=show_event, stopped_at=scan.stopped_at)
        )


def _after(request: ApiRequest) -> Place | None:
    text = request.query_params.get("after")
    if not text:
        return None
    place = place_of(text)
    if place is None:
        raise Problem(400, "invalid_after", "after is the id of an event, or 0 for the start of the log.")
    return place


def _type(request: ApiRequest) -> str | None:
    name = request.query_params.get("type")
    if name and not is_type(name):
        raise Problem(400, "unknown_event_type", "There is no event of this type.")
    return name or None


class JobEventsView(ApiView):
    """Report what happened elsewhere. Jobs of the project that wait for it run again."""

    name = "Job events"
    scopes = {"POST": "events:write"}

    @extend_schema(
        operation_id="job_events_report",
        parameters=[IdempotencyHeader],
        request=ReportEvent,
        responses={201: EventShown, **PROBLEMS},
        description=(
            "Report an event of your own: it stands in the project's log, under the topic `job_events`, and wakes the"
            " jobs of the project that wait for its `type` and `subject`. Types of the platform's own nouns (`job.…`)"
            " are refused (422 `reserved_event_type`). `data` has at most 64 KiB. With `id`, the same event sent again"
            " is told once."
        ),
    )
    def post(self, request: ApiRequest) -> Response:
        """Report an event."""
        ask = request.body_as(ReportEvent)
        project_id = request.caller.project_id

        def told() -> Response:
            row = services.report(
                project_id=project_id,
                event_type=ask.type,
                subject=ask.subject,
                data=ask.data,
                event_id=ask.id or "",
            )
            return Response(show_event(row), status=201)

        def once() -> Response:
            if ask.id is None:
                return told()
            return idempotent(request, project_id=project_id, route="id of a job event", fn=told, key=ask.id)

        return idempotent(
            request, project_id=project_id, route="POST /api/v1/job-events", fn=lambda: retry_transient(once)
        )

    def get_example(self, request: ApiRequest) -> Any:
        """A payment."""
        return ReportEvent.model_config["json_schema_extra"]["example"]  # type: ignore[index]


class EventStreamView(StreamView):
    """The events of the project as they come, as Server-Sent Events."""

    name = "Stream of events"
    scopes = {"GET": "events:read"}
    filters = frozenset({"type", "last_event_id"})

    @extend_schema(
        operation_id="events_stream",
        parameters=[
            OpenApiParameter("type", OpenApiTypes.STR, description="Only types that begin so: `job.`, `job.failed`."),
            *STREAM_PARAMETERS,
        ],
        responses=STREAM_RESPONSES,
        description=(
            "The events of the project as they come, in the order of the log; with `Last-Event-ID` from there on."
            " `event:` is the type, `data:` the event as `GET events` shows it. Served by the process `live`."
        ),
    )
    def get(self, request: ApiRequest) -> StreamAnswer:
        """Follow the events of the project."""
        prefix = request.query_params.get("type") or ""
        if not begins_a_type(prefix):
            raise Problem(400, "unknown_event_type", "No type of events begins like this.")
        return self.answer(request, prefix=prefix, after=last_event_id(request))


def events_of(request: ApiRequest, subject_id: UUID) -> Response:
    """A page of the events about one subject of the caller's project, oldest first."""
    page = CursorPage(request, keys=("seq",), newest_first=False)
    scan = selectors.of_subject(
        request.caller.project_id,
        subject_id,
        after=page.after[0] if page.after else None,
        forward=not page.descending,
        limit=page.fetch,
    )
    rows = page.ordered(scan.rows)
    stopped_at = None if scan.stopped_at is None else (scan.rows[-1].seq,)
    return Response(page.answer(rows, key=lambda row: (row.seq,), show=show_event, stopped_at=stopped_at))
