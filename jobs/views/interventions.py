"""Interventions over HTTP: what only a person may decide."""

from typing import Any
from uuid import UUID

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from jobplatform.api.database import retry_transient
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import Problem
from jobplatform.api.query import query_text
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, page_of
from jobplatform.api.views import ApiRequest, ApiView
from jobs import inbox, interventions
from jobs.models import Intervention
from jobs.serializers.interventions import (
    InterventionShown,
    PreviewShown,
    ResolveIntervention,
    show_intervention,
)

STATES = ("open", "resolved")


class InterventionsView(ApiView):
    """What waits for a person's decision, and what was decided; newest first."""

    name = "Interventions"
    scopes = {"GET": "interventions:read"}
    filters = frozenset({"state", "subject_type", "subject_id", "assigned_to"})

    @extend_schema(
        operation_id="interventions_list",
        parameters=[
            OpenApiParameter("state", {"type": "string", "enum": list(STATES)}, description="Only these; else all."),
            OpenApiParameter("subject_type", OpenApiTypes.STR, description="Only about things of this type: `job`."),
            OpenApiParameter("subject_id", OpenApiTypes.STR, description="Only about this one."),
            OpenApiParameter("assigned_to", OpenApiTypes.STR, description="Only of this person; empty: of nobody."),
            *LIST_PARAMETERS,
        ],
        responses={200: page_of(InterventionShown), **PROBLEMS},
    )
    def get(self, request: ApiRequest) -> Response:
        """List interventions."""
        rows = Intervention.objects.filter(project_id=request.caller.project_id)
        state = query_text(request, "state")
        if state is not None and state not in STATES:
            raise Problem(400, "unknown_state", f"A state is one of {', '.join(STATES)}.")
        if state is not None:
            rows = rows.filter(resolved_at__isnull=state == "open")
        for name in ("subject_type", "subject_id", "assigned_to"):
            if (text := query_text(request, name)) is not None:
                rows = rows.filter(**{name: text})
        page = CursorPage(request)
        found = page.of(rows)
        seconds = interventions.wanting_second(found)

        def show(row: Intervention) -> dict[str, Any]:
            return show_intervention(row, second=row.id in seconds)

        return Response(page.answer(found, key=lambda row: (row.id,), show=show))


class InterventionView(ApiView):
    """One intervention: what is asked, what is known, what may be done."""

    name = "Intervention"
    scopes = {"GET": "interventions:read"}

    @extend_schema(operation_id="interventions_get", responses={200: InterventionShown, **PROBLEMS})
    def get(self, request: ApiRequest, intervention_id: UUID) -> Response:
        """Show one intervention."""
        return Response(show_intervention(interventions.get(request.caller.project_id, intervention_id)))


_EXAMPLE = {"action": "retry", "reason": "The provider is up again."}


class InterventionPreviewView(ApiView):
    """What an action would do. POST shows it; nothing is changed."""

    name = "Preview of a decision"
    scopes = {"POST": "interventions:read"}

    @extend_schema(
        operation_id="interventions_preview", request=ResolveIntervention, responses={200: PreviewShown, **PROBLEMS}
    )
    def post(self, request: ApiRequest, intervention_id: UUID) -> Response:
        """Show what an action would do."""
        intervention = interventions.get(request.caller.project_id, intervention_id)
        ask = request.body_as(ResolveIntervention)
        shown = interventions.preview(intervention, ask.decision(request.caller.actor))
        return Response({"action": ask.action, **shown})

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """An action."""
        return _EXAMPLE


class InterventionResolveView(ApiView):
    """Decide. POST takes an action, with the reason for it; of several who decide at once, one does.

    Where a second person is wanted (`needs_second_person`), the decision is stored as a proposal (202), and done when
    somebody else approves it.
    """

    name = "Decide"
    scopes = {"POST": "interventions:write"}

    @extend_schema(
        operation_id="interventions_resolve",
        request=ResolveIntervention,
        responses={200: InterventionShown, 202: InterventionShown, **PROBLEMS},
    )
    def post(self, request: ApiRequest, intervention_id: UUID) -> Response:
        """Take an action. It is recorded with the reason and who decided."""
        caller = request.caller
        interventions.get(caller.project_id, intervention_id)  # who may not see it, is told nothing of its body
        ask = request.body_as(ResolveIntervention)

        def resolve() -> tuple[Intervention, int]:
            intervention = interventions.get(caller.project_id, intervention_id)
            decision = ask.decision(caller.actor)
            if interventions.wants_second(intervention):
                return inbox.propose(intervention, decision), 202
            return interventions.resolve(intervention, decision), 200

        row, status = retry_transient(resolve)
        return Response(show_intervention(row), status=status)

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """An action and its reason."""
        return _EXAMPLE
