"""Limits over HTTP: what of each key of the project is in use."""

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from jobplatform.api.pages import CursorPage
from jobplatform.api.query import query_text
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, page_of
from jobplatform.api.views import ApiRequest, ApiView
from jobs import selectors
from jobs.serializers.limits import LimitShown, show_limit


class LimitsView(ApiView):
    """Keys of limits that jobs of the project have used, by name and key: what is in use, and whether one is closed."""

    name = "Limits"
    scopes = {"GET": "jobs:read"}
    filters = frozenset({"name"})

    @extend_schema(
        operation_id="limits_list",
        parameters=[OpenApiParameter("name", OpenApiTypes.STR, description="Only this limit."), *LIST_PARAMETERS],
        responses={200: page_of(LimitShown), **PROBLEMS},
    )
    def get(self, request: ApiRequest) -> Response:
        """List keys of limits."""
        page = CursorPage(request, keys=("name", "key"), newest_first=False)
        rows = page.of(selectors.limits(request.caller.project_id, query_text(request, "name")))
        return Response(page.answer(rows, key=lambda row: (row.name, row.key), show=show_limit))
