"""Acts on many jobs over HTTP."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from jobplatform.api.database import retry_transient
from jobplatform.api.idempotency import idempotent
from jobplatform.api.pages import CursorPage
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, IdempotencyHeader, page_of
from jobplatform.api.views import ApiRequest, ApiView
from jobs import bulk, selectors
from jobs.serializers.bulk import AbortBulkAct, BeginBulkAct, BulkActShown, BulkCounted, show_bulk_act


class BulkActsView(ApiView):
    """Acts on many jobs of the project: cancel, retry or set the priority of all that a filter names.

    POST stores the act and answers at once; the platform does it slice by slice, and GET of its address says how far it
    is. Jobs that are created after it are none of its business.
    """

    name = "Acts on many jobs"
    scopes = {"GET": "jobs:read", "POST": "jobs:write"}

    @extend_schema(
        operation_id="bulk_list", parameters=LIST_PARAMETERS, responses={200: page_of(BulkActShown), **PROBLEMS}
    )
    def get(self, request: ApiRequest) -> Response:
        """List acts."""
        page = CursorPage(request)
        rows = page.of(selectors.bulk_acts(request.caller.project_id))
        return Response(page.answer(rows, key=lambda row: (row.id,), show=show_bulk_act))

    @extend_schema(
        operation_id="bulk_create",
        parameters=[IdempotencyHeader],
        request=BeginBulkAct,
        responses={200: BulkCounted, 202: BulkActShown, **PROBLEMS},
        description="202: the act is stored and will be done. 200: a dry run, which only counts.",
    )
    def post(self, request: ApiRequest) -> Response:
        """Begin an act, or count what it would look at."""
        ask = request.body_as(BeginBulkAct)
        caller, stored = request.caller, ask.filter.stored()
        bulk.check(ask.verb, stored, ask.priority)
        if ask.dry_run:
            found = bulk.count(caller.project_id, ask.verb, stored)
            return Response({"matched": found.matched, "more": found.more})

        def begin() -> Response:
            act = bulk.begin(
                project_id=caller.project_id, verb=ask.verb, stored=stored, actor=caller.actor, reason=ask.reason,
                priority=ask.priority,
            )  # fmt: skip
            act.refresh_from_db()
            shown = show_bulk_act(act)
            return Response(shown, status=202, headers={"Location": shown["links"]["self"]})

        return idempotent(
            request, project_id=caller.project_id, route="POST /api/v1/jobs/bulk", fn=lambda: retry_transient(begin)
        )

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """Retry the dead letters of a kind."""
        return {
            "verb": "retry",
            "filter": {"status": "failed", "kind": "report.send"},
            "reason": "The provider is up again.",
        }


class BulkActView(ApiView):
    """One act on many jobs, and how far it is."""

    name = "Act on many jobs"
    scopes = {"GET": "jobs:read"}

    @extend_schema(operation_id="bulk_get", responses={200: BulkActShown, **PROBLEMS})
    def get(self, request: ApiRequest, act_id: UUID) -> Response:
        """Show an act."""
        return Response(show_bulk_act(bulk.get(request.caller.project_id, act_id)))


class BulkActAbortView(ApiView):
    """Stop an act. What it has done stays done."""

    name = "Stop an act on many jobs"
    scopes = {"POST": "jobs:write"}

    @extend_schema(operation_id="bulk_abort", request=AbortBulkAct, responses={200: BulkActShown, **PROBLEMS})
    def post(self, request: ApiRequest, act_id: UUID) -> Response:
        """Stop an act."""
        caller = request.caller
        bulk.get(caller.project_id, act_id)  # who may not see it, is told nothing of its body
        ask = request.body_as(AbortBulkAct, optional=True)
        act = retry_transient(
            lambda: bulk.abort(
                project_id=caller.project_id, act_id=act_id, actor=caller.actor, reason=ask.reason or "requested"
            )
        )
        return Response(show_bulk_act(act))

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason."""
        return {"reason": "The filter was too wide."}
