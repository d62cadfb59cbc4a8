"""Schedules over HTTP: a project's own, and nobody else's."""

import datetime as dt
from typing import Any
from uuid import UUID

import pytest
from django_celery_beat.models import ClockedSchedule, CrontabSchedule, IntervalSchedule, PeriodicTask

from events.models import AuditRecord
from jobs import schedules
from jobs.models import Firing, Job, Schedule
from jobs.states import PLATFORM
from projects import services
from tests.integration.jobs.conftest import JOBS
from tests.integration.jobs.timetables import HOUR, Clock, clock, schedule, tick
from tests.integration.projects.conftest import Call, Tenant, call, ours, theirs

__all__ = ["call", "clock", "ours", "theirs"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("kinds")]

SCHEDULES = "/api/v1/schedules"
HOURLY = {"name": "hourly", "kind": "parcel.send", "payload": {"parcel_id": "P-1"}, "cron": "0 * * * *"}


def create(call: Call, **more: Any) -> Any:
    answer = call("POST", SCHEDULES, HOURLY | more)
    assert answer.status_code == 201, answer.content
    return answer.json()


def test_a_schedule_is_created_and_fires_for_its_project(call: Call, ours: Tenant, clock: Clock) -> None:
    answer = call("POST", SCHEDULES, HOURLY | {"timezone": "Asia/Kolkata", "overlap": "skip", "pause_on_failures": 3})
    made = answer.json()

    assert answer.status_code == 201, answer.content
    assert answer.headers["Location"] == made["links"]["self"] == f"{SCHEDULES}/{made['id']}"
    wanted = HOURLY | {
        "every": None, "at": None, "timezone": "Asia/Kolkata", "missed": "one", "overlap": "skip", "while_paused": "one",
        "pause_on_failures": 3, "enabled": True, "paused_reason": None, "last": None,
    }  # fmt: skip
    assert {name: made[name] for name in wanted} == wanted
    assert made["next_at"] == made["upcoming"][0]
    assert len(made["upcoming"]) == 5
    assert made["next_at"].endswith(":30:00Z")

    clock.move(HOUR)
    assert tick() == 1
    found = call("GET", made["links"]["self"]).json()
    job = call("GET", f"{JOBS}/{found['last']['job_id']}").json()

    assert (found["last"]["instant"], found["last"]["status"]) == (made["next_at"], "queued")
    assert job["metadata"] == {"schedule": "hourly", "instant": made["next_at"].replace("Z", "+00:00")}
    assert call("GET", SCHEDULES).json()["results"] == [{k: v for k, v in found.items() if k != "upcoming"}]
    assert AuditRecord.objects.get(action="schedule.create").actor == f"key:{ours.key_id}"


@pytest.mark.parametrize(
    ("when", "shown"),
    [
        ({"every": 60}, {"every": 60, "cron": None, "at": None, "timezone": None}),
        ({"at": "2100-01-01T00:00:00Z"}, {"at": "2100-01-01T00:00:00Z", "every": None, "next_at": "2100-01-01T00:00:00Z"}),
        ({"at": "9999-12-29T00:00:00Z"}, {"next_at": "9999-12-29T00:00:00Z"}),
        ({"cron": "0 22-3 * * mon-fri,7"}, {"cron": "0 22-3 * * mon-fri,7", "timezone": "UTC"}),
    ],
)  # fmt: skip
def test_three_ways_to_say_when(call: Call, when: dict[str, Any], shown: dict[str, Any]) -> None:
    made = call("POST", SCHEDULES, _with(when)).json()

    assert {name: made[name] for name in shown} == shown


