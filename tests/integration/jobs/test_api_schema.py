"""The OpenAPI schema: complete, and true of what the API answers to whatever may be sent (schemathesis)."""

import re
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from django.core.management import call_command
from django.test.client import ClientHandler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from jobplatform import urls
from jobplatform.api.shortcut import Shortcut
from tests.integration.projects.conftest import Tenant, ours
from tests.integration.test_routes import of_the_api

__all__ = ["ours"]

pytestmark = pytest.mark.django_db

CHECKS: Any = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
)


def application(environ: dict[str, Any], start: Any) -> Any:
    """The API as it is served, on the connection of the test."""
    return Shortcut(_django)(environ, start)


def _django(environ: dict[str, Any], start: Any) -> Any:
    response: Any = ClientHandler(enforce_csrf_checks=True)(environ)
    start(f"{response.status_code} {response.reason_phrase}", list(response.items()))
    return [response.getvalue()]


def test_every_address_is_described() -> None:
    schema = urls._schema()
    described = {(path.lstrip("/"), method.upper()) for path, methods in schema["paths"].items() for method in methods}
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", route.pattern), method)
        for route in of_the_api()
        for method in route.view_class.scopes
    }
    assert served == described


def test_every_operation_says_what_it_is_and_how_it_refuses() -> None:
    for path, methods in urls._schema()["paths"].items():
        for method, operation in methods.items():
            place = f"{method} {path}"
            assert operation["operationId"], place
            assert operation.get("description"), place
            assert {"apiKey"} in [set(way) for way in operation["security"]], place
            for status in ("400", "401", "403", "404", "422", "503"):
                assert "application/problem+json" in operation["responses"][status]["content"], place


def test_the_committed_schema_is_that_of_the_code(tmp_path: Any) -> None:
    now = tmp_path / "openapi.yaml"
    call_command("spectacular", validate=True, fail_on_warn=True, file=str(now))

    kept = Path(urls.__file__).resolve().parents[1] / "docs" / "openapi.yaml"
    assert kept.read_text() == now.read_text(), "Renew it: manage.py spectacular --file docs/openapi.yaml"


SCHEMA = schemathesis.openapi.from_wsgi("/api/v1/schema", application)
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]  # type: ignore[union-attr] # an Err fails here


@pytest.mark.usefixtures("kinds")
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_whatever_is_sent_the_answer_is_one_that_the_schema_describes(operation: Any, ours: Tenant) -> None:
    # Both what fits the schema and what does not. The same examples each time: a finding must be found again.
    @given(case=st.one_of(operation.as_strategy(), operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)))
    @settings(max_examples=15, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    def ask(case: Any) -> None:
        case.headers = {**(case.headers or {}), "Authorization": f"Bearer {ours.text}", "Accept": "application/json"}
        (case.query or {}).pop("format", None)  # pages for people are none of the schema's
        case.call_and_validate(checks=CHECKS)

    ask()
