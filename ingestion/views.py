"""Messages over HTTP: parse, call, answer. The project is that of the caller's credential."""

import hashlib
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.response import Response

from ingestion import gateway, selectors, services
from ingestion.errors import (
    CompanyOfAnotherProject,
    IngestionError,
    MessageConflict,
    MessageNotFound,
    NotStored,
    ObjectMissing,
    StorageUnavailable,
)
from ingestion.selectors import MOST_SCANNED, MessageFilter
from ingestion.serializers import LARGEST_BODY, LARGEST_DATA, MessageShown, PostMessage, show_message
from ingestion.states import MessageStatus
from jobplatform.api.connections import away
from jobplatform.api.database import retry_transient
from jobplatform.api.idempotency import idempotent
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import FieldError, Problem, answer_with
from jobplatform.api.query import query_text, query_time, query_uuid
from jobplatform.api.schema import LIST_PARAMETERS, PROBLEMS, IdempotencyHeader, page_of
from jobplatform.api.views import ApiRequest, ApiView


def _away(_: IngestionError) -> Problem:
    sentence = "The original cannot be read from object storage just now. The message itself is safe; try again."
    return Problem(503, StorageUnavailable.code, sentence, headers={"Retry-After": "5"})


answer_with(
    {
        MessageNotFound: 404,
        MessageConflict: 409,
        CompanyOfAnotherProject: 409,
        NotStored: 404,
        StorageUnavailable: _away,
        ObjectMissing: _away,  # the schedule `message.reconcile` writes it again
    }
)

# JSON that is well-formed but holds what cannot be kept: the message does not fit, like any other that does not.
_UNFIT = frozenset({"nul_character", "lone_surrogate"})

_FILTERS = [
    OpenApiParameter("company_id", OpenApiTypes.UUID, description="Only messages of this company."),
    OpenApiParameter("status", {"type": "string", "enum": [s.value for s in MessageStatus]}, description="Only these."),
    OpenApiParameter("received_after", OpenApiTypes.DATETIME, description="Only messages received from this time on."),
    OpenApiParameter("received_before", OpenApiTypes.DATETIME, description="Only messages received before this time."),
    *LIST_PARAMETERS,
]

_LIST_DESCRIPTION = f"""The project's messages, newest first.

A page by status looks at {MOST_SCANNED:,} messages at most: where few of those that are not processed have the status
asked for, it may hold fewer messages than `limit`, or none, while `next` leads on. The list is at its end when `next`
is null.
"""

_POST_DESCRIPTION = f"""Hand in a message.

202: it is kept, byte for byte, and will be processed. 200: a message with this `message_id` and exactly this body was
received before, and this is it. 409 `message_conflict`: it was received before with another body.
409 `company_of_another_project`: a `company_id` belongs to the project that used it first, and this one is another's.

`data` may be any JSON object of up to {LARGEST_DATA:,} bytes (as compact JSON). What does not fit is refused with 422,
and nothing is kept.
"""

_EXAMPLE = {
    "metadata": {
        "message_time": "2026-11-22T06:00:00+01:00",
        "company_id": "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a",
        "message_id": "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0b",
    },
    "data": {"order_id": "A-1001", "order_time": "2026-11-22T05:59:58+01:00", "order_amount": 129.9},
}


