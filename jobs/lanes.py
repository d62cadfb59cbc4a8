"""Lanes: strict orders of jobs. Of each lane the first job that has not ended may run; the others wait behind a gate.

The order is that of the numbers which a counter on the lane's row gives at submission. The row is also the lock of
whoever moves the lane on: who ends its first job opens the gate of the next in the same transaction. Nobody waits for
a lane that another has locked; that one looks after it when it commits, and the relay looks after all.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import transaction

from jobs import store
from jobs.bell import bell
from jobs.models import Job
from jobs.states import LIVE, Gate
from jobs.store import Connection, Move, NewJob

Key = tuple[UUID, str]
"""project, lane."""

COUNTED = 1000
SWEPT = 512
AGAIN = 5
"""So often a lane is looked at whose first job changes meanwhile; then it is left to the relay."""


def enter(rows: Sequence[NewJob]) -> None:
    """Give jobs about to be inserted their numbers, and close the gate of all that do not come first.

    In the caller's transaction: until it ends, nobody else enters these lanes.
    """
    entering = Counter((row.project_id, row.lane) for row in rows if row.lane is not None)
    if not entering:
        return
    keys = sorted(entering)
    last = dict(_last_numbers(keys, [entering[key] for key in keys]))
    next_no = {key: last[key] - entering[key] for key in keys}
    with store.run("busy_lanes", _named(keys)) as cur:
        busy: set[Key] = set(cur.fetchall())
    waits: set[Key] = set()
    for row in rows:
        if row.lane is None:
            continue
        key = (row.project_id, row.lane)
        next_no[key] += 1
        row.lane_no = next_no[key]
        if key in busy:
            row.gate |= Gate.LANE
            waits.add(key)
        busy.add(key)
    if waits:  # who ended their first job meanwhile may have found the lane locked by us
        transaction.on_commit(lambda: follow(settle(waits)))


def enter_again(jobs: Sequence[Job]) -> list[Move]:
    """How ended jobs enter their lanes once more: at the end, for their old turn has passed."""
    rows = [NewJob(job.id, job.project_id, job.kind, job.priority, None, "", lane=job.lane) for job in jobs]
    enter(rows)
    return [
        Move(row.id, row.project_id) if row.lane is None else Move(row.id, row.project_id, row.lane_no, row.gate)
        for row in rows
    ]


def _last_numbers(keys: Sequence[Key], numbers: Sequence[int]) -> Iterable[tuple[Key, int]]:
    with store.run("take_lanes", _named(keys) | {"number": list(numbers)}) as cur:
        for project_id, lane, last_no in cur.fetchall():
            yield (project_id, lane), last_no


@dataclass(slots=True)
class Settled:
    """What became of some lanes: shelves that a next job now stands on, and lanes that somebody else had locked."""

    filled: dict[int, bool]
    locked: set[Key]


def settle(keys: Collection[Key], *, after: Mapping[Key, int] | None = None, on: Connection | None = None) -> Settled:
    """Open the next job of each of these lanes, where none is open. The caller rings when that is committed.

    `after`: numbers of jobs that went first in their lanes and have ended; whoever is left has a higher one.
    """
    wanted, settled = set(keys), Settled({}, set())
    after = after or {}
    for _ in range(AGAIN):
        found: set[Key] = set()
        again: set[Key] = set()
        named = sorted(wanted)
        with store.run("advance", _named(named) | {"after": [after.get(key, 0) for key in named]}, on) as cur:
            for project_id, lane, shelf, later, changed in cur.fetchall():
                found.add((project_id, lane))
                if changed:
                    again.add((project_id, lane))
                if shelf is not None:
                    settled.filled[shelf] = later or settled.filled.get(shelf, False)
        settled.locked |= wanted - found
        wanted = again
        if not wanted:
            break
    return settled


def leave(keys: Collection[Key]) -> None:
    """Jobs of these lanes have ended in Django's transaction: open the next ones, and ring for them when it commits."""
    if not keys:
        return
    settled = settle(keys)
    transaction.on_commit(lambda: follow(settled))


def follow(settled: Settled, *, on: Connection | None = None) -> None:
    """After the commit: tell the workers what may run now, and look once more at lanes that were locked."""
    _ring(settled.filled)
    if settled.locked:
        _ring(settle(settled.locked, on=on).filled)


def _ring(filled: Mapping[int, bool]) -> None:
    for later in (False, True):
        if shelves := [shelf for shelf, its in filled.items() if its == later]:
            bell.ring(shelves, sweep=later)


@dataclass(frozen=True, slots=True)
class Behind:
    """Who waits behind a job in its lane: how many (counted up to `COUNTED`), and the first of them."""

    number: int
    first: UUID | None


def behind(project_id: UUID, lane: str, job_id: UUID) -> Behind:
    """Who waits behind the job that stands first in a lane."""
    waiting = (
        Job.objects.filter(project_id=project_id, lane=lane, status__in=LIVE).exclude(id=job_id).order_by("lane_no")
    )
    ids = list(waiting.values_list("id", flat=True)[:COUNTED])
    return Behind(len(ids), ids[0] if ids else None)


def sweep() -> int:
    """Move on what everybody left to somebody else. Returns how many lanes stood still. For the relay."""
    with store.run("stuck_lanes", {"limit": SWEPT}) as cur:
        stuck: list[Key] = cur.fetchall()
    if stuck:
        follow(settle(stuck))
    return len(stuck)


def _named(keys: Sequence[Key]) -> dict[str, list[Any]]:
    return {"project_id": [project for project, _ in keys], "lane": [lane for _, lane in keys]}
