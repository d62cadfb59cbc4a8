"""Alarms over HTTP: a project sees and silences its own, an operator's key those of the platform."""

import datetime as dt
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from uuid_utils.compat import uuid7

from jobs import store
from projects import services
from projects.scopes import OPERATORS
from reconciliation.models import Alarm, AlarmRule, Silence
from tests.integration.projects.conftest import Tenant, ours

__all__ = ["ours"]

pytestmark = pytest.mark.django_db


def make(project_id: UUID | None, state: str = "firing", *, with_rule: bool = True) -> Alarm:
    rule = None
    if with_rule:
        rule = AlarmRule.objects.create(
            id=uuid7(), name=f"rule {uuid7()}", measure="dead_letters", threshold=1, clears_at=1
        )
    return Alarm.objects.create(
        id=uuid7(), rule=rule, name="Dead letters", measure="dead_letters", project_id=project_id, subject="",
        severity="warn", threshold=100, state=state, value=120, worst=130, since=store.now(),
    )  # fmt: skip


def ask(tenant: Tenant, path: str, body: Any = None) -> Any:
    client = Client(raise_request_exception=False)
    if body is None:
        return client.get(f"/api/v1/{path}", headers=tenant.headers)
    return client.post(f"/api/v1/{path}", body, content_type="application/json", headers=tenant.headers)


def hour() -> str:
    return (store.now() + dt.timedelta(hours=1)).isoformat()


def test_a_project_sees_its_own_alarms_and_none_of_the_platform(ours: Tenant) -> None:
    mine, over, of_all = make(ours.project.id), make(ours.project.id, "resolved"), make(None)

    listed = ask(ours, "alarms").json()["results"]
    assert [item["id"] for item in listed] == [str(over.id), str(mine.id)]
    assert listed[1]["unit"] == "jobs"
    assert [item["id"] for item in ask(ours, "alarms?state=firing").json()["results"]] == [str(mine.id)]
    assert ask(ours, "alarms?state=loud").json()["code"] == "unknown_state"
    assert ask(ours, f"alarms/{mine.id}").json()["value"] == 120
    assert ask(ours, f"alarms/{of_all.id}").json()["code"] == "alarm_not_found"


def test_an_operators_key_sees_the_platform_and_a_first_key_of_a_project_does_not(ours: Tenant) -> None:
    issued = services.issue_key(
        project_id=ours.project.id, name="platform", scopes_asked={"platform:read"}, actor="system"
    )
    own, alarm = Tenant(ours.project, issued.key.key_id, issued.text), make(None)
    assert [item["id"] for item in ask(own, "platform/alarms").json()["results"]] == [str(alarm.id)]
    assert ask(own, f"platform/alarms/{alarm.id}").json()["id"] == str(alarm.id)
    assert ask(own, "alarms").status_code == 403
    assert ask(own, f"platform/alarms/{alarm.id}/silence", {"until": hour(), "reason": "x"}).status_code == 403
    assert {"platform:read", "platform:write"} <= OPERATORS, "which no first key has"


def test_what_an_alarm_is_about_is_silenced_until_a_moment(ours: Tenant) -> None:
    alarm = make(ours.project.id)
    until = hour()
    answer = ask(ours, f"alarms/{alarm.id}/silence", {"until": until, "reason": "it is known"})

    assert answer.status_code == 200, answer.content
    row = Silence.objects.get()
    assert (row.rule_id, row.subject, row.until.isoformat()) == (alarm.rule_id, "", until)
    assert row.actor.startswith("key:")


@pytest.mark.parametrize(
    "body",
    [
        {}, {"until": "tomorrow", "reason": "x"}, {"until": "2020-01-01T00:00:00Z", "reason": "x"},
        {"until": "2096-01-01T00:00:00Z", "reason": "x"}, {"reason": "x"}, {"until": "2020-01-01T00:00:00Z"}, [], 7,
    ],
)  # fmt: skip
def test_a_silence_without_an_end_or_a_reason_is_refused(ours: Tenant, body: Any) -> None:
    alarm = make(ours.project.id)
    answer = ask(ours, f"alarms/{alarm.id}/silence", body)
    assert answer.status_code in {400, 422}, answer.content
    assert answer.json()["code"]
    assert not Silence.objects.exists()


def test_an_alarm_whose_rule_is_gone_cannot_be_silenced(ours: Tenant) -> None:
    alarm = make(ours.project.id, with_rule=False)
    assert ask(ours, f"alarms/{alarm.id}/silence", {"until": hour(), "reason": "x"}).status_code == 404
