"""Limits over HTTP and in the admin: what is in use, and what people decide about it."""

import datetime as dt
from typing import Any

import pytest
from django.test import Client

from events.models import AuditRecord
from jobs import limits, rules
from jobs.errors import InvalidOption
from jobs.models import LimitKey, LimitRule
from tests.integration.jobs.admin.conftest import operator, viewer
from tests.integration.jobs.limited import claim, key, limited, submit
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["call", "limited", "operator", "ours", "theirs", "viewer"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("limited")]

LIMITS = "/api/v1/limits"
WHY = "the provider asked for it"


def test_a_project_sees_what_its_own_keys_have_in_use(call: Call, ours: Tenant, theirs: Tenant) -> None:
    for tenant in (ours, theirs):
        submit("call.two", 3, project_id=tenant.project.id)
        submit("call.all", project_id=tenant.project.id)
        claim("call.two")
    submit("call.paced", 1, project_id=ours.project.id)
    claim("call.paced")

    rows = call("GET", LIMITS).json()["results"]

    assert [(row["name"], row["key"], row["in_use"]) for row in rows] == [("call.paced", "", 1), ("call.two", "p", 2)]
    assert rows[1] | {"id": ""} == {
        "id": "", "name": "call.two", "key": "p", "concurrency": 2, "rate": None, "burst": None, "in_use": 2,
        "waiting": True, "closed_until": None, "ramp": None,
    }  # fmt: skip
    assert [row["name"] for row in call("GET", f"{LIMITS}?name=call.two").json()["results"]] == ["call.two"]
    first = call("GET", f"{LIMITS}?limit=1").json()
    assert [row["name"] for row in call("GET", first["next"]).json()["results"]] == ["call.two"]


@pytest.mark.parametrize(
    ("bounds", "code"),
    [
        ({"name": "nobody"}, "unknown_limit"),
        ({"name": "call.two", "concurrency": -1}, "invalid_option"),
        ({"name": "call.two", "rate": 0}, "invalid_option"),
        ({"name": "call.two", "rate": float("nan")}, "invalid_option"),
        ({"name": "call.two", "burst": 3}, "invalid_option"),
        ({"name": "call.all", "concurrency": 1, "project_id": limits.EVERYBODY}, "limit_across_projects"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(bounds: dict[str, Any], code: str) -> None:
    wanted: dict[str, Any] = {"concurrency": None, "rate": None} | bounds
    with pytest.raises(InvalidOption) as refused:
        rules.rule(**wanted, actor="tests", reason=WHY)
    assert refused.value.code == code
    assert not LimitRule.objects.exists()


def test_a_rule_is_set_changed_and_dropped_in_the_admin_with_its_reason(operator: Client) -> None:
    submit("call.two", 9)
    assert len(claim("call.two")) == 2

    new = {"name": "call.two", "project_id": "", "concurrency": "4", "rate": "", "burst": ""}
    refused = operator.post("/admin/jobs/limitrule/add/", new | {"reason": ""})
    assert refused.status_code == 200
    assert not LimitRule.objects.exists()
    operator.post("/admin/jobs/limitrule/add/", new | {"reason": WHY})
    assert len(claim("call.two")) == 2

    row = LimitRule.objects.get()
    operator.post(f"/admin/jobs/limitrule/{row.pk}/change/", new | {"name": "x", "concurrency": "5", "reason": WHY})
    assert (LimitRule.objects.get().name, LimitRule.objects.get().concurrency) == ("call.two", 5)
    assert len(claim("call.two")) == 1

    operator.post(f"/admin/jobs/limitrule/{row.pk}/delete/", {"post": "yes"})
    assert key("call.two").concurrency == 2
    assert [(one.action, one.reason) for one in AuditRecord.objects.filter(subject_type="limit").order_by("id")] == [
        ("limit.rule", WHY), ("limit.rule", WHY), ("limit.unrule", ""),
    ]  # fmt: skip


def test_a_key_is_closed_and_opened_by_hand(operator: Client, viewer: Client) -> None:
    submit("call.two", 4)
    claimed = claim("call.two", batch=1)
    path = f"/admin/jobs/limitkey/{claimed[0].limit_id}/change/"
    assert viewer.post(path, {"closed_until_0": "2100-01-01", "reason": WHY}).status_code == 403

    operator.post(path, {"closed_until_0": "2100-01-01", "closed_until_1": "00:00", "reason": WHY})
    assert key("call.two").closed_until == dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
    assert claim("call.two") == []
    page = operator.get(path).content.decode()
    assert "closed" in page

    operator.post(path, {"closed_until_0": "", "closed_until_1": "", "reason": WHY})
    assert len(claim("call.two")) == 1
    assert LimitKey.objects.get().in_use == 2
    assert list(AuditRecord.objects.filter(subject_type="limit_key").order_by("id").values_list("action", flat=True)) == [
        "limit.close", "limit.open",
    ]  # fmt: skip