class MessagesView(ApiView):
    """Messages of the project.

    GET lists them, newest first. POST hands one in.
    """

    name = "Messages"
    scopes = {"GET": "messages:read", "POST": "messages:write"}
    filters = frozenset({"company_id", "status", "received_after", "received_before"})
    # Beyond what a message may have, so that one that is too large is told so like any other that does not fit.
    max_body_bytes = 4 * LARGEST_BODY

    @extend_schema(
        operation_id="messages_list",
        parameters=_FILTERS,
        responses={200: page_of(MessageShown), **PROBLEMS},
        description=_LIST_DESCRIPTION,
    )
    def get(self, request: ApiRequest) -> Response:
        """List messages."""
        page = CursorPage(request)
        rows, stopped_at = selectors.messages(project_id=request.caller.project_id, page=page, only=_filter(request))
        return Response(page.answer(rows, key=lambda row: (row.id,), show=show_message, stopped_at=stopped_at))

    @extend_schema(
        operation_id="messages_create",
        parameters=[IdempotencyHeader],
        request=PostMessage,
        responses={202: MessageShown, 200: MessageShown, **PROBLEMS},
        description=_POST_DESCRIPTION,
    )
    def post(self, request: ApiRequest) -> Response:
        """Hand in a message."""
        ask = _message_of(request)
        project_id = request.caller.project_id

        def receive() -> Response:
            received = services.receive(
                project_id=project_id,
                company_id=ask.metadata.company_id,
                message_id=ask.metadata.message_id,
                message_time=ask.metadata.message_time,
                body=request.raw_body,
            )
            shown = show_message(received.message)
            status = 202 if received.created else 200
            return Response(shown, status=status, headers={"Location": shown["links"]["self"]})

        route = "POST /api/v1/messages"
        return idempotent(request, project_id=project_id, route=route, fn=lambda: retry_transient(receive))

    def get_example(self, request: ApiRequest) -> dict[str, object]:
        """A message that can be handed in."""
        return dict(_EXAMPLE)


def _message_of(request: ApiRequest) -> PostMessage:
    """The message in a request. Raises `Problem`: 400 if it is no JSON, 422 if it does not fit."""
    if len(request.raw_body) > LARGEST_BODY:
        sentence = f"The body has {len(request.raw_body)} bytes, more than {LARGEST_BODY}."
        raise Problem(422, "data_too_large", sentence, errors=[_error("/data", "data_too_large", sentence)])
    try:
        return request.body_as(PostMessage)
    except Problem as problem:
        if problem.code not in _UNFIT:
            raise
        raise Problem(422, problem.code, problem.detail, errors=[_error("", problem.code, problem.detail)]) from None


def _error(field: str, code: str, message: str) -> FieldError:
    return {"field": field, "code": code, "message": message}


def _filter(request: ApiRequest) -> MessageFilter:
    status = query_text(request, "status")
    if status and status not in list(MessageStatus):
        raise Problem(400, "unknown_status", f"A status is one of {', '.join(MessageStatus)}.")
    return MessageFilter(
        company_id=query_uuid(request, "company_id"),
        status=MessageStatus(status) if status else None,
        received_after=query_time(request, "received_after"),
        received_before=query_time(request, "received_before"),
    )


class MessageView(ApiView):
    """One message: what is known of it, and where it stands."""

    name = "Message"
    scopes = {"GET": "messages:read"}

    @extend_schema(operation_id="messages_get", responses={200: MessageShown, **PROBLEMS})
    def get(self, request: ApiRequest, id_: UUID) -> Response:
        """Show one message. Another tenant's is as unknown as none at all."""
        return Response(show_message(selectors.message(id_, project_id=request.caller.project_id)))


class OriginalView(ApiView):
    """The original of a message as it lies in object storage, byte for byte."""

    name = "Original"
    scopes = {"GET": "messages:read"}

    @extend_schema(
        operation_id="messages_original",
        responses={(200, "application/json"): OpenApiResponse(OpenApiTypes.BINARY, "The body as it came."), **PROBLEMS},
        description=(
            "Download the stored original, byte for byte as it was received. 404 `original_not_stored` while it is not"
            " in object storage yet. `ETag` is the SHA-256 of the bytes."
        ),
    )
    def get(self, request: ApiRequest, id_: UUID) -> HttpResponse:
        """Download the original."""
        message = selectors.message(id_, project_id=request.caller.project_id)
        if message.stored_at is None:
            raise NotStored
        with away():  # object storage may hang; nobody else need wait for it
            body = gateway.get(message.object_key)
        if hashlib.sha256(body).digest() != message.body_sha256:
            raise Problem(500, "original_corrupt", "The object in storage is no longer what was received.")
        return HttpResponse(
            body,
            content_type="application/json",
            headers={
                "Content-Disposition": f'attachment; filename="{message.message_id}.json"',
                "ETag": f'"{message.body_sha256.hex()}"',
            },
        )
