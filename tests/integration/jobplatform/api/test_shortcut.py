"""The short way answers as the long way does, and takes nothing that is not plainly a program's request."""

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from django.test.client import ClientHandler
from rest_framework.response import Response

from jobplatform.api.shortcut import Shortcut
from jobs.models import Job
from jobs.views import jobs as views
from projects import services
from tests.corpora.bad_json import BAD_JSON
from tests.integration.jobs.conftest import kinds
from tests.integration.projects.conftest import Tenant, ours

__all__ = ["kinds", "ours"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kinds")]

SEND = {"kind": "parcel.send", "payload": {"parcel_id": "P-1"}}


@dataclass
class Asked:
    """A request, without its credential."""

    method: str = "POST"
    path: str = "/api/v1/jobs"
    body: bytes = orjson.dumps(SEND)
    headers: dict[str, str] = field(default_factory=dict)
    query: str = ""
    key: str | None = None

    def environ(self, key: str) -> dict[str, Any]:
        text = self.key if self.key is not None else f"Bearer {key}"
        return {
            "REQUEST_METHOD": self.method,
            "PATH_INFO": self.path,
            "SCRIPT_NAME": "",
            "QUERY_STRING": self.query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_HOST": "127.0.0.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": "application/json",
            "CONTENT_LENGTH": str(len(self.body)),
            "wsgi.input": io.BytesIO(self.body),
            "wsgi.errors": io.StringIO(),
            "wsgi.url_scheme": "http",
            **({"HTTP_AUTHORIZATION": text} if text else {}),
            **self.headers,
        }


@dataclass
class Answered:
    """What a WSGI application answered."""

    status: str
    headers: dict[str, str]
    body: bytes

    def masked(self) -> tuple[str, dict[str, str], bytes]:
        """Without what differs between two equal requests, and without what only browsers need."""
        hide = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[\d:.]+Z|[0-9]+-[0-9]+")
        kept = {"Content-Type", "Location", "Retry-After", "WWW-Authenticate", "Idempotency-Replayed"}
        headers = {name: hide.sub("*", value) for name, value in self.headers.items() if name in kept}
        return self.status, headers, hide.sub("*", self.body.decode()).encode()


def ask(application: Any, asked: Asked, tenant: Tenant) -> Answered:
    started: list[Any] = []
    body = b"".join(application(asked.environ(tenant.text), lambda status, headers: started.append((status, headers))))
    ((status, headers),) = started
    return Answered(status, dict(headers), body)


def long_way(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
    """Django's handler, which would close the connection of the test's transaction if it were not told that it is one."""
    response: Any = ClientHandler(enforce_csrf_checks=True)(environ)
    start(f"{response.status_code} {response.reason_phrase}", list(response.items()))
    return [response.content]


def nobody(_environ: Any, _start: Any) -> Iterable[bytes]:
    msg = "the long way was taken"
    raise AssertionError(msg)


SHORT = [
    Asked(),
    Asked(body=orjson.dumps(SEND | {"priority": 5, "metadata": {"a": "b"}})),
    Asked(path="/api/v1/jobs/batch", body=orjson.dumps({"jobs": [SEND, 7]})),
    Asked(headers={"HTTP_IDEMPOTENCY_KEY": "k-1"}),
    Asked(headers={"HTTP_IDEMPOTENCY_KEY": '"'}),
    Asked(headers={"HTTP_ACCEPT": "application/json"}),
    Asked(headers={"CONTENT_LENGTH": "9" * 30}),
    Asked(headers={"CONTENT_LENGTH": "x"}),
    Asked(headers={"CONTENT_ENCODING": "gzip", "HTTP_CONTENT_ENCODING": "gzip"}),
    Asked(headers={"CONTENT_TYPE": "text/plain"}),
    Asked(headers={f"HTTP_X_{n}": "1" for n in range(120)}),
    Asked(headers={"HTTP_X_LONG": "1" * 20_000}),
    Asked(body=orjson.dumps({"kind": "no.such"})),
    Asked(body=orjson.dumps({"kind": "parcel.send", "payload": {}})),
    Asked(body=b"x" * (1024 * 1024 + 1)),
    Asked(key="Bearer nonsense"),
    Asked(key="Basic abc"),
    Asked("GET", "/api/v1/kinds", b""),
    Asked("GET", "/api/v1/jobs", b""),
    Asked("GET", "/api/v1/events", b""),
    Asked("GET", "/api/v1/keys", b""),
    *[Asked(body=bad.body, headers={"CONTENT_TYPE": bad.content_type}) for bad in BAD_JSON],
]

LONG = [
    Asked(key=""),
    Asked(query="project=x"),
    Asked(headers={"HTTP_ACCEPT": "text/html"}),
    Asked(headers={"SCRIPT_NAME": "/below"}),
    Asked("DELETE"),
    Asked("HEAD"),
    Asked("OPTIONS"),
    Asked("GET", "/api/v1/jobs/"),
    Asked("GET", "/api/v1/schema"),
    Asked("GET", "/healthz"),
    Asked("GET", "/api/v1/jobs/01a20204-840b-75fb-8ee0-055d0b49d6e2"),
]


@pytest.mark.parametrize("asked", SHORT, ids=[f"{number} {asked.path}" for number, asked in enumerate(SHORT)])
def test_both_ways_give_the_same_answer(ours: Tenant, asked: Asked) -> None:
    short = ask(Shortcut(nobody), asked, ours)
    if "HTTP_IDEMPOTENCY_KEY" not in asked.headers:
        Job.objects.all().delete()
    long = ask(long_way, asked, ours)

    if long.headers.get("Idempotency-Replayed"):
        assert short.body == long.body
        del long.headers["Idempotency-Replayed"]
    assert short.masked() == long.masked()
    assert short.headers["Content-Length"] == str(len(short.body))
    assert short.headers["X-Content-Type-Options"] == "nosniff"
    assert len({name.lower() for name in short.headers}) == len(short.headers)


@pytest.mark.parametrize("asked", LONG, ids=[f"{number} {asked.path}" for number, asked in enumerate(LONG)])
def test_all_else_takes_the_long_way(ours: Tenant, asked: Asked) -> None:
    with pytest.raises(AssertionError, match="long way"):
        ask(Shortcut(nobody), asked, ours)


def test_a_key_without_the_scope_is_refused_on_both_ways(ours: Tenant) -> None:
    weak = services.issue_key(project_id=ours.project.id, name="weak", scopes_asked=["events:read"], actor="system")
    asked = Asked(key=f"Bearer {weak.text}")

    short, long = ask(Shortcut(nobody), asked, ours), ask(long_way, asked, ours)

    assert short.status.startswith("403")
    assert short.masked() == long.masked()


def test_a_fault_is_a_500_that_tells_nothing_and_is_logged(
    ours: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        msg = "hunter2"
        raise RuntimeError(msg)

    monkeypatch.setattr(views, "_create", fail)

    short, long = ask(Shortcut(nobody), Asked(), ours), ask(long_way, Asked(), ours)

    assert short.status.startswith("500")
    assert short.masked()[::2] == long.masked()[::2]
    assert b"hunter2" not in short.body
    assert [record.exc_info is not None for record in caplog.records if record.name == "django.request"] == [True] * 2


def test_an_answer_that_cannot_be_written_is_a_problem_like_any_other(
    ours: Tenant, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(views, "_create", lambda *_: Response({"what": object()}, status=202))

    answer = ask(Shortcut(nobody), Asked(), ours)

    assert answer.status.startswith("500")
    assert orjson.loads(answer.body)["code"] == "internal_error"
    assert [record.name for record in caplog.records if record.exc_info] == ["django.request"]
