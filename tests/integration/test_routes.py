"""Every route asks who is calling: a view either names the scope of each of its methods, or stands on a short list."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.permissions import AllowAny

from jobplatform.api.views import ApiView

METHODS = ("get", "post", "put", "patch", "delete")
SOMEBODY = UUID(int=0)

# Paths that answer without a credential, and why they may.
OPEN = {
    "": "leads to the description of the API",
    "healthz": "says that the process runs, nothing else",
    "readyz": "says whether it can work, nothing else",
    "metrics": "asks for its own token, or answers loopback only",
    "api/v1/schema": "the published description of the API",
    "api/v1/docs": "the same for a person",
}


@dataclass(frozen=True)
class Route:
    """A path pattern as Django prints it, and the view behind it."""

    pattern: str
    view: Any

    @property
    def path(self) -> str:
        """A path that fits the pattern."""
        return re.sub(r"<(?:\w+:)?\w+>", str(SOMEBODY), self.pattern)

    @property
    def view_class(self) -> Any:
        return getattr(self.view, "cls", None) or getattr(self.view, "view_class", None)


def routes(resolver: URLResolver | None = None, prefix: str = "") -> Iterator[Route]:
    for entry in (resolver or get_resolver()).url_patterns:
        pattern = prefix + str(entry.pattern)
        if isinstance(entry, URLPattern):
            yield Route(pattern, entry.callback)
        else:
            yield from routes(entry, pattern)


def of_the_api() -> list[Route]:
    return [
        route for route in routes() if not route.pattern.startswith(("admin/", "static/")) and route.pattern not in OPEN
    ]


def what_is_open(view_class: Any) -> list[str]:
    """Methods of a view that nobody guards."""
    if not (isinstance(view_class, type) and issubclass(view_class, ApiView)):
        return ["not built on ApiView"]
    if not view_class.permission_classes or AllowAny in view_class.permission_classes:
        return ["permission_classes"]
    handled = [name for name in METHODS if name in view_class.http_method_names and hasattr(view_class, name)]
    return [name for name in handled if not view_class.scopes.get(name.upper())]


def test_there_are_routes() -> None:
    assert len(of_the_api()) > 0


def test_every_view_names_the_scope_of_each_method() -> None:
    unguarded = {route.pattern: what_is_open(route.view_class) for route in of_the_api()}

    assert {pattern: missing for pattern, missing in unguarded.items() if missing} == {}


def test_every_scope_is_a_noun_with_read_or_write() -> None:
    scopes = {scope for route in of_the_api() for scope in route.view_class.scopes.values()}

    assert {scope for scope in scopes if not re.fullmatch(r"[a-z]+(-[a-z]+)*:(read|write)", scope)} == set()


@pytest.mark.django_db
def test_nobody_gets_in_without_a_credential(client: Client) -> None:
    answers = {
        f"{method.upper()} /{route.path}": client.generic(method.upper(), f"/{route.path}").status_code
        for route in of_the_api()
        for method in METHODS
        if hasattr(route.view_class, method)
    }

    assert {call: status for call, status in answers.items() if status != 401} == {}


@pytest.mark.django_db
@pytest.mark.parametrize("accept", ["text/html", "*/*"])
def test_the_root_leads_to_the_description_of_the_api(client: Client, accept: str) -> None:
    answer = client.get("/", headers={"Accept": accept}, follow=True)

    assert answer.redirect_chain == [("/api/v1/docs", 302)]
    assert answer.status_code == 200
    assert "html" in answer.headers["Content-Type"]


@pytest.mark.parametrize(
    "path", ["/api", "/api/", "/api/v1", "/api/v1/", "/api/v1/no", "/api/v2/jobs", "/api/v1/jobs/"]
)
def test_an_unknown_address_of_the_api_is_a_problem_whoever_asks(client: Client, path: str) -> None:
    answer = client.get(path, headers={"Accept": "text/html"})

    assert (answer.status_code, answer.headers["Content-Type"]) == (404, "application/problem+json")
    assert answer.json()["code"] == "not_found"


def test_an_unknown_address_elsewhere_is_a_page(client: Client) -> None:
    answer = client.get("/no/such/page")

    assert answer.status_code == 404
    assert "html" in answer.headers["Content-Type"]


@pytest.mark.django_db
def test_the_admin_sends_strangers_to_its_login(client: Client) -> None:
    plain = [r.path for r in routes() if re.fullmatch(r"admin/[\w/-]*", r.pattern)]
    pages = [path for path in plain if path not in {"admin/login/", "admin/logout/"}]
    answers = {path: client.get(f"/{path}") for path in pages}

    assert len(pages) > 3
    assert {
        path for path, answer in answers.items() if "/admin/login/" not in answer.headers.get("Location", "")
    } == set()


@pytest.mark.django_db
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_no_page_of_the_admin_that_names_something_opens_to_a_stranger(client: Client, method: str) -> None:
    paths = {route.path for route in routes() if re.fullmatch(r"admin/[^(]*<[^(]*", route.pattern)}
    answers = {path: client.generic(method, f"/{path}") for path in sorted(paths)}

    assert len(paths) > 20
    assert {
        path: answer.status_code
        for path, answer in answers.items()
        if not (answer.status_code == 302 and "/admin/login/" in answer.headers["Location"])
    } == {}


def test_a_view_without_scopes_is_found() -> None:
    class Forgotten(ApiView):
        def get(self) -> None: ...

    class Half(Forgotten):
        scopes = {"GET": "jobs:read"}

        def post(self) -> None: ...

    class Open(Half):
        permission_classes = [AllowAny]

    assert what_is_open(Forgotten) == ["get"]
    assert what_is_open(Half) == ["post"]
    assert what_is_open(Open) == ["permission_classes"]
    assert what_is_open(object) == ["not built on ApiView"]
