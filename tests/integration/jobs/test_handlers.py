"""Housekeeping removes what has expired, in slices, and nothing else."""

from typing import Any
from uuid import uuid4

import pytest
from django.db import connection

from jobs import handlers, shelves
from jobs.states import PLATFORM
from jobs.testing import run_once
from tests.integration.jobs.test_claim import FILL, KIND

pytestmark = pytest.mark.django_db

PROJECT = uuid4()
ATTEMPT = (
    "insert into jobs_attempt (job_id, project_id, claim_no, attempt, stage, started_at, ended_at, outcome)"
    " values (%s, %s, 1, 1, 'process', now(), now(), 'done')"
)
KEY = "insert into jobs_uniquekey (project_id, kind, key, job_id, until) values (%s, %s, %s, %s, {})"


@pytest.mark.parametrize("slice_", [1, 2, 1000])
def test_keys_of_ended_jobs_and_past_times_are_freed(slice_: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "SLICE", slice_)
    shelves.forget()
    key = (KIND, PROJECT, 0, 0)
    with connection.cursor() as cur:
        cur.execute(FILL, (PROJECT, shelves.ids([key])[key], 0, KIND, 4))
        cur.execute("select id from jobs_job where project_id = %s", (PROJECT,))
        ended, active, timed, expired = (row[0] for row in cur.fetchall())
        cur.execute("update jobs_job set status = 'failed' where id = %s", (ended,))
        cur.execute(KEY.format("null"), (PROJECT, KIND, "ended", ended))
        cur.execute(KEY.format("null"), (PROJECT, KIND, "active", active))
        cur.execute(KEY.format("null"), (PROJECT, KIND, "gone", uuid4()))
        cur.execute(KEY.format("now() + interval '1 hour'"), (PROJECT, KIND, "timed", timed))
        cur.execute(KEY.format("now() - interval '1 hour'"), (PROJECT, KIND, "expired", expired))

    outcome = run_once(handlers.tidy, {}, project_id=PROJECT)

    assert outcome.output["unique_keys"] == 3
    with connection.cursor() as cur:
        cur.execute("select key from jobs_uniquekey where project_id = %s order by key", (PROJECT,))
        assert [row[0] for row in cur.fetchall()] == ["active", "timed"]


def test_workers_are_forgotten_a_week_after_their_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "SLICE", 1)
    with connection.cursor() as cur:
        cur.execute(
            "insert into jobs_worker (name, host, pid, parent_pid, queues, kinds, started_at, heartbeat_at, stopped_at)"
            " select 'w', 'h', n, 1, '{}', '{}', now(), now(), now() - n * interval '3 days' from generate_series(1, 4) n"
        )

    outcome = run_once(handlers.tidy, {}, project_id=PROJECT)

    assert outcome.output["workers"] == 2
    with connection.cursor() as cur:
        cur.execute("select pid from jobs_worker order by pid")
        assert [row[0] for row in cur.fetchall()] == [1, 2]


@pytest.mark.parametrize("slice_", [1, 1000])
def test_the_platforms_own_jobs_go_after_three_days_if_they_ended_well(
    slice_: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "SLICE", slice_)
    shelves.forget()
    ends = (("processed", 4), ("processed", 4), ("cancelled", 4), ("processed", 2), ("failed", 9), ("queued", 9))
    kept: dict[Any, list[Any]] = {}
    with connection.cursor() as cur:
        for project in (PLATFORM, PROJECT):
            key = (KIND, project, 0, 0)
            cur.execute(FILL, (project, shelves.ids([key])[key], 0, KIND, len(ends)))
            cur.execute("select id from jobs_job where project_id = %s and kind = %s order by id", (project, KIND))
            kept[project] = [row[0] for row in cur.fetchall()]
            for job, (status, days) in zip(kept[project], ends, strict=True):
                cur.execute(
                    "update jobs_job set status = %s, finished_at = now() - %s * interval '1 day' where id = %s",
                    (status, days, job),
                )
                cur.execute(ATTEMPT, (job, project))

    outcome = run_once(handlers.tidy, {}, project_id=PROJECT)

    assert outcome.output["own_jobs"] == 3
    with connection.cursor() as cur:
        for project, there in ((PLATFORM, kept[PLATFORM][3:]), (PROJECT, kept[PROJECT])):
            cur.execute("select id from jobs_job where project_id = %s and kind = %s order by id", (project, KIND))
            assert [row[0] for row in cur.fetchall()] == there
            cur.execute("select job_id from jobs_attempt where job_id = any(%s) order by job_id", (kept[project],))
            assert [row[0] for row in cur.fetchall()] == there
