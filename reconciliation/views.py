"""Dead letters by cause, and reconciliations, over HTTP."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from jobplatform.api.database import retry_transient
from jobplatform.api.idempotency import idempotent
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import Problem, answer_with
from jobplatform.api.query import query_text
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, IdempotencyHeader, page_of
from jobplatform.api.views import ApiRequest, ApiView
from reconciliation import evidence, selectors
from reconciliation.errors import CauseNotFound, InvalidPlan, PlanNotFound, WrongPlanStatus
from reconciliation.models import Redrive
from reconciliation.serializers import (
    STATES,
    STATUSES,
    ActOnReconciliation,
    BeginReconciliation,
    CauseShown,
    EvidenceShown,
    ReconciledJob,
    ReconciliationForeseen,
    ReconciliationShown,
    show_cause,
    show_foreseen,
    show_reconciliation,
    show_row,
)
from reconciliation.services import plans
from reconciliation.services.plans import By

answer_with({PlanNotFound: 404, CauseNotFound: 404, WrongPlanStatus: 409, InvalidPlan: 422})


class DeadLettersView(ApiView):
    """Why jobs of the project stand failed or rejected: by cause, the latest first.

    Errors that differ only in ids, numbers and addresses are one cause.
    """

    name = "Dead letters"
    scopes = {"GET": "reconciliation:read"}

    @extend_schema(
        operation_id="dead_letters_list", parameters=LIST_PARAMETERS, responses={200: page_of(CauseShown), **PROBLEMS}
    )
    def get(self, request: ApiRequest) -> Response:
        """List causes."""
        page = CursorPage(request, keys=("last_at", "fingerprint"))
        after = None if page.after is None else (page.after[0], page.after[1])
        found = selectors.causes(request.caller.project_id, after=after, descending=page.descending, limit=page.fetch)
        rows = page.ordered(found)
        return Response(page.answer(rows, key=lambda row: (row.last_at, row.fingerprint), show=show_cause))


class DeadLetterView(ApiView):
    """One cause of dead letters."""

    name = "Cause"
    scopes = {"GET": "reconciliation:read"}

    @extend_schema(operation_id="dead_letters_get", responses={200: CauseShown, **PROBLEMS})
    def get(self, request: ApiRequest, fingerprint: str) -> Response:
        """Show a cause."""
        return Response(show_cause(selectors.cause(request.caller.project_id, fingerprint)))


class EvidenceView(ApiView):
    """All that is known of one job, in one download: what it was, what happened to it, and who did what.

    Its attempts and events, how its result stands on chain with the proof, what a person was asked and decided, the
    reconciliations that it was in, and the acts by hand with the seals of the audit record.
    """

    name = "Evidence"
    scopes = {"GET": "reconciliation:read"}

    @extend_schema(operation_id="jobs_evidence", responses={200: EvidenceShown, **PROBLEMS})
    def get(self, request: ApiRequest, job_id: UUID) -> Response:
        """Download the evidence about a job."""
        found = evidence.of(request.caller.project_id, job_id)
        return Response(found, headers={"Content-Disposition": f'attachment; filename="job-{job_id}.json"'})


class ReconciliationsView(ApiView):
    """Reconciliations of the project: dead letters that are queued once more, as a plan that is stored says.

    POST stores the plan and answers at once. What it is for is written down then; the platform queues it slice by
    slice, at its pace, a canary first, and stops by itself when too many fail again. GET of its address reports.
    """

    name = "Reconciliations"
    scopes = {"GET": "reconciliation:read", "POST": "reconciliation:write"}
    filters = frozenset({"status"})

    @extend_schema(
        operation_id="reconciliations_list",
        parameters=[
            OpenApiParameter("status", {"type": "string", "enum": list(STATUSES)}, description="Only these."),
            *LIST_PARAMETERS,
        ],
        responses={200: page_of(ReconciliationShown), **PROBLEMS},
    )
    def get(self, request: ApiRequest) -> Response:
        """List reconciliations."""
        rows = selectors.redrives(request.caller.project_id)
        if (status := query_text(request, "status")) is not None:
            if status not in STATUSES:
                raise Problem(400, "unknown_status", f"A status is one of {', '.join(STATUSES)}.")
            rows = rows.filter(status=status)
        page = CursorPage(request)
        return Response(page.answer(page.of(rows), key=lambda row: (row.id,), show=show_reconciliation))

    @extend_schema(
        operation_id="reconciliations_create",
        parameters=[IdempotencyHeader],
        request=BeginReconciliation,
        responses={200: ReconciliationForeseen, 202: ReconciliationShown, **PROBLEMS},
        description="202: the plan is stored and will be done. 200: a dry run, which only looks.",
    )
    def post(self, request: ApiRequest) -> Response:
        """Begin a reconciliation, or look at what it would be for."""
        ask = request.body_as(BeginReconciliation)
        caller, plan = request.caller, ask.plan()
        plans.check(plan)
        if ask.dry_run:
            return Response(show_foreseen(selectors.foresee(caller.project_id, plan.filter)))

        def begin() -> Response:
            row = plans.begin(
                project_id=caller.project_id, plan=plan, actor=caller.actor, reason=ask.reason or "requested"
            )
            shown = show_reconciliation(row)
            return Response(shown, status=202, headers={"Location": shown["links"]["self"]})

        return idempotent(
            request,
            project_id=caller.project_id,
            route="POST /api/v1/reconciliations",
            fn=lambda: retry_transient(begin),
        )

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """What passes by itself, carefully."""
        return {
            "errors_allowed_to_retry": ["connection_error"],
            "canary": 20,
            "stop_above": 10,
            "reason": "The provider is up again.",
            "dry_run": True,
        }


class ReconciliationView(ApiView):
    """One reconciliation and its report."""

    name = "Reconciliation"
    scopes = {"GET": "reconciliation:read"}

    @extend_schema(operation_id="reconciliations_get", responses={200: ReconciliationShown, **PROBLEMS})
    def get(self, request: ApiRequest, redrive_id: UUID) -> Response:
        """Show a reconciliation."""
        return Response(show_reconciliation(selectors.redrive(request.caller.project_id, redrive_id)))


class ReconciledJobsView(ApiView):
    """The jobs of a reconciliation, and what came of each."""

    name = "Jobs of a reconciliation"
    scopes = {"GET": "reconciliation:read"}
    filters = frozenset({"state"})

    @extend_schema(
        operation_id="reconciliations_jobs",
        parameters=[
            OpenApiParameter("state", {"type": "string", "enum": list(STATES)}, description="Only these."),
            *LIST_PARAMETERS,
        ],
        responses={200: page_of(ReconciledJob), **PROBLEMS},
    )
    def get(self, request: ApiRequest, redrive_id: UUID) -> Response:
        """List its jobs in the order in which they are queued."""
        row = selectors.redrive(request.caller.project_id, redrive_id)
        state = query_text(request, "state")
        if state is not None and state not in STATES:
            raise Problem(400, "unknown_state", f"A state is one of {', '.join(STATES)}.")
        page = CursorPage(request, keys=("number",), newest_first=False)
        found = page.of(selectors.rows(row.id, state))
        return Response(page.answer(found, key=lambda one: (one.number,), show=show_row))


class _ActView(ApiView):
    scopes = {"POST": "reconciliation:write"}
    act: Callable[[UUID, UUID | None, By], Redrive]

    def post(self, request: ApiRequest, redrive_id: UUID) -> Response:
        """Do it, and record who did it and why."""
        caller = request.caller
        selectors.redrive(caller.project_id, redrive_id)  # who may not see it, is told nothing of its body
        ask = request.body_as(ActOnReconciliation, optional=True)
        by = By(caller.actor, ask.reason or "requested")
        row = retry_transient(lambda: type(self).act(redrive_id, caller.project_id, by))
        return Response(show_reconciliation(row))

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason."""
        return {"reason": "The provider is up again."}


