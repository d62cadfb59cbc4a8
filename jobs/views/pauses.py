"""Pauses over HTTP: of the caller's project."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from jobplatform.api.database import retry_transient
from jobplatform.api.idempotency import idempotent
from jobplatform.api.pages import CursorPage
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, IdempotencyHeader, page_of
from jobplatform.api.views import ApiRequest, ApiView
from jobs import pauses, selectors
from jobs.serializers.pauses import BeginPause, EndPause, PauseEnded, PauseShown, show_pause


class PausesView(ApiView):
    """Pauses of the project.

    GET lists those that hold. POST begins one: nothing of what it names starts any more. What runs, runs on; what comes
    in is accepted and waits.
    """

    name = "Pauses"
    scopes = {"GET": "jobs:read", "POST": "jobs:write"}

    @extend_schema(
        operation_id="pauses_list", parameters=LIST_PARAMETERS, responses={200: page_of(PauseShown), **PROBLEMS}
    )
    def get(self, request: ApiRequest) -> Response:
        """List pauses that hold."""
        page = CursorPage(request)
        rows = page.of(selectors.pauses(request.caller.project_id))
        return Response(page.answer(rows, key=lambda row: (row.id,), show=show_pause))

    @extend_schema(
        operation_id="pauses_create",
        parameters=[IdempotencyHeader],
        request=BeginPause,
        responses={201: PauseShown, **PROBLEMS},
    )
    def post(self, request: ApiRequest) -> Response:
        """Pause jobs of the project."""
        ask = request.body_as(BeginPause)
        caller = request.caller

        def begin() -> Response:
            row = pauses.pause(
                actor=caller.actor,
                reason=ask.reason,
                project_id=caller.project_id,
                kind=ask.kind,
                queue=ask.queue,
                until=ask.until,
                schedules=ask.schedules,
            )
            row.refresh_from_db()
            return Response(show_pause(row), status=201)

        return idempotent(
            request, project_id=caller.project_id, route="POST /api/v1/pauses", fn=lambda: retry_transient(begin)
        )

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A kind for which the provider is down."""
        return {"kind": "report.send", "reason": "The provider is down."}


class PauseEndView(ApiView):
    """End a pause. POST does it; what was held runs."""

    name = "End a pause"
    scopes = {"POST": "jobs:write"}

    @extend_schema(operation_id="pauses_end", request=EndPause, responses={200: PauseEnded, **PROBLEMS})
    def post(self, request: ApiRequest, pause_id: UUID) -> Response:
        """End a pause."""
        caller = request.caller
        selectors.pause(caller.project_id, pause_id)  # who may not see it, is told nothing of its body
        ask = request.body_as(EndPause, optional=True)
        retry_transient(
            lambda: pauses.resume(
                pause_id=pause_id, project_id=caller.project_id, actor=caller.actor, reason=ask.reason
            )
        )
        return Response({"id": pause_id})

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason."""
        return {"reason": "The provider is up again."}
