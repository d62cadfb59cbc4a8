"""`manage.py jobs dead-letters` and `redrive`."""

import io
import json
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from events.models import AuditRecord
from projects import services as project_services
from reconciliation.models import Redrive
from tests.integration.reconciliation.conftest import Shop, payments, shop

__all__ = ["payments", "shop"]


def run(*words: Any) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("jobs", *words, stdout=out)
    except SystemExit as end:
        return int(end.code or 0), out.getvalue()
    return 0, out.getvalue()


@pytest.fixture
def project(shop: Shop) -> Any:
    return project_services.create_project(name="Shop", actor="system")


def test_why_they_died_and_once_more(shop: Shop, project: Any) -> None:
    shop.dead(3, project_id=project.id)
    _, table = run("dead-letters")
    assert "provider_down" in table
    code, told = run("dead-letters", "--json")
    (cause,) = [json.loads(line) for line in told.splitlines()]
    assert (code, cause["dead"]) == (0, 3)

    _, dry = run("redrive", cause["fingerprint"], "--dry-run", "--json")
    assert json.loads(dry)["matched"] == 3
    assert Redrive.objects.count() == 0
    code, planned = run(
        "redrive", cause["fingerprint"], "--canary", "2", "--stop-above", "10", "--reason", "up", "--json"
    )
    assert (code, json.loads(planned)["status"]) == (0, "freezing")
    code, late = run("redrive", "provider_down", "--wait", "--timeout", "0.1")
    assert (code, "freezing" in late) == (124, True)
    record = AuditRecord.objects.filter(action="redrive.plan").order_by("id")[0]
    assert record.actor.startswith("cli:")
    assert record.reason == "up"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("redrive",), "empty_filter"),
        (("redrive", "x", "--canary", "5"), "invalid_reconciliation"),
        (("redrive", "x", "--canary", "-5"), "validation_error"),
        (("redrive", "x", "--patch", "{"), "invalid_json"),
        (("redrive", "x", "--pace", "0"), "validation_error"),
    ],
)
def test_what_does_not_fit_is_told_in_a_sentence(project: Any, words: tuple[str, ...], said: str) -> None:
    with pytest.raises(CommandError, match=said) as refused:
        run(*words)
    assert refused.value.returncode == 1
    assert Redrive.objects.count() == 0
