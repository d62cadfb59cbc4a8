"""What is explained of a job is what the claim does: "claimable now" are the jobs that claims return."""

import datetime as dt
import random
from uuid import UUID

import pytest

from events.log import move_clock
from jobs import limits, pauses, registry, services, standing
from jobs.models import Job, LimitKey, LimitRule
from jobs.serializers import explain
from jobs.serializers.explaining import claimable
from jobs.services import JobRequest
from jobs.states import Status
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.booking import booking
from tests.integration.jobs.limited import claim, limited, submit

__all__ = ["booking", "limited"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("booking", "limited")]

OTHER = UUID(int=8)
KINDS = ("account.book", "call.two", "call.heavy", "call.minute")


def claimable_ids() -> set[UUID]:
    jobs = Job.objects.filter(status=Status.QUEUED).values_list("project_id", "id")
    return {job_id for project, job_id in jobs if claimable(standing.of(project, job_id))}


def claimed_ids() -> set[UUID]:
    found = set()
    for kind in KINDS:
        while claimed := claim(kind, 512):
            found |= {job.id for job in claimed}
    return found


def shake(chance: random.Random) -> None:
    """Something that happens to jobs."""
    project, kind = chance.choice([PROJECT, OTHER]), chance.choice(KINDS)
    match chance.randrange(9):
        case 0 | 1 | 2:
            payload = (
                {} if kind == "account.book" else {"provider": chance.choice("pq"), "tokens": chance.randrange(1, 6)}
            )
            due = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1) if chance.random() < 0.2 else None
            lane = chance.choice("abc") if chance.random() < 0.3 else None
            services.submit_many(
                project_id=project,
                requests=[
                    JobRequest(kind, payload, due_at=due, lane=lane, priority=chance.choice([0, 0, 10]))
                    for _ in range(chance.randrange(1, 5))
                ],
            )
        case 3 | 4:
            worker = Worker(registry.get(kind), "one")
            claimed = claim(kind, chance.choice([1, 3, 50]), worker)
            worker.run(claimed[: chance.randrange(len(claimed) + 1)])
        case 5:
            pauses.pause(actor="tests", reason="x", project_id=project, kind=kind)
        case 6:
            LimitKey.objects.filter(name=kind).update(
                closed_until=dt.datetime.now(dt.UTC) + dt.timedelta(hours=chance.choice([-1, 1])),
                ramp=chance.choice([None, 1, 2]),
            )
        case 7:
            bounds = {"rate": 0.01, "burst": 2} if kind == "call.minute" else {"concurrency": chance.randrange(6)}
            LimitRule.objects.update_or_create(name=kind, project_id=project, defaults=bounds)
            limits.align()
        case 8:
            limits.sweep()


@pytest.mark.parametrize("seed", range(12))
def test_what_is_claimable_is_what_claims_return(seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(40):
        shake(chance)
    move_clock(dt.timedelta(seconds=chance.choice([0, 25, 3000])))

    foreseen = claimable_ids()

    assert claimed_ids() == foreseen
    assert claimable_ids() == set()


def gates(job_id: UUID) -> list[str]:
    return [gate["code"] for gate in explain(standing.of(PROJECT, job_id))["gates"]]


def test_every_gate_is_named_with_its_earliest_opening() -> None:
    Worker(registry.get("call.two"), "one")
    until = dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)
    submit("call.two", 2)
    claim("call.two")
    job_id = submit("call.two")[0]
    claim("call.two")
    LimitKey.objects.update(closed_until=until)
    pauses.pause(actor="tests", reason="down", project_id=PROJECT, until=until)

    shown = explain(standing.of(PROJECT, job_id))

    assert not shown["claimable"]
    assert [(gate["code"], gate["opens_at"]) for gate in shown["gates"]] == [
        ("paused", until),
        ("limit_closed", until),
        ("limit_reached", None),
        ("waits_for_limit", None),
    ]


def test_a_rate_says_when_the_job_may_start() -> None:
    Worker(registry.get("call.minute"), "one")
    ids = submit("call.minute", 3)
    claim("call.minute")

    waits = explain(standing.of(PROJECT, ids[1]))

    assert gates(ids[1])[0] == "limit_rate"
    seconds = (waits["gates"][0]["opens_at"] - dt.datetime.now(dt.UTC)).total_seconds()
    assert seconds == pytest.approx(10, abs=3)


def test_a_share_is_told_where_others_wait_as_well() -> None:
    ids = submit("call.free", 2)
    submit("call.free", 1, project_id=OTHER)

    assert gates(ids[1]) == ["no_worker", "in_line", "fair_share"]
    assert claimable(standing.of(PROJECT, ids[1]))


def test_what_another_project_does_is_not_told() -> None:
    """A limit across projects: nobody learns how many of the others' jobs run."""
    submit("call.all", project_id=OTHER)
    claim("call.all")
    job_id = submit("call.all")[0]

    shown = explain(standing.of(PROJECT, job_id))
    assert "and 1 run" not in " ".join(gate["detail"] for gate in shown["gates"])
    assert "in_use" not in shown["facts"]
