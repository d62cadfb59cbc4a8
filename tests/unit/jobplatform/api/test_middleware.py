"""Limits of a request line and its headers (S16), and the policies for browsers (S15)."""

import re

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory

from jobplatform.api import middleware
from jobplatform.api.middleware import ContentSecurity, RequestLimits, csp_nonce, excess_of


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
    "long header": (request_to(HTTP_X="a" * 17_000), 431, "header_too_long"),
}
PROPORTIONATE = {
    "plain": request_to(),
    "paging": request_to(query="limit=200&cursor=abc"),
    "50 parameters": request_to(query="&".join(f"a{n}=1" for n in range(50))),
    "90 headers": request_to(**{f"HTTP_X_{n}": "a" for n in range(90)}),
    "header of 16,000": request_to(HTTP_X="a" * 16_000),
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
