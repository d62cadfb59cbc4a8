"""Jobs that are parked until an event: they meet it as a consumer of the log comes by, or are resumed by a person.

What waits stands in `jobs_awaited`, written by the transaction that parks and emptied by the one that wakes. Why
nothing is missed is told in jobs/sql/match_awaited.sql; that nothing counts twice, in jobs/sql/await.sql. What woke a
job is said by its `job.woken` event, which its next runs read (`job.woken_by`).
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction

from events import log
from events.consumers import Counted
from events.topics import EVENT_TYPES
from jobs import alarm, store
from jobs.bell import bell
from jobs.models import Awaited, Job
from jobs.run import Woken
from jobs.states import Status
from jobs.store import Connection, Move

BATCH = 5000
"""Events looked at by one statement."""
MOST = 500
"""Jobs woken by one transaction, and jobs looked back for."""
PAUSE = 30.0
"""Seconds for which the consumer rests when nobody waits."""
BREATH = 0.1
"""The same when somebody does."""
RESUMED = "job.resumed"
"""The type that a person's waking has for the handler."""

_LAST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Hit:
    """A waiting job, and the event that it waits for."""

    job_id: UUID
    project_id: UUID
    claim_no: int
    type: str
    subject: str
    position: int
    id: int
    occurred_at: dt.datetime
    seq: int

    def data(self) -> str:
        """Of the job's `job.woken`: which event it was. Its own data stay where they are."""
        event = {
            "id": f"{self.position}-{self.id}",
            "type": self.type,
            "subject": self.subject,
            "seq": self.seq,
            "occurred_at": self.occurred_at,
        }
        return orjson.dumps({"reason": "event", "event": event}).decode()


def match(position: int, last_id: int, batch: int) -> Counted | None:
    """Wake who waits for one of the next events. A counter of the log: see `events.consumers.counter`."""
    params = {"position": position, "last_id": last_id, "batch": batch, "most": MOST}
    with store.run("match_awaited", params) as cur:
        rows = cur.fetchall()
    somebody, horizon, reached, reached_id, number = rows[0][:5]
    hits = [Hit(*row[5:]) for row in rows if row[5] is not None]
    if hits:
        wake(hits)
    if len(hits) == MOST:  # there may be more: who was woken is not found again
        return Counted(position, last_id, batch)
    if number:
        return Counted(reached, reached_id, number, pause=BREATH)
    if not somebody and horizon - 1 > position:
        return Counted(horizon - 1, _LAST_ID, 0, pause=PAUSE)
    return None


def wake(hits: Sequence[Hit]) -> int:
    """Queue the jobs that still wait with the claim that these events were found for; returns how many."""
    parked = {
        job.id: job
        for job in Job.objects.filter(
            id__in=[hit.job_id for hit in hits], project_id__in={hit.project_id for hit in hits}, status=Status.PARKED
        )
        .only("id", "claim_no")
        .order_by("id")
        .select_for_update()
    }
    moves = [
        Move(hit.job_id, hit.project_id, data=hit.data())
        for hit in hits
        if hit.job_id in parked and parked[hit.job_id].claim_no == hit.claim_no
    ]
    moved = _move(moves, "{}")
    # Of the others what they waited for is out of date: left over from a time at which they did.
    for hit in hits:
        if hit.job_id not in moved:
            Awaited.objects.filter(job_id=hit.job_id, project_id=hit.project_id, claim_no=hit.claim_no).delete()
    return len(moved)


def overdue(job_ids: Sequence[UUID]) -> tuple[list[Hit], set[UUID]]:
    """Of parked jobs whose time is over: those whose event has come all the same, and those whose event is on its way.

    The consumer may be behind, or held up by a transaction that is open: what has come in time is not told as missing.
    """
    with store.run("overdue", {"id": list(job_ids)}) as cur:
        rows = cur.fetchall()
    return [Hit(*row[:9]) for row in rows if row[9]], {row[0] for row in rows if not row[9]}


def resume(job: Job, *, actor: str, reason: str, data: Mapping[str, Any]) -> None:
    """Queue a parked job now; its next run is told that a person did it, with `data`. The caller has locked its row."""
    said = {"reason": reason, "actor": actor, "given": dict(data)}
    _move([Move(job.id, job.project_id)], orjson.dumps(said).decode())


def _move(moves: Sequence[Move], data: str) -> dict[UUID, int]:
    if not moves:
        return {}
    moved = store.move_many("wake", moves, data=data)
    transaction.on_commit(lambda: bell.ring(moved.values(), sweep=True))
    return moved


def woken(project_id: UUID, job_id: UUID, *, on: Connection | None = None) -> Woken | None:
    """What ended the last waiting of a job; None: it has not waited. `on`: for who cannot ask Django for its own."""
    with alarm.masked():
        with store.run("woken", {"id": job_id, "project_id": project_id}, on) as cur:
            row = cur.fetchone()
        if row is None or row[0] != "job.woken":
            return None
        said = orjson.loads(row[2])
        if "given" in said:
            return Woken(RESUMED, str(job_id), said["given"], row[1])
        if "event" not in said:
            return Woken("")
        event = said["event"]
        position, _, number = event["id"].partition("-")
        text = log.data_at(project_id, (int(position), int(number)), on=on)
    data = orjson.loads(text) if text else {}
    if event["type"] not in EVENT_TYPES:
        data = data.get("data", {})
    return Woken(event["type"], event["subject"], data, dt.datetime.fromisoformat(event["occurred_at"]))
