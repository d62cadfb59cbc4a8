"""What a claim takes: the highest priority first, and of that a share for every shelf that holds something."""

from collections import Counter
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection

from jobs import shelves, store

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


def test_a_batch_holds_nothing_of_a_lower_priority_while_a_higher_one_is_due() -> None:
    high, other_high, low = fill(OURS, 300, priority=10), fill(THEIRS, 1, priority=10), fill(OURS, 300)

    assert claim() == {high: 50, other_high: 1}
    assert claim() == {high: 100}
    assert claim(200) == {high: 150}
    assert claim() == {low: 100}


def test_shelves_of_one_priority_share_a_batch() -> None:
    ours, theirs = fill(OURS, 300), fill(THEIRS, 300)

    assert claim() == {ours: 50, theirs: 50}


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