class StartView(_ActView):
    """Start a reconciliation that is ready, paused or stopped. What failed again before counts no more."""

    name = "Start a reconciliation"
    act = staticmethod(plans.start)

    @extend_schema(
        operation_id="reconciliations_start",
        request=ActOnReconciliation,
        responses={200: ReconciliationShown, **PROBLEMS},
    )
    def post(self, request: ApiRequest, redrive_id: UUID) -> Response:
        """Start it."""
        return super().post(request, redrive_id)


class PauseView(_ActView):
    """Pause a reconciliation. The jobs that it has queued run all the same."""

    name = "Pause a reconciliation"
    act = staticmethod(plans.pause)

    @extend_schema(
        operation_id="reconciliations_pause",
        request=ActOnReconciliation,
        responses={200: ReconciliationShown, **PROBLEMS},
    )
    def post(self, request: ApiRequest, redrive_id: UUID) -> Response:
        """Pause it."""
        return super().post(request, redrive_id)


class AbortView(_ActView):
    """End a reconciliation. What it has queued stays queued; the others stay dead letters."""

    name = "Abort a reconciliation"
    act = staticmethod(plans.abort)

    @extend_schema(
        operation_id="reconciliations_abort",
        request=ActOnReconciliation,
        responses={200: ReconciliationShown, **PROBLEMS},
    )
    def post(self, request: ApiRequest, redrive_id: UUID) -> Response:
        """Abort it."""
        return super().post(request, redrive_id)