def _with(more: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in (HOURLY | {"cron": None} | more).items() if value is not None}


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (_with({}), "validation_error", ""),
        (_with({"cron": "0 * * * *", "every": 60}), "validation_error", ""),
        (_with({"every": 60, "timezone": "UTC"}), "validation_error", ""),
        (_with({"every": 9}), "validation_error", "/every"),
        (_with({"every": 10**9}), "validation_error", "/every"),
        (_with({"cron": "0 * * *"}), "validation_error", "/cron"),
        (_with({"cron": "00 ** * * *"}), "invalid_schedule", "/cron"),
        (_with({"cron": "60 * * * *"}), "invalid_schedule", "/cron"),
        (_with({"cron": f"{'0,' * 60}0 * * * *"}), "invalid_schedule", "/cron"),
        (_with({"cron": "0 0 31 2 *"}), "invalid_schedule", "/cron"),
        (_with({"cron": "0 * * * *", "timezone": "Mars/Base"}), "invalid_schedule", "/timezone"),
        (_with({"cron": "0 * * * *", "timezone": "../../etc/passwd"}), "invalid_schedule", "/timezone"),
        (_with({"cron": "0 * * * *", "timezone": "Europe"}), "invalid_schedule", "/timezone"),
        (_with({"at": "2020-01-01T00:00:00Z"}), "invalid_schedule", "/at"),
        (HOURLY | {"name": ""}, "validation_error", "/name"),
        (HOURLY | {"name": "a\x01b"}, "validation_error", "/name"),
        (HOURLY | {"name": "x" * 101}, "validation_error", "/name"),
        (HOURLY | {"kind": "no.such"}, "unknown_kind", "/kind"),
        (HOURLY | {"kind": "parcel.burn"}, "unknown_kind", "/kind"),
        (HOURLY | {"payload": {"parcel_id": ""}}, "invalid_payload", "/payload/parcel_id"),
        (HOURLY | {"missed": "perhaps"}, "validation_error", "/missed"),
        (HOURLY | {"pause_on_failures": 101}, "validation_error", "/pause_on_failures"),
        (HOURLY | {"project_id": str(PLATFORM)}, "validation_error", "/project_id"),
    ],
)
def test_a_schedule_that_does_not_fit_says_where(call: Call, body: dict[str, Any], code: str, field: str) -> None:
    answer = call("POST", SCHEDULES, body)

    assert answer.status_code == 422, answer.content
    assert answer.json()["code"] == code
    assert answer.json()["errors"][0]["field"] == field
    assert not PeriodicTask.objects.exists()
    assert not CrontabSchedule.objects.exists()


def test_a_name_is_a_project_s_own(call: Call, theirs: Tenant) -> None:
    create(call)
    again = call("POST", SCHEDULES, HOURLY)

    assert (again.status_code, again.json()["code"]) == (409, "schedule_exists")
    assert call("POST", SCHEDULES, HOURLY, key=theirs.text).json()["name"] == "hourly"


def test_sent_twice_with_a_key_it_is_created_once(call: Call) -> None:
    first, second = (call("POST", SCHEDULES, HOURLY, Idempotency_Key="a") for _ in range(2))

    assert first.json() == second.json()
    assert Schedule.objects.count() == 1


