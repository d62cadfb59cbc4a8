"""Limits of a request line and its headers (S16), and the policies for browsers (S15)."""

import re
from typing import Any, ClassVar

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.exception import convert_exception_to_response
from django.http import Http404, HttpRequest, HttpResponse
from django.middleware.clickjacking import XFrameOptionsMiddleware
from django.middleware.security import SecurityMiddleware
from django.test import RequestFactory

from jobplatform.api import middleware
from jobplatform.api.middleware import ContentSecurity, PastBrowsers, RequestLimits, csp_nonce, excess_of


def request_to(path: str = "/api/v1/jobs", query: str = "", **headers: str) -> HttpRequest:
    return RequestFactory().generic("GET", path, QUERY_STRING=query, **headers)  # type: ignore[arg-type]


EXCESSES = {
    "long path": (request_to("/api/" + "a" * 3000), 414, "uri_too_long"),
    "long query": (request_to(query="a=" + "b" * 9000), 414, "uri_too_long"),
    "NUL in the path": (request_to("/api/v1/jobs/%00"), 400, "nul_character"),
    "NUL in a value": (request_to(query="a=%00"), 400, "nul_character"),
    "NUL in a name": (request_to(query="%00=a"), 400, "nul_character"),
    "51 parameters": (request_to(query="&".join(f"a{n}=1" for n in range(51))), 400, "too_many_parameters"),
    "long name": (request_to(query="a" * 101 + "=1"), 400, "parameter_name_too_long"),
    "101 headers": (request_to(**{f"HTTP_X_{n}": "a" for n in range(101)}), 431, "too_many_headers"),
    "long cookie": (request_to(HTTP_COOKIE="a=" + "b" * 17_000), 431, "header_too_long"),
}
PROPORTIONATE = {
    "plain": request_to(),
    "paging": request_to(query="limit=200&cursor=abc"),
    "50 parameters": request_to(query="&".join(f"a{n}=1" for n in range(50))),
    "90 headers": request_to(**{f"HTTP_X_{n}": "a" for n in range(90)}),
    "cookie of 16,000": request_to(HTTP_COOKIE="a" * 16_000),
    "other letters": request_to("/api/v1/ü"),
}


@pytest.mark.parametrize("name", EXCESSES)
def test_a_request_out_of_proportion_is_refused(name: str) -> None:
    request, status, code = EXCESSES[name]

    problem = excess_of(request)

    assert problem is not None
    assert (problem.status, problem.code) == (status, code)


@pytest.mark.parametrize("name", PROPORTIONATE)
def test_a_request_in_proportion_is_passed_on(name: str) -> None:
    assert excess_of(PROPORTIONATE[name]) is None


def test_an_api_address_answers_in_json_and_a_page_in_text() -> None:
    limits = RequestLimits(lambda _: HttpResponse("never"))

    program = limits(request_to(query="a=%00"))
    person = limits(request_to("/admin/", query="a=%00"))

    assert program.headers["Content-Type"] == "application/problem+json"
    assert person.headers["Content-Type"] == "text/plain"
    assert program.status_code == person.status_code == 400


# ------------------------------------------------------------------------------------------------ policies
def policy_of(response: HttpResponse, request: HttpRequest | None = None) -> str:
    return str(ContentSecurity(lambda _: response)(request or request_to()).headers["Content-Security-Policy"])


def test_json_may_load_nothing() -> None:
    assert policy_of(HttpResponse("{}", content_type="application/json")) == middleware._NOTHING


def test_a_page_runs_scripts_from_our_files_only() -> None:
    policy = policy_of(HttpResponse("<html>"))

    scripts = re.search(r"script-src ([^;]*)", policy)
    assert scripts is not None
    assert "'self'" in scripts[1]
    assert "'unsafe-inline'" not in scripts[1]
    assert "frame-ancestors 'none'" in policy
    assert "object-src 'none'" in policy


def test_a_page_with_a_nonce_runs_that_script_alone() -> None:
    request = request_to()
    nonce = csp_nonce(request)
    policy = policy_of(HttpResponse("<html>"), request)

    assert csp_nonce(request) == nonce
    assert f"script-src 'nonce-{nonce}';" in policy
    assert csp_nonce(request_to()) != nonce


def test_a_response_keeps_the_policy_that_it_brings() -> None:
    response = HttpResponse("<html>", headers={"Content-Security-Policy": "default-src 'self'"})

    assert policy_of(response) == "default-src 'self'"


# ------------------------------------------------------------------------------------------------ programs pass by
class Tracing:
    """A middleware of somebody else's, which everything has to go through."""

    seen: ClassVar[list[str]] = []

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> Any:
        self.seen.append(request.path)
        return self.get_response(request)


def chain_of(*classes: Any) -> Any:
    """The middleware as Django nests it, around a view that says which cookies and sessions it saw."""

    def view(request: HttpRequest) -> HttpResponse:
        return HttpResponse(f"session={hasattr(request, 'session')}", content_type="application/json")

    step: Any = convert_exception_to_response(view)
    for cls in reversed(classes):
        step = convert_exception_to_response(cls(step))
    return step


BROWSERS = (SecurityMiddleware, ContentSecurity, SessionMiddleware, XFrameOptionsMiddleware)


@pytest.mark.parametrize(
    "path, key, session",
    [
        ("/api/v1/jobs", True, False),
        ("/api/v1/jobs", False, True),
        ("/admin/", True, True),
    ],
)
def test_a_program_with_a_key_passes_by_what_is_for_browsers(path: str, key: bool, session: bool) -> None:
    request = request_to(path, **({"HTTP_AUTHORIZATION": "Bearer x"} if key else {}))

    response = chain_of(RequestLimits, PastBrowsers, *BROWSERS)(request)

    assert response.content.decode() == f"session={session}"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == middleware._NOTHING


def test_a_program_goes_through_every_other_middleware_and_what_stands_behind_it() -> None:
    Tracing.seen.clear()
    chain = chain_of(PastBrowsers, SecurityMiddleware, Tracing, SessionMiddleware)

    response = chain(request_to(HTTP_AUTHORIZATION="Bearer x"))

    assert Tracing.seen == ["/api/v1/jobs"]
    assert response.content == b"session=True"


def test_a_view_that_fails_behind_the_short_way_is_answered() -> None:
    def view(request: HttpRequest) -> HttpResponse:
        raise Http404

    step: Any = convert_exception_to_response(SessionMiddleware(convert_exception_to_response(view)))

    assert PastBrowsers(step)(request_to(HTTP_AUTHORIZATION="Bearer x")).status_code == 404
