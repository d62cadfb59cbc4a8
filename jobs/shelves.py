"""Shelves: where something may be due. Their marks are hints for the claim; the sweep is the truth."""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import psycopg
from django.db import transaction

from jobs import registry, store
from jobs.states import BULK
from jobs.store import Connection

Key = tuple[str, UUID, int, int]
"""kind, project, priority, cap."""

_ids: dict[Key, int] = {}
_kinds: dict[int, str] = {}


@dataclass(slots=True)
class DueKind:
    """A kind with something due: its highest priority, and since when its oldest job is due (seconds)."""

    kind: str
    priority: int
    late: float


def ids(keys: Iterable[Key]) -> dict[Key, int]:
    """Ids of shelves, made where they do not exist yet.

    Known ids are remembered for good, but a shelf made inside a transaction only once that has committed.
    """
    wanted = set(keys)
    found = {key: _ids[key] for key in wanted if key in _ids}
    for key in sorted(wanted - found.keys()):  # in one order for all, so that two transactions cannot deadlock
        found[key] = _find_or_make(key)
        transaction.on_commit(lambda key=key, shelf=found[key]: _ids.__setitem__(key, shelf))  # type: ignore[misc]
    return found


def _find_or_make(key: Key) -> int:
    find = "select id from jobs_shelf where kind = %s and project_id = %s and priority = %s and cap = %s"
    share = "select weight from jobs_share where project_id = %s for share"
    with psycopg.Cursor(store.connection_of_django()) as cur:
        while True:
            row = cur.execute(find, key, prepare=True).fetchone()
            if row is not None:
                return int(row[0])
            weight = cur.execute(share, (key[1],)).fetchone()
            if weight is None:
                cur.execute(
                    "insert into jobs_share (project_id, weight) values (%s, 1) on conflict do nothing", key[1:2]
                )
                continue
            cur.execute(
                "insert into jobs_shelf (kind, project_id, priority, cap, weight, paused, low_due_at)"
                " values (%s, %s, %s, %s, %s, false, (select platform_now())) on conflict do nothing",
                (*key, weight[0]),
            )
            if cur.rowcount and cur.execute("select 1 from jobs_pause limit 1").fetchone():
                hold()  # it is held from the start, if it is meant


def hold() -> list[tuple[int, bool]]:
    """Hold and open shelves as the pauses say. Returns those that changed: id, and whether it is held now."""
    kinds = registry.kinds()
    params = {"kind": [kind.name for kind in kinds], "queue": [kind.queue for kind in kinds], "bulk": BULK}
    with store.run("repause", params) as cur:
        return cur.fetchall()


def weigh(project_id: UUID, weight: int) -> None:
    """Give a project another share of the workers, in the caller's transaction."""
    with psycopg.Cursor(store.connection_of_django()) as cur:
        cur.execute(
            "insert into jobs_share (project_id, weight) values (%s, %s)"
            " on conflict (project_id) do update set weight = excluded.weight",
            (project_id, weight),
        )
        cur.execute(
            "update jobs_shelf set weight = %s where project_id = %s and weight <> %s", (weight, project_id, weight)
        )


def forget() -> None:
    """Forget the ids, as between tests that empty the tables."""
    _ids.clear()
    _kinds.clear()


def of_kind(kind: str, shelves: Iterable[int]) -> list[int]:
    """Which of these shelves belong to a kind."""
    unknown = [shelf for shelf in shelves if shelf not in _kinds]
    if unknown:
        with psycopg.Cursor(store.connection_of_django()) as cur:
            _kinds.update(cur.execute("select id, kind from jobs_shelf where id = any(%s)", (unknown,)).fetchall())
    return [shelf for shelf in shelves if _kinds.get(shelf) == kind]


def raise_marks(marks: Mapping[int, dt.datetime]) -> None:
    """Raise the marks of shelves whose jobs due before these times have been claimed."""
    with store.run("raise_mark", {"shelf_id": list(marks), "due_at": list(marks.values())}):
        pass


def sweep(only: Sequence[int] | None = None, *, on: Connection | None = None) -> int:
    """Put the marks of all shelves, or of some, to the truth. Returns how many were wrong."""
    with store.run("sweep", {"only": None if only is None else list(only)}, on) as cur:
        return cur.rowcount


def lower(shelves: Sequence[int], *, on: Connection | None = None) -> None:
    """Make shelves that were just filled candidates of the next claim."""
    with store.run("lower_mark", {"shelf_id": list(shelves)}, on):
        pass


def due_kinds(*, on: Connection | None = None) -> list[DueKind]:
    """Kinds with something due, most urgent first."""
    with store.run("due", {}, on) as cur:
        return [DueKind(*row) for row in cur.fetchall()]


def any_due(kinds: Sequence[str], *, capped_of: str | None = None) -> bool:
    """Whether one of these kinds has something due, or the kind `capped_of` on its shelves with a cap."""
    with store.run("any_due", {"kinds": list(kinds), "capped_of": capped_of}) as cur:
        row = cur.fetchone()
    return bool(row and row[0])
