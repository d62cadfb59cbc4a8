"""Jobs whose results go on chain: done, they stand `confirming`, and hold their lane, until they are told."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from jobs import extensions, interventions, registry, services
from jobs.errors import InvalidOption, WrongStatus
from jobs.extensions import Decision
from jobs.models import Attempt, Intervention, Job
from jobs.states import Stage, Status
from jobs.store import Move
from tests.contracts.deliveries import PROJECT
from tests.integration.jobs.booking import booking, open_ones, run, statuses, submit
from tests.integration.jobs.conftest import events

__all__ = ["booking"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("booking", "chain")]


@pytest.fixture
def chain() -> Iterator[None]:
    """A stage `confirm`, as the app of confirmations registers it where a chain is set up."""
    there = Stage.CONFIRM in extensions.stages
    if not there:
        extensions.stages.register(Stage.CONFIRM, lambda _project, _job: None)
    yield
    if not there:
        del extensions.stages._things[Stage.CONFIRM]


def tell(verb: Any, *jobs: UUID) -> int:
    with transaction.atomic():
        return len(services.settle(verb, [Move(job, PROJECT, data='{"mode": "single"}') for job in jobs]))


def test_what_is_done_stands_confirming_until_it_is_told() -> None:
    (job_id,) = submit("", lane=None, confirm="batch")

    run()

    job = Job.objects.get(id=job_id)
    assert (job.status, job.stage, job.finished_at) == (Status.CONFIRMING, Stage.CONFIRM, None)
    assert Attempt.objects.get(job_id=job_id).stage == Stage.PROCESS
    assert [event["confirm"] for event in events("job.processed")] == ["batch"]
    assert tell("confirm", job_id) == 1
    job.refresh_from_db()
    assert (job.status, job.stage, job.seq) == (Status.CONFIRMED, Stage.CONFIRM, 3)
    assert job.finished_at is not None
    assert [event["seq"] for event in events("job.confirmed")] == [3]
    assert tell("confirm", job_id) == 0


def test_who_does_not_ask_for_it_ends_as_ever() -> None:
    (job_id,) = submit("", lane=None)

    run()

    assert statuses([job_id]) == ["processed"]
    assert "confirm" not in events("job.processed")[0]


def test_a_lane_goes_on_only_when_its_first_is_confirmed() -> None:
    ids = submit("", "", confirm="single")
    run()
    assert (statuses(ids), open_ones(ids)) == (["confirming", "queued"], [])

    tell("confirm", ids[0])

    assert open_ones(ids) == ids[1:]
    assert run() == ids[1:]


def test_what_fails_does_not_go_on_chain() -> None:
    ids = submit("reject", lane=None, confirm="single")

    run()

    assert statuses(ids) == ["rejected"]


def test_a_reorganisation_that_is_too_deep_takes_back_what_was_final() -> None:
    (job_id,) = submit("", lane=None, confirm="single")
    run()
    tell("confirm", job_id)

    assert tell("retract", job_id) == 1

    assert statuses([job_id]) == ["confirming"]
    assert Job.objects.get(id=job_id).finished_at is None
    assert tell("confirm", job_id) == 1


def test_a_person_lets_it_end_without_the_chain_and_the_lane_goes_on() -> None:
    ids = submit("", "", confirm="single")
    run()

    assert tell("unconfirm", ids[0]) == 1

    assert statuses(ids) == ["processed", "queued"]
    assert open_ones(ids) == ids[1:]


def test_a_result_that_a_person_supplies_goes_on_chain_too() -> None:
    (job_id,) = submit("fail", confirm="anchor")
    run()
    decision = Decision("supply", "ada", "it was done by hand", output={"done": True})
    intervention = Intervention.objects.get(subject_id=str(job_id), resolved_at=None)
    assert interventions.preview(intervention, decision)["job"]["status"] == Status.CONFIRMING

    interventions.resolve(intervention, decision)

    job = Job.objects.get(id=job_id)
    assert (job.status, job.stage, job.output) == (Status.CONFIRMING, Stage.CONFIRM, {"done": True})
    assert events("job.processed")[0]["confirm"] == "anchor"


def test_what_is_on_its_way_to_the_chain_cannot_be_stopped() -> None:
    (job_id,) = submit("", confirm="single")
    run()

    with pytest.raises(WrongStatus, match="cannot be stopped"):
        services.cancel(project_id=PROJECT, job_id=job_id, actor="ada")

    assert statuses([job_id]) == ["confirming"]


def test_only_a_kind_that_leaves_it_open_may_be_asked() -> None:
    changes = dict(registry._kinds)
    try:
        for says in ("never", "batch"):
            registry._kinds["account.book"] = replace(registry.get("account.book"), confirm=says)
            with pytest.raises(InvalidOption) as refused:
                submit("", confirm="single")
            assert refused.value.code == "confirm_not_allowed"
        (job_id,) = submit("")
        assert Job.objects.get(id=job_id).confirm == "batch"
    finally:
        registry._kinds.clear()
        registry._kinds.update(changes)


def test_without_a_chain_it_is_refused_where_it_is_asked_for() -> None:
    del extensions.stages._things[Stage.CONFIRM]
    try:
        with pytest.raises(InvalidOption) as refused:
            submit("", confirm="single")
        assert refused.value.code == "confirm_not_available"
    finally:
        extensions.stages.register(Stage.CONFIRM, lambda _project, _job: None)
