"""Schedules in the admin: a kind that exists, a payload that fits, an audit record for every change."""

import datetime as dt
import json
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from events.models import AuditRecord
from jobplatform.admin.people import set_up_groups
from jobs import firing, schedules
from jobs.models import Firing, Job, Schedule
from projects.models import Project
from projects.services import create_project

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
    assert (record.actor, record.data["name"], record.data["kind"]) == ("user:olga", "tidy often", "log.rotate")
    assert (record.data["after"]["kwargs"], record.data["after"]["interval"]) == (
        '{"keep_days": 9}',
        "every 3600 seconds",
    )


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"task": "no.such"}, "task"),
        ({"kwargs": '{"keep_days": 0}'}, "kwargs"),
        ({"kwargs": "[]"}, "kwargs"),
        ({"kwargs": "{"}, "kwargs"),
        ({"name": ""}, "name"),
        ({"interval": ""}, "__all__"),
        ({"project_id": "00000000-0000-0000-0000-000000000009"}, "project_id"),
        ({"missed": "perhaps"}, "missed"),
        ({"pause_on_failures": "-1"}, "pause_on_failures"),
        ({"expires_0": "2020-01-01", "expires_1": "00:00:00"}, "interval"),
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
        "schedule.resume",
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


# ------------------------------------------------------------------------------------------------ policies and page
@pytest.fixture
def project() -> Project:
    return create_project(name="Ours", actor="tests")


def test_policies_are_kept_and_what_is_not_given_stays(
    operator: Client, every_hour: IntervalSchedule, project: Project
) -> None:
    given = {
        "project_id": str(project.id), "missed": "all", "overlap": "queue_one", "while_paused": "skip",
        "pause_on_failures": "3",
    }  # fmt: skip
    operator.post(ADD, form(every_hour, **given))
    path = f"{LIST}{PeriodicTask.objects.get().pk}/change/"
    operator.post(path, form(every_hour, project_id=str(project.id), overlap="skip"))

    row = Schedule.objects.get()
    assert (row.project_id, row.missed, row.overlap, row.while_paused) == (project.id, "all", "skip", "skip")
    assert row.pause_on_failures == 3
    assert row.next_at is not None
    record = AuditRecord.objects.get(action="schedule.change")
    assert (record.data["before"], record.data["after"]) == ({"overlap": "queue_one"}, {"overlap": "skip"})


def test_an_interval_that_schedules_share_is_changed_with_a_record(every_hour: IntervalSchedule) -> None:
    root = Client()
    root.force_login(User.objects.create_superuser("root"))

    path = f"/admin/django_celery_beat/intervalschedule/{every_hour.pk}/change/"
    answer = root.post(path, {"every": 7200, "period": "seconds"})

    assert answer.status_code == 302
    record = AuditRecord.objects.get(action="intervalschedule.change")
    assert (record.actor, record.subject_id) == ("user:root", str(every_hour.pk))
    assert (record.data["before"], record.data["after"]) == ({"every": 3600}, {"every": 7200})


def test_a_payload_that_no_list_should_show_is_refused(operator: Client, every_hour: IntervalSchedule) -> None:
    answer = operator.post(ADD, form(every_hour, kwargs=json.dumps({"keep_days": 9, "note": "x" * 70_000})))

    assert "65536 at most" in str(answer.context["adminform"].form.errors["kwargs"])


def test_the_page_is_about_schedules_and_shows_what_comes_in_both_zones(operator: Client, project: Project) -> None:
    nightly = CrontabSchedule.objects.create(minute="30", hour="2", timezone="Asia/Kolkata")
    task = PeriodicTask.objects.create(name="nightly", task="log.rotate", crontab=nightly)
    row = schedules.of_task(task)
    Schedule.objects.update(project_id=project.id)
    PeriodicTask.objects.update(name=f"{project.id}/nightly")

    listed = operator.get(LIST).content.decode()
    page = operator.get(f"{LIST}{task.pk}/change/").content.decode()

    assert "periodic task" not in (listed + page).lower()
    assert "Schedules" in listed
    assert "Ours" in listed
    assert f"{project.id}/nightly" not in listed
    assert page.count("02:30:00 IST") == 5
    assert page.count("21:00:00 UTC") == 5
    assert f"{LIST}{task.pk}/run/" in page
    assert f"{LIST}{task.pk}/pause/" in page
    assert f"{LIST}{task.pk}/resume/" not in page
    assert row.next_at is not None


