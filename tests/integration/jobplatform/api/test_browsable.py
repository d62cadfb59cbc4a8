"""The browsable API as a page for people: usable, and nothing that came from data runs in it (S15)."""

import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.test import Client, RequestFactory
from rest_framework.response import Response

from jobplatform.api.browsable import BrowsableRenderer
from projects import services
from projects.models import Project
from tests.integration.jobplatform.api.routes import Form

pytestmark = [pytest.mark.urls("tests.integration.jobplatform.api.routes"), pytest.mark.django_db]

HTML = {"Accept": "text/html"}

NASTY = [
    "<script>alert(1)</script>",
    "</pre><script>alert(1)</script>",
    "</textarea><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "{{ request }}{% csrf_token %}",
    'http://testserver/api/"onmouseover="alert(1)',
    '/api/v1/echo"><script>alert(1)</script>',
    "/api/javascript:alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u2028alert(1)//",
]


class Page(HTMLParser):
    """What a browser would make of it: elements, their attributes, and the text of the first answer."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self._within: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._within.append(dict(attrs).get("id") or tag)

    def handle_endtag(self, tag: str) -> None:
        if self._within:
            self._within.pop()

    def handle_data(self, data: str) -> None:
        for name in self._within:
            self.texts[name] = self.texts.get(name, "") + data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]


def page(answer: Any) -> Page:
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    return Page(answer.content.decode())


@pytest.fixture
def staff(client: Client) -> Client:
    """A person of the staff, and a project to act for."""
    Project.objects.create(name="Shop", slug="shop")
    client.force_login(get_user_model().objects.create_superuser("root"))
    return client


@pytest.mark.parametrize("text", NASTY)
def test_nothing_in_an_answer_becomes_markup(client: Client, text: str) -> None:
    shown = page(client.get("/api/v1/form", {"say": text}, headers=HTML))

    tags = {name for name, _ in shown.elements}
    assert not tags & {"img", "svg", "iframe", "object"}
    assert len(shown.all("script")) == 3  # the page's own: two of data and the one that runs
    handlers = [name for _, attrs in shown.elements for name in attrs if name.startswith("on")]
    assert handlers == []
    for link in shown.all("a"):
        assert re.match(r"/(api|admin)[/?]?|http://testserver/", link["href"] or ""), link
    assert json.dumps(text, ensure_ascii=False)[1:-1].replace("\u2028", "") in shown.texts["answer"].replace(
        "\u2028", ""
    )


def test_only_the_script_with_the_nonce_runs(client: Client) -> None:
    answers = [client.get("/api/v1/form", headers=HTML) for _ in range(2)]

    nonces = [re.search(r"script-src 'nonce-([\w-]{20,})'", a.headers["Content-Security-Policy"]) for a in answers]
    assert nonces[0] is not None
    assert nonces[1] is not None
    assert nonces[0][1] != nonces[1][1]
    shown = page(answers[0])
    running = [script for script in shown.all("script") if script.get("type") != "application/json"]
    assert [script.get("nonce") for script in running] == [nonces[0][1]]
    assert [style.get("nonce") for style in shown.all("style")] == [nonces[0][1]]
    assert not [attrs for _, attrs in shown.elements if "style" in attrs]
    assert "'unsafe-inline'" not in answers[0].headers["Content-Security-Policy"]
    assert "'unsafe-eval'" not in answers[0].headers["Content-Security-Policy"]


def test_addresses_of_the_api_are_links(client: Client) -> None:
    links = {link["href"] for link in page(client.get("/api/v1/form", headers=HTML)).all("a")}

    assert "/api/v1/echo?a=1&b=2" in links


def test_the_address_of_another_host_is_no_link(client: Client) -> None:
    text = "http://evil.example/api/v1/jobs"

    links = {link["href"] for link in page(client.get("/api/v1/form", {"say": text}, headers=HTML)).all("a")}

    assert text not in links


@pytest.mark.parametrize("how, status", [("problem", 418), ("database", 503), ("value", 400)])
def test_a_refusal_is_a_page_with_its_code_and_status(client: Client, how: str, status: int) -> None:
    answer = client.get("/api/v1/fail", {"how": how}, headers=HTML)

    assert answer.status_code == status
    assert '"code"' in page(answer).texts["answer"]


def test_who_is_unknown_is_shown_the_way_in(client: Client) -> None:
    answer = client.get("/api/v1/known?limit=3", headers=HTML)
    shown = page(answer)

    assert answer.status_code == 401
    assert "not_authenticated" in shown.texts["answer"]
    assert any((link["href"] or "").startswith("/admin/login/?next=/api/v1/known") for link in shown.all("a"))
    assert shown.all("textarea") == []


def test_a_person_finds_a_form_filled_in_with_an_example(staff: Client) -> None:
    answer = staff.get("/api/v1/projects", headers=HTML)
    shown = page(answer)

    assert answer.status_code == 200
    assert json.loads(shown.texts["textarea"]) == {"name": "Web shop", "weight": 1}
    assert [form.get("data-method") for form in shown.all("form") if form.get("class") == "send"] == ["POST"]
    assert "root" in answer.content.decode()
    assert json.loads(shown.texts["csrf"])
    assert answer.cookies["csrftoken"].value


def test_several_examples_can_be_chosen_and_their_schema_read() -> None:
    view = Form()
    request = view.initialize_request(RequestFactory().get("/api/v1/form"))
    request.user, request.auth = AnonymousUser(), object()  # forms are for the known
    text = BrowsableRenderer().render(
        {"a": 1}, renderer_context={"view": view, "request": request, "response": Response()}
    )
    shown = Page(text)

    assert [option.get("value") for option in shown.all("option")] == ["0", "1"]
    bodies = [json.loads(attrs["data-body"] or "") for attrs in shown.all("div") if "data-body" in attrs]
    assert bodies == [
        {"kind": "a"},
        {"name": "</textarea><script>alert(1)</script>", "attribute": "\" onmouseover='alert(1)'"},
    ]
    assert '"type": "object"' in html.unescape(text)
    assert [form.get("data-method") for form in shown.all("form") if form.get("class") == "send"] == ["POST", "DELETE"]


def test_what_a_person_filters_by_stays_in_the_form(client: Client) -> None:
    shown = page(client.get("/api/v1/form", {"say": "</script>x"}, headers=HTML))

    assert {field.get("name") for field in shown.all("input")} >= {"say", "status"}
    assert json.loads(shown.texts["query"]) == {"say": "</script>x"}


def test_links_keep_to_the_project_that_was_chosen(staff: Client) -> None:
    project = Project.objects.get()
    services.issue_key(project_id=project.id, name="k", scopes_asked=["jobs:read"], actor="system")

    shown = page(staff.get("/api/v1/keys?project=shop", headers=HTML))

    links = [link["href"] or "" for link in shown.all("a") if (link["href"] or "").startswith("/api/v1/keys")]
    assert len(links) >= 3
    assert all(link.endswith("?project=shop") for link in links)
    assert staff.get(links[-1]).status_code in {200, 405}


def test_pages_are_turned_by_links(staff: Client) -> None:
    Project.objects.create(name="Second", slug="second")

    shown = page(staff.get("/api/v1/projects?limit=1", headers=HTML))

    following = [str(link["href"]) for link in shown.all("a") if link.get("rel") == "next"]
    assert len(following) == 1
    assert staff.get(following[0], headers=HTML).status_code == 200


def test_a_program_is_never_given_a_page(client: Client) -> None:
    for accept in ("*/*", "application/json", ""):
        assert client.get("/api/v1/form", headers={"Accept": accept}).headers["Content-Type"] == "application/json"


def test_a_long_answer_is_cut(client: Client) -> None:
    answer = client.post(
        "/api/v1/form", json.dumps({"a": "x" * 900_000}), content_type="application/json", headers=HTML
    )

    assert len(answer.content) < 700_000
    assert "ask for application/json" in answer.content.decode()
