"""Problems as responses: Django REST framework's exception handler, and Django's handlers of 400, 403, 404 and 500."""

from collections.abc import Mapping
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.views import defaults
from rest_framework.response import Response

from jobplatform.api import problems
from jobplatform.api.encoding import dumps
from jobplatform.api.problems import CONTENT_TYPE, Problem

# Addresses of programs: their errors are problem+json whoever asks. The rest is for people: Django's own pages.
_FOR_PROGRAMS = ("/api", "/healthz", "/readyz", "/metrics")


class ProblemResponse(Response):
    """A problem, as `application/problem+json` for programs and as a page of the browsable API for people."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.body(), status=problem.status, headers=dict(problem.headers))

    @property
    def rendered_content(self) -> bytes:  # type: ignore[override] # Django REST framework answers in bytes as well
        """The bytes of the body; sets the type that goes with them."""
        if getattr(self.accepted_renderer, "format", "") == "api":
            return cast("bytes", super().rendered_content)
        self["Content-Type"] = CONTENT_TYPE
        return dumps(self.data)


def exception_handler(exc: Exception, _context: Mapping[str, Any]) -> Response | None:
    """What Django REST framework answers to an exception: a problem, or None for a fault of ours (a 500)."""
    problem = problems.of(exc)
    return None if problem is None else ProblemResponse(problem)


def plain(problem: Problem) -> HttpResponse:
    """A problem as a response outside of Django REST framework: for middleware and plain views."""
    response = HttpResponse(dumps(problem.body()), status=problem.status, content_type=CONTENT_TYPE)
    for name, value in problem.headers.items():
        response[name] = value
    return response


def is_for_programs(request: HttpRequest) -> bool:
    """Whether this address speaks JSON."""
    return request.path_info.startswith(_FOR_PROGRAMS)


def handler400(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django refuses a request: `handler400` of the root URLconf."""
    if is_for_programs(request):
        problem = problems.of(exception) if exception else None
        return plain(problem or Problem(400, "bad_request", "The request is malformed."))
    return defaults.bad_request(request, exception or Exception())


def handler403(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """Django forbids: `handler403` of the root URLconf."""
    if is_for_programs(request):
        return plain(Problem(403, "permission_denied", "This is not allowed."))
    return defaults.permission_denied(request, exception or Exception())


def handler404(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    """No route: `handler404` of the root URLconf."""
    if is_for_programs(request):
        detail = "There is nothing at this address."
        if request.path_info.endswith("/"):
            detail += " Addresses of the API do not end with a slash."
        return plain(Problem(404, "not_found", detail))
    return defaults.page_not_found(request, exception or Exception())


def handler500(request: HttpRequest) -> HttpResponse:
    """A fault of ours: `handler500` of the root URLconf. What happened is in the log, not in the answer."""
    if is_for_programs(request):
        return plain(
            Problem(500, "internal_error", "Something is broken here. It was logged; the request may be repeated.")
        )
    return defaults.server_error(request)
