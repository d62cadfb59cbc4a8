"""Limits: how many jobs with the same key run at once, and how many start in a time, for all workers together.

What a key allows is decided where jobs are claimed, under the lock of its row (jobs/sql/claim/limits.sql). What it does
not let pass goes behind its gate, outside of the claim's index, so that a thousand waiting jobs cost nothing. Who
ends jobs of the key lets the next ones out in the same transaction; the relay lets out what time has freed.
"""

import hashlib
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from pydantic import BaseModel, ValidationError

from jobs import registry, slots, store
from jobs.bell import bell
from jobs.models import Job
from jobs.policy import HEAVIEST, Limit
from jobs.registry import Kind
from jobs.states import Status
from jobs.store import Claimed, Connection, LeftOut, Verdict

logger = structlog.get_logger(__name__)

EVERYBODY = UUID(int=0)
"""The project of keys that all projects share."""
LONGEST_KEY = 200
SWEPT = 256
MOST_LEFT_OUT = 512  # so many jobs that do not pass are looked at in one claim ...
LEFT_OUT_SECONDS = 1.0  # ... again and again for so long


@dataclass(frozen=True, slots=True)
class Key:
    """The key of a job: whose, of which limit, and as how many jobs this one counts."""

    project_id: UUID
    name: str
    key: str
    cost: int

    @property
    def id(self) -> int:
        """The same for all who compute it: a job needs no row of the key to exist."""
        text = f"{self.project_id}\0{self.name}\0{self.key}".encode()
        return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), signed=True)


def key_of(kind: Kind[Any], project_id: UUID, payload: BaseModel | None) -> Key | None:
    """The key of a job of this kind; None: the kind has no limit. No payload: it does not fit the kind any more."""
    limit = kind.limit
    if limit is None:
        return None
    seen: Mapping[str, Any] = {} if payload is None else payload.model_dump(mode="json", fallback=str)
    text = ":".join(str(seen.get(name)) for name in limit.by)
    if len(text) > LONGEST_KEY or not text.isprintable():
        text = hashlib.sha256(text.encode(errors="replace")).hexdigest()
    whose = EVERYBODY if limit.across_projects else project_id
    return Key(whose, name_of(kind, limit), text, _cost(limit, seen))


def name_of(kind: Kind[Any], limit: Limit) -> str:
    """The name of a kind's limit."""
    return limit.name or kind.name


def _cost(limit: Limit, seen: Mapping[str, Any]) -> int:
    weight = limit.weight if isinstance(limit.weight, int) else seen.get(limit.weight)
    if not isinstance(weight, int | float) or weight != weight:  # noqa: PLR0124 - nan
        return 1
    return round(min(HEAVIEST, max(1, weight)))  # bounded first: nobody rounds infinity


# ---------------------------------------------------------------------------------------------- the way of a job


def claim(kind: Kind[Any], batch: int, **how: Any) -> list[Claimed]:
    """What `store.claim_many` does, for a kind with a limit.

    While nobody passes, what is due is put behind the gates of its keys.
    """
    look, ends = batch, time.monotonic() + LEFT_OUT_SECONDS
    while True:
        jobs, left = store.claim_limited(kind.name, batch=batch, look=look, **how)
        if unknown := [job for job in left if job.payload is not None]:
            enter(kind, unknown)
        if jobs or not left or time.monotonic() > ends or slots.stopping():
            return jobs
        look = MOST_LEFT_OUT


def enter(kind: Kind[Any], jobs: Sequence[LeftOut]) -> None:
    """Make the rows of keys that claimed jobs have, and none is there for; and tell the jobs their key."""
    keys: dict[UUID, Key] = {}
    for job in jobs:
        key = _key_of_row(kind, job)
        assert key is not None  # noqa: S101 - only kinds with a limit leave jobs out
        keys[job.id] = key
    distinct = {key.id: key for key in keys.values()}
    params: dict[str, Any] = {
        "id": list(distinct),
        "project_id": [key.project_id for key in distinct.values()],
        "name": [key.name for key in distinct.values()],
        "key": [key.key for key in distinct.values()],
    }
    with transaction.atomic():
        store.run("make_keys", params | _bounds()).close()
        for job in jobs:
            key = keys[job.id]
            Job.objects.filter(id=job.id, project_id=job.project_id, status=Status.QUEUED).update(
                limit_id=key.id, cost=key.cost
            )