def test_a_project_has_so_many_at_most(call: Call, theirs: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MOST_OF_A_PROJECT", 1)
    create(call)

    assert call("POST", SCHEDULES, HOURLY | {"name": "second"}).json()["code"] == "too_many_schedules"
    assert call("POST", SCHEDULES, HOURLY, key=theirs.text).status_code == 201


def test_another_s_schedule_and_the_platform_s_are_not_there(call: Call, theirs: Tenant) -> None:
    made = create(call)
    platform = schedule(project_id=PLATFORM, kind="parcel.send")
    paths = [made["links"]["self"], f"{SCHEDULES}/{platform.id}", f"{SCHEDULES}/{UUID(int=5)}"]
    acts = [("GET", ""), ("DELETE", ""), *(("POST", f"/{act}") for act in ("run", "pause", "resume", "backfill"))]

    answers = {(path, m, a): call(m, path + a, key=theirs.text).status_code for path in paths for m, a in acts}

    assert {key: status for key, status in answers.items() if status != 404} == {}
    assert call("GET", SCHEDULES, key=theirs.text).json()["results"] == []
    assert [row["id"] for row in call("GET", SCHEDULES).json()["results"]] == [made["id"]]
    assert Schedule.objects.count() == 2
    assert not Job.objects.exists()


def test_a_schedule_that_is_deleted_leaves_its_jobs_and_nothing_of_its_own(call: Call, clock: Clock) -> None:
    made = create(call)
    clock.move(HOUR)
    tick()

    assert call("DELETE", made["links"]["self"]).status_code == 204
    assert call("DELETE", made["links"]["self"]).status_code == 404
    clock.move(HOUR)
    assert tick() == 0
    assert Job.objects.count() == 1
    left = (PeriodicTask, CrontabSchedule, IntervalSchedule, ClockedSchedule, Schedule)
    assert [model for model in left if model.objects.exists()] == []


def test_run_pause_and_resume(call: Call, clock: Clock) -> None:
    made = create(call)
    links = made["links"]

    ran = call("POST", links["run"], {"reason": "to see"}, Idempotency_Key="r")
    assert ran.status_code == 202
    assert call("POST", links["run"], {"reason": "to see"}, Idempotency_Key="r").json() == ran.json()
    assert call("GET", ran.json()["links"]["job"]).json()["metadata"] == {"schedule": "hourly"}

    paused = call("POST", links["pause"], {"reason": "away"}).json()
    assert (paused["enabled"], paused["paused_reason"], paused["next_at"], paused["upcoming"]) == (
        False,
        "away",
        None,
        [],
    )
    clock.move(3 * HOUR)
    assert tick() == 0

    resumed = call("POST", links["resume"]).json()
    assert (resumed["enabled"], resumed["paused_reason"]) == (True, None)
    assert tick() == 0
    assert Job.objects.count() == 1
    acts = AuditRecord.objects.filter(subject_type="schedule").order_by("id").values_list("action", flat=True)
    assert list(acts) == ["schedule.create", "schedule.run", "schedule.pause", "schedule.resume"]


def test_a_backfill_is_counted_and_then_made(call: Call, clock: Clock) -> None:
    made = create(call)
    begin = schedules.now().replace(minute=0, second=0, microsecond=0) - dt.timedelta(hours=5)
    span = {"from": begin.isoformat(), "to": (begin + 2 * HOUR).isoformat()}
    path = made["links"]["backfill"]

    foreseen = call("POST", path, span | {"dry_run": True}).json()
    assert (foreseen["dry_run"], foreseen["instants"], foreseen["made"]) == (True, 3, 0)
    assert not Firing.objects.exists()
    assert call("POST", path, span).json()["made"] == 3
    assert call("POST", path, span).json()["existing"] == 3
    assert Job.objects.count() == 3


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "/from"),
        ({"from": "2020-01-01T00:00:00Z", "to": "2020-01-02T00:00:00Z"}, "/from"),
        ({"from": "2020-01-01T00:00:00Z", "to": "2999-01-02T00:00:00Z"}, "/to"),
        ({"from": "yesterday", "to": "today"}, "/from"),
    ],
)
def test_a_backfill_that_does_not_fit_says_where(call: Call, body: dict[str, Any], field: str) -> None:
    answer = call("POST", create(call)["links"]["backfill"], body)

    assert answer.status_code == 422, answer.content
    assert answer.json()["errors"][0]["field"] == field


def test_a_key_that_may_only_read_changes_nothing(call: Call, ours: Tenant) -> None:
    made = create(call)
    issued = services.issue_key(project_id=ours.project.id, name="r", scopes_asked=["schedules:read"], actor="system")

    assert call("GET", made["links"]["self"], key=issued.text).status_code == 200
    for method, path in [("POST", SCHEDULES), ("DELETE", made["links"]["self"]), ("POST", made["links"]["run"])]:
        assert call(method, path, key=issued.text).status_code == 403
    assert not Job.objects.exists()


def test_a_page_of_many_takes_few_statements(call: Call, django_assert_max_num_queries: Any) -> None:
    for number in range(12):
        create(call, name=f"s{number}")
    with django_assert_max_num_queries(8):
        page = call("GET", f"{SCHEDULES}?limit=10").json()

    assert [row["name"] for row in page["results"]] == [f"s{number}" for number in range(11, 1, -1)]
    assert [row["name"] for row in call("GET", page["next"]).json()["results"]] == ["s1", "s0"]
