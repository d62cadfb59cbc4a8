"""The log over HTTP."""

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from events import selectors
from events.selectors import SCAN_ROWS, EventFilter, Place
from events.serializers import EventShown, place_of, show_event
from events.topics import EVENT_TYPES
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import Problem
from jobplatform.api.query import query_time, query_uuid
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, page_of
from jobplatform.api.views import ApiRequest, ApiView

_PARAMETERS = [
    OpenApiParameter("type", OpenApiTypes.STR, enum=sorted(EVENT_TYPES), description="Only events of this type."),
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
    if name and name not in EVENT_TYPES:
        raise Problem(400, "unknown_event_type", "There is no event of this type.")
    return name or None


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