def _key_of_row(kind: Kind[Any], job: LeftOut) -> Key | None:
    """The key of a stored job. One whose payload makes trouble fails when it runs, and keeps no other from running."""
    try:
        return key_of(kind, job.project_id, kind.payload.model_validate_json(job.payload or ""))
    except ValidationError:
        return key_of(kind, job.project_id, None)
    except Exception as error:  # noqa: BLE001 - the model is the kind's own code
        logger.warning("no key", handler="limits", action="enter", details=f"job {job.id}: {error!r}"[:300])
        return key_of(kind, job.project_id, None)


@dataclass(slots=True)
class _Given:
    cost: int = 0
    unused: int = 0
    good: int = 0
    wait: float | None = None


def give_back(verdicts: Sequence[Verdict], *, on: Connection | None = None) -> list[int]:
    """These jobs run no more: let the next ones of their keys out, in the caller's transaction.

    Returns the shelves on which those stand now; the caller rings when it has committed.
    """
    given: dict[int, _Given] = {}
    for verdict in verdicts:
        if verdict.limit is None:
            continue
        key, cost = verdict.limit
        mine = given.setdefault(key, _Given())
        mine.cost += cost
        if verdict.outcome is None:
            mine.unused += 0 if verdict.began else cost
        elif verdict.wait is not None:
            mine.wait = max(verdict.wait, mine.wait or 0.0)
        elif verdict.status not in {Status.FAILED, Status.QUEUED, Status.BLOCKED}:
            mine.good += 1
    if not given:
        return []
    params = {
        "id": list(given),
        "cost": [mine.cost for mine in given.values()],
        "unused": [mine.unused for mine in given.values()],
        "good": [mine.good for mine in given.values()],
        "wait": [mine.wait for mine in given.values()],
    }
    with store.run("release_keys", params, on) as cur:
        waiting = [key for key, waits in cur.fetchall() if waits]
    return _open(waiting, on) if waiting else []


def _open(keys: Sequence[int], on: Connection | None) -> list[int]:
    with store.run("open_keys", {"id": list(keys)}, on) as cur:
        return [shelf for (shelf,) in cur.fetchall()]


def follow(opened: Collection[int]) -> None:
    """After the commit: tell the workers what may run now."""
    if opened:
        bell.ring(opened)


# ---------------------------------------------------------------------------------------------- what time frees


def sweep() -> float | None:
    """Let out who may run by now. Returns in how many seconds the next may; None: nobody waits for a time.

    For the relay.
    """
    with store.run("waiting_keys", {"limit": SWEPT}) as cur:
        rows: list[tuple[int, float]] = cur.fetchall()
    now = [key for key, seconds in rows if seconds <= 0]
    if now:
        let_out(now)
    return min((seconds for _, seconds in rows if seconds > 0), default=None)


def let_out(keys: Sequence[int]) -> None:
    """Let out of these keys who may run now."""
    with transaction.atomic():
        store.run("lock_keys", {"id": list(keys)}).close()
        opened = _open(keys, None)
        transaction.on_commit(lambda: follow(opened))


def recount() -> int:
    """Put what is in use of each key to the truth, and return how many keys were wrong. For the relay.

    None is, unless somebody wrote by hand or a kind lost its limit while its jobs ran.
    """
    with store.run("miscounted_keys", {}) as cur:
        wrong = [key for (key,) in cur.fetchall()]
    if not wrong:
        return 0
    with transaction.atomic():
        store.run("lock_keys", {"id": wrong}).close()
        store.run("count_keys", {"id": wrong}).close()
    return len(wrong)


def align(name: str | None = None) -> None:
    """Put the bounds of all keys, or of one limit's, to what rules: a rule's, else the code's. Lets out who fits."""
    with transaction.atomic():
        with store.run("bound_keys", _bounds() | {"only": name}) as cur:
            changed = [key for (key,) in cur.fetchall()]
        if changed:
            let_out(changed)


def _in_code() -> dict[str, Limit]:
    return {name_of(kind, kind.limit): kind.limit for kind in registry.kinds() if kind.limit is not None}


def names() -> list[str]:
    """The limits of all registered kinds."""
    return sorted(_in_code())


def named(name: str) -> Limit | None:
    """A limit, as the code has it."""
    return _in_code().get(name)


def _bounds() -> dict[str, list[Any]]:
    """What the code says, by the name of the limit."""
    limits = _in_code()
    return {
        "names": list(limits),
        "concurrency": [limit.concurrency for limit in limits.values()],
        "rate": [limit.a_second for limit in limits.values()],
        "burst": [limit.at_once for limit in limits.values()],
    }
