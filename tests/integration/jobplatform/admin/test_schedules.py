"""Schedules in the admin: a kind that exists, a payload that fits, an audit record for every change."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from events.models import AuditRecord
from jobplatform.admin.people import set_up_groups

pytestmark = pytest.mark.django_db

ADD = "/admin/django_celery_beat/periodictask/add/"
LIST = "/admin/django_celery_beat/periodictask/"


@pytest.fixture
def operator() -> Client:
    set_up_groups()
    user = User.objects.create_user("olga", is_staff=True)
    user.groups.set([Group.objects.get(name="operators")])
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def every_hour() -> IntervalSchedule:
    return IntervalSchedule.objects.create(every=3600, period=IntervalSchedule.SECONDS)


def form(every: IntervalSchedule, **more: Any) -> dict[str, Any]:
    return {
        "name": "tidy often",
        "task": "log.rotate",
        "kwargs": '{"keep_days": 9}',
        "enabled": "on",
        "interval": every.pk,
    } | more


def test_a_schedule_is_created_with_its_payload(operator: Client, every_hour: IntervalSchedule) -> None:
    answer = operator.post(ADD, form(every_hour))

    assert answer.status_code == 302, answer.context["adminform"].form.errors
    row = PeriodicTask.objects.get(name="tidy often")
    assert (row.task, json.loads(row.kwargs), row.enabled) == ("log.rotate", {"keep_days": 9}, True)
    record = AuditRecord.objects.get(action="schedule.create")
    assert (record.actor, record.data) == ("user:olga", {"name": "tidy often", "kind": "log.rotate"})


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"task": "no.such"}, "task"),
        ({"kwargs": '{"keep_days": 0}'}, "kwargs"),
        ({"kwargs": "[]"}, "kwargs"),
        ({"kwargs": "{"}, "kwargs"),
        ({"name": ""}, "name"),
        ({"interval": ""}, "__all__"),
    ],
)
def test_a_schedule_that_makes_no_sense_is_refused(
    operator: Client, every_hour: IntervalSchedule, given: dict[str, str], field: str
) -> None:
    answer = operator.post(ADD, form(every_hour, **given))

    assert answer.status_code == 200
    assert field in answer.context["adminform"].form.errors
    assert not PeriodicTask.objects.exists()


def test_a_payload_survives_its_form(operator: Client, every_hour: IntervalSchedule) -> None:
    operator.post(ADD, form(every_hour))
    row = PeriodicTask.objects.get()
    path = f"{LIST}{row.pk}/change/"
    shown = operator.get(path).context["adminform"].form

    operator.post(path, form(every_hour, kwargs=shown["kwargs"].value(), name="renamed"))

    row.refresh_from_db()
    assert (row.name, json.loads(row.kwargs)) == ("renamed", {"keep_days": 9})
    assert AuditRecord.objects.filter(action="schedule.change").count() == 1


def test_schedules_are_paused_and_enabled_with_a_record_each(operator: Client, every_hour: IntervalSchedule) -> None:
    operator.post(ADD, form(every_hour))
    row = PeriodicTask.objects.get()

    for action in ("pause", "pause", "enable"):
        operator.post(LIST, {"action": action, "_selected_action": [row.pk]})

    assert PeriodicTask.objects.get().enabled
    assert [r.action for r in AuditRecord.objects.filter(subject_type="schedule").order_by("id")] == [
        "schedule.create",
        "schedule.pause",
        "schedule.enable",
    ]


def test_a_schedule_whose_kind_has_gone_can_be_looked_at(operator: Client, every_hour: IntervalSchedule) -> None:
    row = PeriodicTask.objects.create(name="old", task="gone.kind", interval=every_hour)

    page = operator.get(f"{LIST}{row.pk}/change/").content.decode()

    assert 'value="gone.kind" selected' in page


def test_viewers_change_nothing(every_hour: IntervalSchedule) -> None:
    set_up_groups()
    user = User.objects.create_user("vera", is_staff=True)
    user.groups.set([Group.objects.get(name="viewers")])
    client = Client()
    client.force_login(user)
    row = PeriodicTask.objects.create(name="old", task="log.rotate", interval=every_hour)

    assert client.get(LIST).status_code == 200
    assert client.get(f"{LIST}{row.pk}/change/").status_code == 200
    assert client.post(f"{LIST}{row.pk}/change/", form(every_hour)).status_code == 403
    client.post(LIST, {"action": "pause", "_selected_action": [row.pk]})
    assert PeriodicTask.objects.get().enabled
