"""Dead letters and redrives in the admin: from the cause to the plan to its end, and who may."""

import html
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import reverse

from events.models import AuditRecord
from jobplatform.admin.people import set_up_groups
from reconciliation.models import Redrive
from tests.integration.reconciliation.conftest import Shop, payments, shop

__all__ = ["payments", "shop"]

LETTERS = "/admin/reconciliation/redrive/dead-letters/"
PLAN = "/admin/reconciliation/redrive/plan/"
Come = Callable[[str], Client]


@pytest.fixture
def come() -> Come:
    def person(group: str) -> Client:
        set_up_groups()
        user = User.objects.create_user(f"one of the {group}", is_staff=True)
        user.groups.set([Group.objects.get(name=group)])
        client = Client()
        client.force_login(user)
        return client

    return person


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer
    return html.unescape(answer.content.decode())


def test_an_operator_goes_from_the_cause_to_its_end(shop: Shop, come: Come) -> None:
    shop.dead(12)
    shop.dead(1, error="bug", message="<script>alert(1)</script>")
    operator = come("operators")

    answer = operator.get(LETTERS)
    page = text(answer)
    assert "13 dead letters of 2 causes" in page
    assert "<script>alert" not in answer.content.decode()
    address = reverse("admin:reconciliation_redrive_plan")
    assert f"{address}?codes=" in page
    assert 'name="codes"' in text(operator.get(f"{address}?codes=provider_down"))

    form = {"codes": "provider_down", "kind": "", "project": "", "canary": "5", "stop_above": "20", "pace": "",
            "patch": ""}  # fmt: skip
    assert '"jobs": "12"' in text(operator.post(PLAN, {**form, "foresee": "1"}))
    assert Redrive.objects.count() == 0
    assert "This field is required." in text(operator.post(PLAN, form))
    shop.up = True
    planned = operator.post(PLAN, {**form, "reason": "the provider is up again"})
    row = Redrive.objects.get()
    assert planned["Location"] == f"/admin/reconciliation/redrive/{row.id}/change/"
    row = shop.drive(row)
    assert (row.redriven, row.project_id, row.stop_above) == (5, None, 20.0)
    assert "41 %" not in text(operator.get(planned["Location"]))

    done = operator.post(f"/admin/reconciliation/redrive/{row.id}/pause/", {"reason": "lunch"})
    assert done.status_code == 302
    assert "lunch" in text(operator.get(planned["Location"]))
    operator.post(f"/admin/reconciliation/redrive/{row.id}/start/", {"reason": "back"})
    for _ in range(3):
        shop.work()
        row = shop.drive(row)
    assert (row.status, row.recovered) == ("done", 12)
    assert "recovered" in text(operator.get(f"{planned['Location']}?state=recovered"))
    assert "Redrives" in text(operator.get("/admin/reconciliation/redrive/"))
    actions = list(AuditRecord.objects.filter(subject_id=str(row.id)).order_by("id").values_list("action", "actor"))
    who = "user:one of the operators"
    assert actions == [("redrive.plan", who), ("redrive.pause", who), ("redrive.start", who)]
    late = operator.post(f"/admin/reconciliation/redrive/{row.id}/abort/", {"reason": "too late"}, follow=True)
    assert "takes no abort" in text(late)


@pytest.mark.parametrize(
    "wrong",
    [
        {"codes": ""},
        {"canary": "many"},
        {"canary": "-1"},
        {"stop_above": ""},
        {"pace": "0"},
        {"patch": "[1]"},
        {"patch": "{"},
        {"project": "nobody"},
        {"codes": "x" * 200},
    ],
)
def test_what_cannot_be_planned_is_told(shop: Shop, come: Come, wrong: dict[str, str]) -> None:
    form = {"codes": "x", "kind": "", "project": "", "canary": "5", "stop_above": "20", "pace": "", "patch": ""}

    operator = come("operators")

    for extra in ({"foresee": "1"}, {"reason": "because"}):
        assert "act-form" in text(operator.post(PLAN, {**form, **wrong, **extra}))
    assert Redrive.objects.count() == 0


def test_a_viewer_looks_only(shop: Shop, come: Come) -> None:
    shop.dead(1)
    row = shop.plan()
    viewer = come("viewers")

    page = text(viewer.get(LETTERS))
    assert "1 dead letter of 1 cause" in page
    assert PLAN not in page
    assert "abort" not in text(viewer.get(f"/admin/reconciliation/redrive/{row.id}/change/"))
    assert viewer.get(PLAN).status_code == 403
    for verb in ("start", "pause", "abort"):
        assert viewer.post(f"/admin/reconciliation/redrive/{row.id}/{verb}/", {"reason": "because"}).status_code == 403
    row.refresh_from_db()
    assert row.status == "freezing"


def test_who_is_not_signed_in_sees_nothing(shop: Shop) -> None:
    for path in (LETTERS, PLAN, "/admin/reconciliation/redrive/"):
        assert Client().get(path).status_code == 302


def test_strange_addresses_do_no_harm(shop: Shop, come: Come) -> None:
    shop.dead(1)
    operator = come("operators")

    for query in ("?project=nobody", "?before=x", "?before=2026-01-01~a"):
        assert operator.get(LETTERS + query).status_code == 200
    for key in ("0", "00000000-0000-0000-0000-000000000000"):
        assert operator.get(f"/admin/reconciliation/redrive/{key}/change/").status_code in {302, 404}
