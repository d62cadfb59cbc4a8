"""Canaries: one on its way per queue, whoever sends; the one before is gone; how long it took is noted."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from jobs import canary, registry, services
from jobs.handlers import Tidy
from jobs.models import Attempt, Canary, Job
from jobs.registry import handler
from jobs.run import Run
from jobs.states import CANARIES, PLATFORM
from jobs.testing import TestDesk

pytestmark = pytest.mark.django_db


@pytest.fixture
def queues() -> Iterator[list[str]]:
    """Two queues, one of them of a kind that is registered only now."""
    before = dict(registry._kinds)

    @handler("slow.work", payload=Tidy, queue="Slow queue")
    def slow(_job: Any) -> Any:
        """Nothing."""

    yield ["default", "Slow queue"]
    registry._kinds.clear()
    registry._kinds.update(before)


def end(job_id: UUID) -> None:
    """What a worker does with a canary."""
    kind = Job.objects.get(id=job_id).kind
    run = Run(job_id, kind, 1, canary.Nothing(), PLATFORM, {}, None, TestDesk())
    registry.get(kind)(run).within()
    Job.objects.filter(id=job_id).update(status="processed")


def on_their_way() -> dict[str, UUID]:
    return {row.queue: row.job_id for row in Canary.objects.all() if row.job_id}


def test_every_queue_has_a_kind_of_its_own(queues: list[str]) -> None:
    kinds = [registry.get(canary.name_of(queue)) for queue in [*queues, "events"]]

    assert [kind.queue for kind in kinds] == ["default", "Slow queue", "events"]
    assert len({kind.name for kind in kinds}) == 3
    assert not any(kind.public for kind in kinds)


def test_one_is_sent_to_each_queue_and_the_next_when_its_turn_has_come(queues: list[str]) -> None:
    assert canary.send(queues, every=60) == 2
    assert canary.send(queues, every=60) == 0
    first = on_their_way()
    assert canary.send(queues, every=0) == 0  # they are still on their way
    end(first["default"])
    assert canary.send(queues, every=60) == 0
    assert canary.send(queues, every=0) == 1

    assert on_their_way()["default"] != first["default"]
    assert on_their_way()["Slow queue"] == first["Slow queue"]
    found = Job.objects.filter(project_id=PLATFORM, kind__startswith=CANARIES)
    assert {job.id for job in found} == set(on_their_way().values())
    assert not Attempt.objects.filter(job_id=first["default"]).exists()


def test_what_it_took_is_noted_with_its_commit(queues: list[str]) -> None:
    canary.send(queues, every=60)
    seen = Canary.objects.get(queue="default").passed_at
    end(on_their_way()["default"])

    row = Canary.objects.get(queue="default")
    assert row.seconds is not None
    assert 0 < row.seconds < 60
    assert row.passed_at > seen
    assert Canary.objects.get(queue="Slow queue").seconds is None


def test_one_that_was_cancelled_is_replaced(queues: list[str]) -> None:
    canary.send(queues, every=60)
    services.cancel(project_id=PLATFORM, job_id=on_their_way()["default"], actor="somebody")

    assert canary.send(queues, every=0) == 1


def test_a_queue_whose_kinds_nobody_here_knows_gets_none(queues: list[str]) -> None:
    assert canary.send(["elsewhere"], every=0) == 0
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from jobs_canary")
        assert cursor.fetchone() == (0,)
