"""Lanes under fire: whoever dies, the jobs of a lane run one after the other, in their order (T23)."""

import random
from functools import partial
from uuid import UUID

import pytest
from django.db import transaction

from jobs import interventions
from jobs.extensions import Decision
from jobs.models import Intervention
from jobs.states import ENDED
from tests.processes import Platform, Program

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

LANES = 20


def all_done_in_order(platform: Platform, ids: list[UUID]) -> None:
    platform.wait_ended(ids, seconds=120)
    assert platform.by_status(ids) == {"processed": len(ids)}
    in_order(platform, ids)
    assert len(platform.effects.count("ran", ids)) == len(ids)


def in_order(platform: Platform, ids: list[UUID]) -> None:
    """None of a lane began before the one ahead of it had run for the last time."""
    places = {
        str(row["id"]): (row["lane"], row["lane_no"])
        for row in platform.rows("select id, lane, lane_no from jobs_job where id = any(%s)", ids)
    }
    ran: dict[str, list[int]] = {}
    for effect in platform.effects.of("ran", ids):
        lane, number = places[effect["job"]]
        ran.setdefault(lane, []).append(number)
    assert {lane: numbers for lane, numbers in ran.items() if numbers != sorted(numbers)} == {}


def submit(platform: Platform, number: int, *, prefix: str = "") -> list[UUID]:
    return [
        job
        for lane in range(LANES)
        for job in platform.submit("test.within", number // LANES, {"seconds": 0.002}, lane=f"{prefix}{lane}")
    ]


def kill_beside_lanes(platform: Platform, *, kills: int, jobs: int, seed: int) -> None:
    """Kill one of two workers, or the relay, at random moments."""
    chance = random.Random(seed)
    print(f"seed {seed}")
    platform.some_relay()
    workers = [platform.worker(), platform.worker(beside=True)]
    ids: list[UUID] = []

    def ran(goal: int) -> bool:
        return len(platform.effects.of("ran", ids)) >= goal

    for _ in range(kills):
        ids += submit(platform, jobs)
        goal = len(platform.effects.of("ran", ids)) + chance.randrange(1, jobs // 2)
        platform.wait_until(partial(ran, goal), f"{goal} runs")
        if chance.random() < 0.3:
            platform.some_relay().kill()
            platform.relay()
        victim = workers.pop(chance.randrange(2))
        chance.choice([Program.kill, Program.kill_parent])(victim)
        workers.append(platform.worker(beside=True))
    all_done_in_order(platform, ids)


def test_lanes_keep_their_order_while_workers_die(platform: Platform) -> None:
    kill_beside_lanes(platform, kills=3, jobs=200, seed=1)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(5))
def test_lanes_keep_their_order_whoever_dies(platform: Platform, seed: int) -> None:
    kill_beside_lanes(platform, kills=20, jobs=400, seed=seed)


def test_a_transaction_that_holds_a_lane_holds_no_worker(platform: Platform) -> None:
    """Somebody submits to a lane and does not commit: what runs in it ends, and the worker goes on elsewhere."""
    platform.some_relay()
    platform.some_worker()
    first = platform.submit("test.gated", payload={"gate": "held"}, lane="held")
    platform.wait_until(lambda: platform.effects.of("began", first), "its begin")
    with transaction.atomic():
        second = platform.submit("test.within", payload={"seconds": 0}, lane="held")
        platform.effects.open("held")
        platform.wait_ended(first, seconds=20)
    platform.wait_ended(second, seconds=20)


def test_a_person_moves_blocked_lanes_on_and_their_order_holds(platform: Platform) -> None:
    """Jobs fail as often as they like; each time that one blocks its lane, somebody decides at random."""
    chance = random.Random(23)
    platform.some_relay()
    platform.some_worker()
    ids = [
        job
        for _ in range(6)
        for lane in chance.sample(range(LANES), LANES)
        for job in platform.submit("test.flaky", payload={"n": chance.choice([0, 0, 1, 3, 4])}, lane=f"l{lane}")
    ]
    decided: dict[str, int] = {}

    def all_ended() -> bool:
        for asked in Intervention.objects.filter(resolved_at=None):
            action = chance.choice(["resume", "resume", "skip", "supply"])
            output = {"by": "hand"} if action == "supply" else None
            interventions.resolve(asked, Decision(action, "tests", "by chance", output=output))
            decided[action] = decided.get(action, 0) + 1
        return sum(platform.by_status(ids).get(status, 0) for status in ENDED) == len(ids)

    platform.wait_until(all_ended, "the end of all lanes")

    assert decided.keys() == {"resume", "skip", "supply"}
    found = platform.by_status(ids)
    assert found == {"processed": len(ids) - decided["skip"], "cancelled": decided["skip"]}
    in_order(platform, ids)