def test_a_list_of_many_schedules_takes_no_more_statements(operator: Client, every_hour: IntervalSchedule) -> None:
    for number in range(30):
        schedules.of_task(PeriodicTask.objects.create(name=f"s{number}", task="log.rotate", interval=every_hour))

    assert operator.get(LIST).status_code == 200  # what is remembered between requests is there now
    with CaptureQueriesContext(connection) as asked:
        assert operator.get(LIST).status_code == 200
    assert 5 <= len(asked) <= 15, [query["sql"][:150] for query in asked.captured_queries]


# ------------------------------------------------------------------------------------------------ acts
@pytest.fixture
def row(every_hour: IntervalSchedule) -> Schedule:
    return schedules.of_task(PeriodicTask.objects.create(name="tidy", task="engine.tidy", interval=every_hour))


def act(client: Client, row: Schedule, name: str, **given: str) -> Any:
    return client.post(f"{LIST}{row.task_id}/{name}/", {"reason": "because I may", **given})


def test_run_now_makes_a_job(operator: Client, row: Schedule) -> None:
    assert act(operator, row, "run", reason="").status_code == 200
    assert not Job.objects.exists()

    assert act(operator, row, "run").status_code == 302

    assert Job.objects.get().metadata == {"schedule": "tidy"}
    record = AuditRecord.objects.get(action="schedule.run")
    assert (record.actor, record.reason) == ("user:olga", "because I may")


def test_pausing_says_why_and_resuming_begins_anew(operator: Client, row: Schedule) -> None:
    act(operator, row, "pause")
    page = operator.get(f"{LIST}{row.task_id}/change/").content.decode()
    assert "because I may" in page
    assert f"{LIST}{row.task_id}/resume/" in page

    act(operator, row, "resume")

    assert PeriodicTask.objects.get().enabled
    assert firing.fire_due().jobs == 0


def test_the_last_job_is_shown_with_its_status(operator: Client, row: Schedule) -> None:
    end = schedules.now()
    begin = end - dt.timedelta(hours=1)
    firing.backfill(schedule_id=row.id, project_id=None, actor="tests", begin=begin, end=end)
    last = Firing.objects.filter(schedule_id=row.id).latest("instant")

    page = operator.get(f"{LIST}{row.task_id}/change/").content.decode()

    assert str(last.job_id) in page
    assert f"for {last.instant:%Y-%m-%d %H:%M:%S} UTC" in page


def test_a_backfill_is_foreseen_and_then_made(operator: Client, row: Schedule) -> None:
    begin = schedules.now().replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=3)
    span = {"begin": f"{begin:%Y-%m-%d %H:%M}", "end": f"{begin + dt.timedelta(hours=2):%Y-%m-%d %H:%M}"}

    foreseen = act(operator, row, "backfill", foresee="1", **span).content.decode()
    assert "3 instants, 0 of which have a job: 3 jobs." in foreseen
    assert not Job.objects.exists()

    assert act(operator, row, "backfill", **span).status_code == 302
    assert Firing.objects.filter(schedule_id=row.id).count() == 3
    assert "is about the past" in act(operator, row, "backfill", begin=span["begin"], end="2999-01-01").content.decode()


@pytest.mark.parametrize("name", ["run", "pause", "resume", "backfill"])
def test_nobody_acts_who_may_only_look_and_nothing_that_is_not_there(
    operator: Client, row: Schedule, name: str
) -> None:
    assert operator.get(f"{LIST}{row.task_id}/{name}/").status_code == 200
    assert operator.get(f"{LIST}999999/{name}/").status_code == 404
    assert operator.get(f"{LIST}x/{name}/").status_code == 404
    user = User.objects.create_user("vera", is_staff=True)
    user.groups.set([Group.objects.get(name="viewers")])
    viewer = Client()
    viewer.force_login(user)

    assert act(viewer, row, name).status_code == 403
    assert "missed: one" in viewer.get(f"{LIST}{row.task_id}/change/").content.decode()
    assert not Job.objects.exists()
