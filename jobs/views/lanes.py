"""Lanes over HTTP: what stands first, why, and how many wait behind it."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import Problem
from jobplatform.api.query import query_text
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, page_of
from jobplatform.api.views import ApiRequest, ApiView
from jobs import selectors
from jobs.serializers.interventions import LaneShown, show_lane
from jobs.states import LIVE, Status

_LIVE = sorted(status.value for status in LIVE)


class LanesView(ApiView):
    """Lanes in which jobs have not ended, by name.

    Of each: the job that stands first and how it stands, and how many wait behind it since when.
    """

    name = "Lanes"
    scopes = {"GET": "jobs:read"}
    filters = frozenset({"lane", "status"})

    @extend_schema(
        operation_id="lanes_list",
        parameters=[
            OpenApiParameter("lane", OpenApiTypes.STR, description="Only this lane."),
            OpenApiParameter(
                "status", {"type": "string", "enum": _LIVE}, description="Only lanes whose first job stands so."
            ),
            *LIST_PARAMETERS,
        ],
        responses={200: page_of(LaneShown), **PROBLEMS},
        description=(
            "Lanes in which jobs have not ended, by name: the first job and how it stands, and how many wait behind it."
            f" A page looks at {selectors.SCAN_LANES:,} lanes at most: it may hold fewer than `limit`, or none, while"
            " `next` leads on."
        ),
    )
    def get(self, request: ApiRequest) -> Response:
        """List lanes."""
        status = query_text(request, "status")
        if status is not None and status not in _LIVE:
            raise Problem(400, "unknown_status", f"The first job of a lane is {', '.join(_LIVE)}.")
        page = CursorPage(request, keys=("lane",), newest_first=False)
        found = selectors.lanes(
            request.caller.project_id,
            lane=query_text(request, "lane"),
            status=Status(status) if status else None,
            after=page.after[0] if page.after else None,
            forward=not page.descending,
            limit=page.fetch,
        )
        stopped_at = None if found.stopped_at is None else (found.stopped_at,)
        rows = page.ordered(found.rows)
        return Response(page.answer(rows, key=lambda row: (row.lane,), show=show_lane, stopped_at=stopped_at))
