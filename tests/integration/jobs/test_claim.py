"""What a claim takes: a share for every project that has something due, and of each the highest priority first."""

from collections import Counter
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from django.db import connection

from jobs import pump, registry, services, shelves, store

pytestmark = pytest.mark.django_db

KIND = "claim.check"
OURS, THEIRS = uuid4(), uuid4()
FILL = """
insert into jobs_job (id, project_id, created_at, due_at, position, shelf_id, claim_no, seq, attempt, priority, gate,
                      cancel_requested, kind, stage, status, payload)
select gen_random_uuid(), %s, now(), now() - interval '1 second', 0, %s, 0, 1, 0, %s, 0,
       false, %s, 'process', 'queued', '{}'
from generate_series(1, %s)
"""


def fill(project_id: UUID, number: int, *, priority: int = 0, cap: int = 0) -> int:
    """A shelf with so many due jobs; its mark is low even when there is none."""
    key = (KIND, project_id, priority, cap)
    shelf = shelves.ids([key])[key]
    with connection.cursor() as cur:
        cur.execute("update jobs_shelf set low_due_at = now() - interval '1 minute' where id = %s", (shelf,))
        cur.execute(FILL, (project_id, shelf, priority, KIND, number))
    return shelf


def claim(batch: int = 100, **more: Any) -> Counter[int]:
    return Counter(job.shelf_id for job in store.claim_many(KIND, batch=batch, worker=1, **more))


@pytest.fixture(autouse=True)
def forget() -> None:
    shelves.forget()


def test_a_batch_holds_nothing_of_a_lower_priority_while_the_project_has_a_higher_one_due() -> None:
    high, low = fill(OURS, 150, priority=10), fill(OURS, 300)

    assert claim() == {high: 100}
    assert claim() == {high: 50}
    assert claim() == {low: 100}


def test_priorities_are_those_inside_of_a_project() -> None:
    """Who calls all of its jobs urgent gets no more than its share by that."""
    urgent, usual = fill(OURS, 300, priority=100), fill(THEIRS, 300)

    assert claim() == {urgent: 50, usual: 50}


def test_projects_share_a_batch() -> None:
    ours, theirs = fill(OURS, 300), fill(THEIRS, 300)

    assert claim() == {ours: 50, theirs: 50}


def test_projects_share_a_batch_by_weight() -> None:
    services.weigh(OURS, 3)
    ours, theirs = fill(OURS, 300), fill(THEIRS, 300)
    assert claim() == {ours: 75, theirs: 25}

    services.weigh(THEIRS, 3)
    services.weigh(OURS, 1)
    assert claim() == {ours: 25, theirs: 75}


def test_a_batch_that_is_too_small_for_all_goes_to_who_was_served_least() -> None:
    ours, theirs = fill(OURS, 300), fill(THEIRS, 300)

    assert claim(1, served={OURS: 1.0}) == {theirs: 1}
    assert claim(1, served={OURS: 1.0, THEIRS: 2.0}) == {ours: 1}


def test_a_pump_that_claims_one_at_a_time_gives_each_project_its_turn() -> None:
    ours, theirs = fill(OURS, 50), fill(THEIRS, 50)
    kind = replace(registry.get("engine.tidy"), name=KIND)
    post = cast("pump.Post", SimpleNamespace(turns={}, worker=1))

    taken = [job.shelf_id for _ in range(40) for job in pump._claim(post, kind, 1)]

    assert [sorted(taken[place : place + 2]) for place in range(0, 40, 2)] == [sorted([ours, theirs])] * 20


def test_of_more_projects_than_a_claim_looks_at_each_has_its_turn() -> None:
    many = [fill(uuid4(), 2) for _ in range(300)]
    taken: Counter[int] = Counter()
    for _ in range(12):
        taken += claim(256)

    assert taken == dict.fromkeys(many, 2)


def test_a_shelf_that_was_emptied_takes_no_share() -> None:
    ours = fill(OURS, 300)
    for _ in range(9):
        fill(uuid4(), 0)

    assert claim() == {ours: 100}


def test_of_the_shelves_with_a_cap_one_is_emptied_at_a_time() -> None:
    empty, capped = fill(THEIRS, 0, cap=4), fill(OURS, 30, cap=4)

    assert claim(capped=True) == {capped: 4}
    assert not claim()
    assert empty != capped


@pytest.mark.parametrize(("lazy", "commits"), [(True, "off"), (False, "on")])
def test_only_a_lazy_claim_does_not_wait_for_the_disk(*, lazy: bool, commits: str) -> None:
    fill(OURS, 1)
    with connection.cursor() as cur:
        cur.execute("set local synchronous_commit = on")

    assert claim(lazy=lazy)

    with connection.cursor() as cur:
        cur.execute("show synchronous_commit")
        assert cur.fetchone() == (commits,)
