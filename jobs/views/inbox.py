"""The inbox of interventions over HTTP: whose each is, what is said about it, and the second person's word."""

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.response import Response

from jobplatform.api.database import retry_transient
from jobplatform.api.pages import CursorPage
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, page_of
from jobplatform.api.views import ApiRequest, ApiView
from jobs import inbox, interventions
from jobs.models import Intervention
from jobs.serializers.interventions import (
    AnswerProposal,
    AssignIntervention,
    CommentIntervention,
    CommentShown,
    InterventionShown,
    show_comment,
    show_intervention,
)


class InterventionAssignView(ApiView):
    """Say who looks after an intervention. POST does it; an empty name says nobody."""

    name = "Assign an intervention"
    scopes = {"POST": "interventions:write"}

    @extend_schema(
        operation_id="interventions_assign",
        request=AssignIntervention,
        responses={200: InterventionShown, **PROBLEMS},
    )
    def post(self, request: ApiRequest, intervention_id: UUID) -> Response:
        """Assign it."""
        caller = request.caller
        row = interventions.get(caller.project_id, intervention_id)
        ask = request.body_as(AssignIntervention)
        return Response(show_intervention(retry_transient(lambda: inbox.assign(row, ask.to, actor=caller.actor))))

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A person."""
        return {"to": "ada"}


class InterventionCommentsView(ApiView):
    """What people say about an intervention. POST adds to it."""

    name = "Comments"
    scopes = {"GET": "interventions:read", "POST": "interventions:write"}

    @extend_schema(
        operation_id="interventions_comments",
        parameters=LIST_PARAMETERS,
        responses={200: page_of(CommentShown), **PROBLEMS},
    )
    def get(self, request: ApiRequest, intervention_id: UUID) -> Response:
        """List comments."""
        row = interventions.get(request.caller.project_id, intervention_id)
        page = CursorPage(request)
        return Response(page.answer(page.of(inbox.comments(row)), key=lambda one: (one.id,), show=show_comment))

    @extend_schema(
        operation_id="interventions_comment",
        request=CommentIntervention,
        responses={201: CommentShown, **PROBLEMS},
    )
    def post(self, request: ApiRequest, intervention_id: UUID) -> Response:
        """Say something about it."""
        caller = request.caller
        row = interventions.get(caller.project_id, intervention_id)
        ask = request.body_as(CommentIntervention)
        made = inbox.comment(row, ask.text, actor=caller.actor)
        made.refresh_from_db()
        return Response(show_comment(made), status=201)

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A comment."""
        return {"text": "The provider says it was charged."}


class InterventionApproveView(ApiView):
    """Approve a proposed decision, as another one than who proposed it. POST does it, and what was proposed."""

    name = "Approve a decision"
    scopes = {"POST": "interventions:write"}

    @extend_schema(
        operation_id="interventions_approve", request=AnswerProposal, responses={200: InterventionShown, **PROBLEMS}
    )
    def post(self, request: ApiRequest, intervention_id: UUID) -> Response:
        """Approve it."""
        caller = request.caller
        interventions.get(caller.project_id, intervention_id)
        ask = request.body_as(AnswerProposal)

        def approve() -> Intervention:
            row = interventions.get(caller.project_id, intervention_id)
            return inbox.approve(row, str(ask.proposal), actor=caller.actor, reason=ask.reason)

        return Response(show_intervention(retry_transient(approve)))


class InterventionDeclineView(ApiView):
    """Decline a proposed decision, or take it back. POST does it; the intervention stays open."""

    name = "Decline a decision"
    scopes = {"POST": "interventions:write"}

    @extend_schema(
        operation_id="interventions_decline", request=AnswerProposal, responses={200: InterventionShown, **PROBLEMS}
    )
    def post(self, request: ApiRequest, intervention_id: UUID) -> Response:
        """Decline it."""
        caller = request.caller
        row = interventions.get(caller.project_id, intervention_id)
        ask = request.body_as(AnswerProposal)
        done = retry_transient(lambda: inbox.decline(row, str(ask.proposal), actor=caller.actor, reason=ask.reason))
        return Response(show_intervention(done))
