"""Limits of a request before anything looks at it, and the headers that keep a browser from being used against us."""

import secrets
from collections.abc import Callable
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from jobplatform.api import problems, refusals
from jobplatform.api.problems import Problem

GetResponse = Callable[[HttpRequest], HttpResponseBase]

MOST_HEADERS = 100
LONGEST_COOKIE = 16 * 1024  # characters; other headers are bounded by the server
LONGEST_QUERY = 8 * 1024
LONGEST_PATH = 2 * 1024
MOST_PARAMETERS = 50
LONGEST_PARAMETER_NAME = 100


class RequestLimits:
    """Refuses a request that is out of proportion, or that holds what no database can store: first in MIDDLEWARE."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Refuse or pass on."""
        problem = excess_of(request)
        if problem is None:
            return self.get_response(request)
        if refusals.is_for_programs(request):
            return refusals.plain(problem)
        return HttpResponse(problem.body()["detail"], status=problem.status, content_type="text/plain")

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponseBase | None:
        """Answer for a plain view (health, metrics) whose database is away, as the API's own views do."""
        if not refusals.is_for_programs(request):
            return None
        problem = problems.of(exception)
        return None if problem is None else refusals.plain(problem)


class PastBrowsers:
    """Lets a program pass by the middleware that is there for browsers, which follows on this one.

    A program is who asks an API address with a key in the header. Passed by are Django's own middleware, WhiteNoise and
    `ContentSecurity`, as far as they follow without another one between: sessions, tokens against forgery and messages
    would be a fifth of such a request.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._for_programs = _behind_what_is_for_browsers(get_response)

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """The short way or the long one."""
        if "HTTP_AUTHORIZATION" not in request.META or not refusals.is_for_programs(request):
            return self.get_response(request)
        response = self._for_programs(request)
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers.setdefault("Content-Security-Policy", _NOTHING)
        return response


def _behind_what_is_for_browsers(get_response: GetResponse) -> GetResponse:
    """The first step of the chain that is neither Django's own middleware, nor WhiteNoise, nor `ContentSecurity`."""
    step = get_response
    while True:
        # Django wraps each middleware into a function that turns exceptions into responses.
        middleware = getattr(step, "__wrapped__", None)
        ours = type(middleware) is ContentSecurity
        if not (ours or type(middleware).__module__.startswith(("django.", "whitenoise."))):
            return step
        behind = getattr(middleware, "get_response", None)
        if behind is None:
            return step
        step = behind


def excess_of(request: HttpRequest) -> Problem | None:
    """What about the request line and the headers is too much, if anything."""
    meta = request.META
    query = meta.get("QUERY_STRING", "")
    path = request.path_info
    if len(path) > LONGEST_PATH or len(query) > LONGEST_QUERY:
        return Problem(414, "uri_too_long", f"The path may have {LONGEST_PATH} characters, the query {LONGEST_QUERY}.")
    if "\0" in path or (query and ("%00" in query or "\0" in query)):
        return Problem(400, "nul_character", "The address holds the character U+0000.")
    if query and (problem := _excess_of_query(query)):
        return problem
    # META also holds what the server says and, with granian, its environment; most requests need no counting.
    if len(meta) > MOST_HEADERS and sum(name.startswith("HTTP_") for name in meta) > MOST_HEADERS:
        return Problem(431, "too_many_headers", f"A request may have {MOST_HEADERS} headers.")
    if len(meta.get("HTTP_COOKIE", "")) > LONGEST_COOKIE:
        return Problem(431, "header_too_long", f"Cookies may have {LONGEST_COOKIE} characters.")
    return None


def _excess_of_query(query: str) -> Problem | None:
    parameters = query.split("&")
    if len(parameters) > MOST_PARAMETERS:
        return Problem(400, "too_many_parameters", f"The query string may have {MOST_PARAMETERS} parameters.")
    if any(len(parameter.partition("=")[0]) > LONGEST_PARAMETER_NAME for parameter in parameters):
        return Problem(400, "parameter_name_too_long", "The query string has a parameter with an overlong name.")
    return None


# ------------------------------------------------------------------------------------------------ headers for browsers
_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
# Pages of the API are written by `browsable.py`: their one script and one style sheet carry the nonce.
_BROWSABLE = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
# The admin's theme runs on Alpine.js, which evaluates the expressions in its attributes ('unsafe-eval') and sets
# styles. Scripts still come from our own files alone: a text that somebody stored cannot become one.
_ADMIN = (
    "default-src 'self'; script-src 'self' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; object-src 'none'; form-action 'self'; frame-ancestors 'none'; "
    "base-uri 'none'"
)


class ContentSecurity:
    """Content-Security-Policy by kind of page. A response that brings its own keeps it.

    The other headers are Django's: SecurityMiddleware and XFrameOptionsMiddleware.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Pass on, then add the headers."""
        response = self.get_response(request)
        headers = response.headers
        if "Content-Security-Policy" not in headers:
            headers["Content-Security-Policy"] = self._policy(request, response)
        if "html" in headers.get("Content-Type", ""):
            headers.setdefault("Permissions-Policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()")
        return response

    def _policy(self, request: HttpRequest, response: HttpResponseBase) -> str:
        nonce = getattr(request, "_csp_nonce", None)
        if nonce is not None:
            return _BROWSABLE.format(nonce=nonce)
        return _ADMIN if "html" in response.headers.get("Content-Type", "") else _NOTHING


def csp_nonce(request: HttpRequest) -> str:
    """The nonce with which this request's page may run its own script and style."""
    nonce = getattr(request, "_csp_nonce", None)
    if nonce is None:
        nonce = secrets.token_urlsafe(16)
        cast("Any", request)._csp_nonce = nonce  # noqa: SLF001 - read back by ContentSecurity above
    return str(nonce)
