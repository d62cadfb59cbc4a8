"""Whoever drives a redrive may die at any moment: each job is queued once more exactly once, and none is left."""

import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest
from django.db import connection
from pytest_django import DjangoDbBlocker

from jobs.states import PLATFORM
from reconciliation.models import Redrive, RedriveRow
from reconciliation.services import plans
from reconciliation.services.plans import Plan
from tests.processes import PROJECT, Platform, Program, Servers

NUMBER = 1500
SEED = 20261123


@pytest.fixture
def platform(servers: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[Platform]:
    handlers = ("tests.browser.handlers",)
    with django_db_blocker.unblock(), Platform(servers.cluster, servers.broker_url, handlers=handlers) as platform:
        yield platform


def dead_invoices(platform: Platform, provider: Path, number: int) -> list[UUID]:
    ids = platform.submit("invoice.send", number, lambda n: {"number": n, "provider": str(provider)})
    platform.wait_ended(ids)
    counted = "select count(*) from reconciliation_deadletter where dead"
    platform.wait_until(lambda: platform.value(counted) == number, "the dead letters to be counted")
    return ids


def begin(project_id: UUID | None = PROJECT) -> Redrive:
    plan = Plan(filter={"errors_allowed_to_retry": ["connection_refused_error"]})
    return plans.begin(project_id=project_id, plan=plan, actor="tests", reason="it is up again")


def standing(row: Redrive) -> Redrive:
    row.refresh_from_db()
    return row


def worked(platform: Platform) -> Program:
    return platform.worker("default,events,signing,capture")


def _is_past(row: Redrive, place: int) -> bool:
    return standing(row).status == "done" or row.next_number + row.frozen >= place


def kill_until_done(platform: Platform, row: Redrive, dice: random.Random, *, most: int = 4) -> int:
    """Kill the worker every time that the redrive has got on a little."""
    kills = 0
    worker = worked(platform)
    while standing(row).status != "done" and kills < most:
        place = row.next_number + row.frozen + dice.randint(1, 600)
        platform.wait_until(partial(_is_past, row, place), "the redrive to get on")
        worker.kill()
        kills += 1
        worker = worked(platform)
    platform.wait_until(lambda: standing(row).status == "done", "the redrive to end", seconds=120)
    return kills


def test_its_worker_is_killed_again_and_again(platform: Platform, tmp_path: Path) -> None:
    provider = tmp_path / "provider"
    platform.relay()
    worked(platform)
    ids = dead_invoices(platform, provider, NUMBER)
    provider.touch()
    row = begin()

    kills = kill_until_done(platform, row, random.Random(SEED))

    assert kills > 1
    assert platform.by_status(ids) == {"processed": NUMBER}
    once = "select count(*) as n, count(distinct subject_id) as jobs from events_event where type = 'job.redriven'"
    assert platform.rows(once) == [{"n": NUMBER, "jobs": NUMBER}]
    numbers = RedriveRow.objects.filter(redrive_id=row.id).order_by("number").values_list("number", flat=True)
    assert list(numbers) == list(range(1, NUMBER + 1))
    assert (row.frozen, row.redriven, row.recovered, row.skipped, row.failed) == (NUMBER, NUMBER, NUMBER, 0, 0)
    platform.wait_until(
        lambda: platform.value("select coalesce(sum(dead), 0) from reconciliation_cause") == 0, "nothing to stand dead"
    )


def test_two_at_once_and_a_third_for_all_projects(platform: Platform, tmp_path: Path) -> None:
    provider = tmp_path / "provider"
    platform.relay()
    worked(platform)
    ids = dead_invoices(platform, provider, 600)
    provider.touch()
    rows = [begin(), begin(), begin(None)]

    platform.wait_until(lambda: {standing(row).status for row in rows} == {"done"}, "all to end", seconds=120)

    assert platform.by_status(ids) == {"processed": 600}
    assert platform.value("select count(*) from events_event where type = 'job.redriven'") == 600
    assert sum(row.redriven for row in rows) == 600
    assert all(row.redriven + row.skipped == row.frozen for row in rows)


def test_a_redrive_whose_job_is_gone_is_taken_up(platform: Platform, tmp_path: Path) -> None:
    provider = tmp_path / "provider"
    platform.relay()
    worker = worked(platform)
    ids = dead_invoices(platform, provider, 20)
    provider.touch()
    worker.kill()
    row = begin()
    with connection.cursor() as cursor:
        cursor.execute("delete from jobs_job where kind = %s", [plans.DRIVE])
        cursor.execute("update reconciliation_redrive set created_at = created_at - interval '5 minutes'")
        cursor.execute("update reconciliation_deadletter set died_at = died_at - interval '10 minutes'")
    worked(platform)

    platform.submit(
        "reconciliation.look",
        1,
        {},
    )

    platform.wait_until(lambda: standing(row).status == "done", "the redrive to end")
    assert platform.by_status(ids) == {"processed": 20}
    assert platform.value("select count(*) from jobs_job where project_id = %s and status = 'failed'", PLATFORM) == 0
