"""Alarms in the admin: from the front page to the alarm to its silence; rules, tried before they are saved."""

import datetime as dt
import html
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from uuid_utils.compat import uuid7

from events.models import AuditRecord
from jobplatform.admin.people import set_up_groups
from jobs import store
from reconciliation.models import Alarm, AlarmRule, AlarmSample, Silence
from reconciliation.services import alarms
from tests.integration.reconciliation.test_alarms import judge, make

RULES = "/admin/reconciliation/alarmrule/"
FORM = {
    "name": "Slow queues", "measure": "queue_age", "subject": "", "project_id": "", "threshold": "100",
    "clears_at": "50", "lasts_seconds": "60", "calm_seconds": "60", "severity": "page", "mail_to": "ada@example.com",
    "topics": "", "advice": "Start workers.", "enabled": "on",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(committed_alone: None, settings: Any) -> None:
    settings.ALARM_MAIL_TO = ["ada@example.com"]


def come(group: str) -> Client:
    set_up_groups()
    user = User.objects.create_user(group, is_staff=True)
    user.groups.set([Group.objects.get(name=group)])
    client = Client()
    client.force_login(user)
    return client


def text(answer: Any) -> str:
    assert answer.status_code == 200, answer
    return html.unescape(answer.content.decode())


def test_an_operator_goes_from_the_front_page_to_a_silence(settings: Any) -> None:
    rule = make(name="Waits <b>", advice="Start workers.")
    judge(("chain", 120))
    alarm = Alarm.objects.get(name="Waits <b>")
    operator = come("operators")

    front = operator.get("/admin/")
    address = f"/admin/reconciliation/alarm/{alarm.id}/change/"
    assert address in text(front)
    assert "Waits <b>" not in front.content.decode()
    page = text(operator.get(address))
    assert "Start workers." in page
    assert "alarm.fired" in page
    assert "ada@example.com" in page
    assert "120 s" in page

    silence = f"/admin/reconciliation/alarm/{alarm.id}/silence/"
    assert silence in page
    assert "This field is required" in text(operator.post(silence, {"hours": "4"}))
    done = operator.post(silence, {"hours": "4", "reason": "the provider is told"})
    assert done["Location"] == address
    row = Silence.objects.get()
    assert (row.rule_id, row.subject, row.actor) == (rule.id, "chain", "user:operators")
    assert dt.timedelta(hours=3.9) < row.until - store.now() < dt.timedelta(hours=4.1)
    assert "silenced" in text(operator.get(address))

    listed = text(operator.get("/admin/reconciliation/silence/"))
    assert f"/admin/reconciliation/silence/{row.id}/end/" in listed
    operator.post(f"/admin/reconciliation/silence/{row.id}/end/", {"reason": "all is well"})
    row.refresh_from_db()
    assert row.until <= store.now()
    assert "Waits <b>" in text(operator.get("/admin/reconciliation/alarm/"))


def test_a_rule_is_tried_on_the_last_days_before_it_is_saved() -> None:
    now = store.now().replace(second=0, microsecond=0)
    levels = [40.0] * 5 + [120.0] * 5 + [40.0] * 5
    AlarmSample.objects.bulk_create(
        AlarmSample(at=now - dt.timedelta(minutes=20 - n), values={"queue_age": [[None, "chain", level]]})
        for n, level in enumerate(levels)
    )
    operator = come("operators")

    page = text(operator.post(f"{RULES}add/", {**FORM, "foresee": "1"}))
    assert "It would have fired 1 time, and been pending only 0 times" in page
    assert "chain" in page
    assert "120 s" in page
    assert not AlarmRule.objects.exists()
    mild = text(operator.post(f"{RULES}add/", {**FORM, "threshold": "300", "foresee": "1"}))
    assert "It would have fired 0 times" in mild

    assert "This field is required" in text(operator.post(f"{RULES}add/", FORM))
    assert operator.post(f"{RULES}add/", {**FORM, "reason": "we were late"})["Location"] == RULES
    rule = AlarmRule.objects.get()
    assert (rule.threshold, rule.mail_to, rule.enabled, rule.severity) == (100, ["ada@example.com"], True, "page")

    address = f"{RULES}{rule.id}/change/"
    assert 'value="100.0"' in text(operator.get(address))
    operator.post(address, {**FORM, "threshold": "200", "reason": "too loud"})
    rule.refresh_from_db()
    assert rule.threshold == 200
    changed = AuditRecord.objects.get(action="rule.change")
    assert (changed.data, changed.reason, changed.actor) == ({"threshold": 200.0}, "too loud", "user:operators")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"clears_at": "500"}, "An alarm is over at a milder value"),
        ({"threshold": "many"}, "Enter a number"),
        ({"mail_to": "ada"}, "ada is no address of mail"),
        ({"topics": "ops"}, "ops is no ARN"),
        ({"measure": "mood"}, "Select a valid choice"),
        ({"name": "Waits"}, "Another rule has this name"),
    ],
)
def test_a_rule_that_does_not_fit_is_told_so_at_its_field(given: dict[str, str], said: str) -> None:
    make()
    page = text(come("operators").post(f"{RULES}add/", {**FORM, **given, "reason": "we were late"}))
    assert said in page
    assert AlarmRule.objects.count() == 1


def test_who_only_looks_changes_nothing() -> None:
    rule = make()
    judge(("chain", 120))
    alarm = Alarm.objects.get(name="Waits")
    viewer = come("viewers")

    assert "Silence</a>" not in text(viewer.get(f"/admin/reconciliation/alarm/{alarm.id}/change/"))
    assert viewer.post(f"/admin/reconciliation/alarm/{alarm.id}/silence/", {"reason": "quiet"}).status_code == 403
    assert viewer.post(f"{RULES}add/", {**FORM, "reason": "quiet"}).status_code == 403
    assert viewer.post(f"{RULES}{rule.id}/change/", {**FORM, "reason": "quiet"}).status_code == 403
    assert viewer.get(f"{RULES}{uuid7()}/change/").status_code == 404
    assert viewer.get("/admin/reconciliation/alarm/no-such/change/").status_code == 404
    assert Client().get(RULES).status_code == 302
    assert not Silence.objects.exists()
    rule.refresh_from_db()
    assert rule.name == "Waits"


def test_a_rule_that_ships_and_is_removed_comes_back() -> None:
    alarms.look()
    operator = come("operators")
    rule = AlarmRule.objects.get(name="No worker")
    assert operator.post(f"{RULES}{rule.id}/delete/", {"post": "yes"}).status_code == 403, "it is switched off instead"
    User.objects.update(is_superuser=True)
    assert operator.post(f"{RULES}{rule.id}/delete/", {"post": "yes"}).status_code == 302
    assert not AlarmRule.objects.filter(name="No worker").exists()
    alarms.look()
    assert AlarmRule.objects.filter(name="No worker").exists()
