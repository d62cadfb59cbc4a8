"""Addresses of the tests of the API's ground: views that do one thing each."""

import time
from typing import Any

from django.contrib import admin
from django.db import OperationalError, connection, transaction
from django.http import HttpRequest, HttpResponse
from django.urls import include, path
from pydantic import BaseModel
from rest_framework.response import Response

from jobplatform.api import refusals
from jobplatform.api.examples import Example
from jobplatform.api.idempotency import idempotent
from jobplatform.api.pages import CursorPage
from jobplatform.api.problems import Problem
from jobplatform.api.views import ApiRequest, ApiView
from projects.models import Project

REACHED: list[str] = []
"""What the slow view has said, for tests that wait for a named moment."""


class Open(ApiView):
    """A view that asks nobody who he is."""

    authentication_classes = []
    permission_classes = []


class Echo(Open):
    """Answers with what was sent.

    A second paragraph.
    """

    max_body_bytes = 300_000
    filters = frozenset({"status"})

    def get(self, request: ApiRequest) -> Response:
        page = CursorPage(request)
        return Response({"limit": page.limit, "query": dict(request.query_params.items())})

    def post(self, request: ApiRequest) -> Response:
        return Response({"data": request.data, "bytes": len(request.raw_body)}, status=201)


class Fault(Exception):
    """A fault of ours, whose text is nobody's business: hunter2."""


class Fail(Open):
    """Raises what is asked for."""

    filters = frozenset({"how"})

    def get(self, request: ApiRequest) -> Response:
        match request.query_params["how"]:
            case "problem":
                raise Problem(418, "teapot", "I am one.", headers={"X-Tea": "green"})
            case "fault":
                raise Fault
            case "database":
                raise OperationalError from _lost()
            case "value":
                with connection.cursor() as cursor:
                    cursor.execute("select %s::text", ["a\0b"])
            case "overflow":
                list(Project.objects.filter(weight=10**30))
            case "sql":
                with connection.cursor() as cursor:
                    cursor.execute("select 1/0")
        return Response()


def _lost() -> Exception:
    import psycopg

    return psycopg.OperationalError("server closed the connection unexpectedly: password=hunter2")


class Plain(Open):
    """A list out of the database."""

    def get(self, request: ApiRequest) -> Response:
        page = CursorPage(request)
        return Response(page.answer(page.of(Project.objects.all()), key=lambda p: (p.id,), show=lambda p: p.name))


class Rows(Open):
    """The same ordered by two columns, oldest first."""

    def get(self, request: ApiRequest) -> Response:
        page = CursorPage(request, keys=("weight", "id"), newest_first=False)
        return Response(
            page.answer(page.of(Project.objects.all()), key=lambda p: (p.weight, p.id), show=lambda p: p.name)
        )


class Thing(BaseModel):
    """What is created."""

    name: str = "x"


class Create(Open):
    """Creates a project, idempotently."""

    filters = frozenset({"answer"})

    def post(self, request: ApiRequest) -> Response:
        from uuid import UUID

        answer = request.query_params.get("answer", "201")
        project = UUID(request.META.get("HTTP_X_TENANT", str(UUID(int=1))))

        def create() -> Response:
            with transaction.atomic():
                made = Project.objects.create(name=request.body_as(Thing).name, slug=f"s{time.monotonic_ns()}")
            match answer:
                case "refuse":
                    raise Problem(409, "refused", "No.")
                case "return":
                    return Response({"code": "returned"}, status=422)
                case "fault":
                    raise RuntimeError
                case "wait":
                    REACHED.append("created")
                    _wait_for("go")
            headers = {"Location": f"/things/{made.id}"}
            return Response({"id": made.id, "at": made.created_at, "key": "hunter2"}, status=201, headers=headers)

        sealed = answer == "sealed"
        return idempotent(request, project_id=project, route="POST /create", fn=create, sealed=sealed)


def _wait_for(word: str) -> None:
    deadline = time.monotonic() + 20
    while word not in REACHED:
        assert time.monotonic() < deadline
        time.sleep(0.005)


class Form(Open):
    """<script>alert("description")</script>"""

    filters = frozenset({"say", "status"})

    def get(self, request: ApiRequest) -> Response:
        return Response({"say": request.query_params.get("say"), "links": {"self": "/api/v1/echo?a=1&b=2"}})

    def post(self, request: ApiRequest) -> Response:
        return Response(request.data, headers={"X-Said": "yes"})

    def delete(self, request: ApiRequest) -> Response:
        return Response(status=204)

    def get_examples(self, request: ApiRequest) -> list[Example]:
        nasty = {"name": "</textarea><script>alert(1)</script>", "attribute": "\" onmouseover='alert(1)'"}
        return [Example("First", {"kind": "a"}), Example("<b>Second</b>", nasty, {"type": "object"})]


def health(request: HttpRequest) -> HttpResponse:
    raise OperationalError from _lost()


class Known(ApiView):
    """A view of the platform as it is shipped, with the authentication of the settings."""

    scopes = {"GET": "jobs:read", "POST": "jobs:write"}

    def get(self, request: ApiRequest) -> Response:
        caller: Any = request.caller
        return Response({"project": caller.project_id, "key": caller.key_id, "user": caller.user_id})

    def post(self, request: ApiRequest) -> Response:
        return Response({"project": request.caller.project_id, "data": request.data}, status=201)


class Silent(ApiView):
    """A view that says nothing about who may use it."""

    def get(self, request: ApiRequest) -> Response:
        return Response()


handler400 = refusals.handler400
handler403 = refusals.handler403
handler404 = refusals.handler404
handler500 = refusals.handler500

admin.autodiscover()  # as the routes of the web process do

urlpatterns = [
    path("admin/", admin.site.urls),
    path("api/v1/", include("projects.urls")),
    path("api/v1/echo", Echo.as_view()),
    path("api/v1/fail", Fail.as_view()),
    path("api/v1/plain", Plain.as_view()),
    path("api/v1/rows", Rows.as_view()),
    path("api/v1/create", Create.as_view()),
    path("api/v1/form", Form.as_view()),
    path("api/v1/known", Known.as_view()),
    path("api/v1/silent", Silent.as_view()),
    path("healthz", health),
]
