"""Addresses that stream. A view says who may follow what, and from where; the process `live` then sends it.

Every other process answers the same request with 421 and says where the streams are.
"""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from events import selectors
from events.selectors import Place
from events.serializers import place_of
from jobplatform.api.problems import CONTENT_TYPE, Problem
from jobplatform.api.refusals import plain
from jobplatform.api.renderers import JSONRenderer
from jobplatform.api.schema import PROBLEMS, ProblemShown
from jobplatform.api.views import ApiRequest, ApiView, Caller

EVENT_STREAM = "text/event-stream"

_RENDERER = JSONRenderer()
_ID = {"type": "string", "pattern": "^(0|[0-9]{1,18}-[0-9]{1,18})$"}
_CURSOR = "Go on behind the event with this id (`0`: from the start of the log). Nothing is lost, nothing comes twice."

STREAM_PARAMETERS = [
    OpenApiParameter("Last-Event-ID", _ID, OpenApiParameter.HEADER, description=_CURSOR),
    OpenApiParameter("last_event_id", _ID, description="The same, for who cannot set a header."),
]


def _problem(description: str) -> OpenApiResponse:
    return OpenApiResponse(ProblemShown, description)


STREAM_RESPONSES = {
    (200, EVENT_STREAM): OpenApiResponse(str, "Server-Sent Events: see docs/live.md."),
    **PROBLEMS,
    (410, CONTENT_TYPE): _problem("The log no longer has the event of that id (`cursor_too_old`)."),
    (421, CONTENT_TYPE): _problem("This process does not stream; `Link` says which one does (`live_elsewhere`)."),
    (429, CONTENT_TYPE): _problem("The project has too many streams open (`too_many_streams_of_project`)."),
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be streamed, and to whom. `after`: behind which place of the log; None: from now on."""

    project_id: UUID
    scope: str
    key_id: str  # empty for a person
    subject_id: UUID | None = None
    prefix: str = ""
    after: Place | None = None
    seen: int = 0  # the `seq` of the subject's last event up to there


class StreamAnswer(HttpResponse):
    """What is `wanted`, for the process that streams. By itself it says that this process does not."""

    def __init__(self, wanted: Wanted, address: str) -> None:
        problem = Problem(421, "live_elsewhere", "Streams come from another process: see docs/live.md.")
        refusal = plain(problem)
        super().__init__(refusal.content, status=refusal.status_code, content_type=CONTENT_TYPE)
        if settings.LIVE_URL:
            self["Link"] = f'<{settings.LIVE_URL}{address}>; rel="alternate"; type="{EVENT_STREAM}"'
        self.wanted = wanted


class StreamView(ApiView):
    """Base of the addresses that stream."""

    filters = frozenset({"last_event_id"})

    def perform_content_negotiation(self, request: Request, force: bool = False) -> tuple[BaseRenderer, str]:  # noqa: FBT001, FBT002 - DRF's signature
        """Problems are JSON, whatever a client of streams says that it accepts."""
        return _RENDERER, "application/json"

    def answer(self, request: ApiRequest, **wanted: Any) -> StreamAnswer:
        """What the view's caller wants."""
        caller: Caller = request.caller
        ticket = Wanted(caller.project_id, self.scopes["GET"], caller.key_id, **wanted)
        return StreamAnswer(ticket, request._request.path)  # noqa: SLF001 - Django REST framework has no other name


def last_event_id(request: ApiRequest) -> Place | None:
    """From where on: the header, which a browser sets when it comes back, or the parameter. None if neither is given.

    Raises `Problem` 400 `invalid_last_event_id`, 410 `cursor_too_old`.
    """
    text = request.META.get("HTTP_LAST_EVENT_ID") or request.query_params.get("last_event_id")
    if not text:
        return None
    place = place_of(text)
    if place is None:
        raise Problem(400, "invalid_last_event_id", "Last-Event-ID is the id of an event, or 0 for the start.")
    if not selectors.holds(place):
        detail = "The log no longer has this event. Read what you missed from GET events, then follow without an id."
        raise Problem(410, "cursor_too_old", detail)
    return place
