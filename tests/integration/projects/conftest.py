"""Two tenants, each with a key, and a client that speaks for one."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from projects import scopes, services
from projects.models import Project


@dataclass(frozen=True)
class Tenant:
    """A project and a key to it with all scopes."""

    project: Project
    key_id: str
    text: str

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.text}"}


def make_tenant(name: str) -> Tenant:
    project = services.create_project(name=name, actor="system")
    issued = services.issue_key(project_id=project.id, name="all", scopes_asked=scopes.ALL, actor="system")
    return Tenant(project, issued.key.key_id, issued.text)


@pytest.fixture
def ours(db: None) -> Tenant:
    return make_tenant("Ours")


@pytest.fixture
def theirs(db: None) -> Tenant:
    return make_tenant("Theirs")


Call = Callable[..., Any]


@pytest.fixture
def call(ours: Tenant) -> Call:
    """`call("GET", "/api/v1/projects")`: a request with our key, or another one, and a JSON body."""
    client = Client(raise_request_exception=False)

    def send(method: str, path: str, body: Any = None, key: str | None = ours.text, **headers: str) -> Any:
        sent = {"Authorization": f"Bearer {key}"} if key is not None else {}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        if body is None:
            return client.generic(method, path, headers=sent)
        import orjson

        return client.generic(method, path, orjson.dumps(body), content_type="application/json", headers=sent)

    return send
