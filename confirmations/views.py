"""Confirmations, proofs and signers over HTTP. Confirmations are those of the caller's project."""

from typing import Any
from uuid import UUID

from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response

from confirmations import selectors
from confirmations.errors import ConfirmationNotFound, SignerNotFound
from confirmations.models import Confirmation, Signer
from confirmations.serializers import (
    ConfirmationShown,
    DutyAsk,
    ProofShown,
    SignerShown,
    show_confirmation,
    show_proof,
    show_signer,
)
from confirmations.services import deciding
from confirmations.states import Duty, Mode, Standing
from events import audit
from jobplatform.api.database import retry_transient
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import Problem, answer_with
from jobplatform.api.query import query_text
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, page_of
from jobplatform.api.views import ApiRequest, ApiView

answer_with({ConfirmationNotFound: 404, SignerNotFound: 404})


class ConfirmationsView(ApiView):
    """Confirmations of the project's jobs, newest first."""

    name = "Confirmations"
    scopes = {"GET": "confirmations:read"}
    filters = frozenset({"standing", "mode"})

    @extend_schema(
        operation_id="confirmations_list",
        parameters=[
            OpenApiParameter("standing", {"type": "string", "enum": list(Standing)}, description="Only these."),
            OpenApiParameter("mode", {"type": "string", "enum": list(Mode)}, description="Only these."),
            *LIST_PARAMETERS,
        ],
        responses={200: page_of(ConfirmationShown), **PROBLEMS},
    )
    def get(self, request: ApiRequest) -> Response:
        """List confirmations."""
        rows = Confirmation.objects.select_related("contract", "signer", "transaction").filter(
            project_id=request.caller.project_id
        )
        for name, known in (("standing", list(Standing)), ("mode", list(Mode))):
            if (text := query_text(request, name)) is not None:
                if text not in known:
                    raise Problem(400, f"unknown_{name}", f"A {name} is one of {', '.join(known)}.")
                rows = rows.filter(**{name: text})
        page = CursorPage(request)
        return Response(page.answer(page.of(rows), key=lambda row: (row.id,), show=show_confirmation))


class ConfirmationView(ApiView):
    """How the result of one job stands on chain; it has the id of its job."""

    name = "Confirmation"
    scopes = {"GET": "confirmations:read"}

    @extend_schema(operation_id="confirmations_get", responses={200: ConfirmationShown, **PROBLEMS})
    def get(self, request: ApiRequest, job_id: UUID) -> Response:
        """Show one confirmation, with the attempts at its transaction."""
        row = selectors.confirmation(request.caller.project_id, job_id)
        attempts = [] if row.transaction is None else selectors.attempts(row.transaction.id)
        return Response(show_confirmation(row, attempts))


class ProofView(ApiView):
    """What proves to a third party that a job came to this result."""

    name = "Proof"
    scopes = {"GET": "confirmations:read"}

    @extend_schema(operation_id="jobs_proof", responses={200: ProofShown, **PROBLEMS})
    def get(self, request: ApiRequest, job_id: UUID) -> Response:
        """Show the proof of a job. `manage.py verify_proof` and docs/verify_proof.py check it against a node."""
        return Response(show_proof(selectors.proof(request.caller.project_id, job_id)))


class SignersView(ApiView):
    """The platform's signers. Only operators' keys have the scope."""

    name = "Signers"
    scopes = {"GET": "signers:read"}

    @extend_schema(
        operation_id="signers_list",
        parameters=LIST_PARAMETERS,
        responses={200: page_of(SignerShown), **PROBLEMS},
    )
    def get(self, request: ApiRequest) -> Response:
        """List signers."""
        page = CursorPage(request)
        rows = list(page.of(Signer.objects.all()))
        opened = selectors.open_nonces([row.id for row in rows])
        return Response(
            page.answer(
                rows, key=lambda row: (row.id,), show=lambda row: show_signer(row, *opened.get(row.id, (0, None)))
            )
        )


class SignerView(ApiView):
    """One signer: its nonces and its balance."""

    name = "Signer"
    scopes = {"GET": "signers:read"}

    @extend_schema(operation_id="signers_get", responses={200: SignerShown, **PROBLEMS})
    def get(self, request: ApiRequest, signer_id: UUID) -> Response:
        """Show one signer."""
        return Response(_shown(signer_id))


class _DutyView(ApiView):
    scopes = {"POST": "signers:write"}
    duty: Duty
    action: str

    def post(self, request: ApiRequest, signer_id: UUID) -> Response:
        """Change the duty of a signer, and record who did it and why."""
        ask = request.body_as(DutyAsk)
        actor = request.caller.actor

        def change() -> None:
            with transaction.atomic():
                if not Signer.objects.filter(id=signer_id).exists():
                    raise SignerNotFound
                if self.duty == Duty.ACTIVE and deciding.decide_for_signer(signer_id, actor, ask.reason):
                    return
                deciding.set_duty(signer_id, self.duty, ask.reason)
                audit.record(
                    action=self.action, actor=actor, subject_type="signer", subject_id=signer_id, reason=ask.reason
                )

        retry_transient(change)
        return Response(_shown(signer_id))

    def get_example(self, request: ApiRequest) -> dict[str, Any]:
        """A reason."""
        return {"reason": "Its key is being replaced."}


class PauseSignerView(_DutyView):
    """Have a signer sign nothing. What it has sent is watched on; what comes waits."""

    name = "Pause"
    duty, action = Duty.PAUSED, "signer.pause"

    @extend_schema(operation_id="signers_pause", request=DutyAsk, responses={200: SignerShown, **PROBLEMS})
    def post(self, request: ApiRequest, signer_id: UUID) -> Response:
        """Pause a signer."""
        return super().post(request, signer_id)


class ResumeSignerView(_DutyView):
    """Have a signer sign again."""

    name = "Resume"
    duty, action = Duty.ACTIVE, "signer.resume"

    @extend_schema(operation_id="signers_resume", request=DutyAsk, responses={200: SignerShown, **PROBLEMS})
    def post(self, request: ApiRequest, signer_id: UUID) -> Response:
        """Resume a signer."""
        return super().post(request, signer_id)


def _shown(signer_id: UUID) -> dict[str, Any]:
    row = Signer.objects.filter(id=signer_id).first()
    if row is None:
        raise SignerNotFound
    return show_signer(row, *selectors.open_nonces([row.id]).get(row.id, (0, None)))
