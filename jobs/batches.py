"""Batches: jobs that were created together, how far they are, and the job that follows when they have ended.

No job counts down anything when it ends: the relay asks every second which batches have no live job any more. That is
an index probe each, costs the jobs nothing, and cannot be missed.
"""

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

import orjson
import structlog
from django.db import connection, transaction
from uuid_utils.compat import uuid7

from events import log
from events.log import NewEvent
from jobplatform.api.database import Trouble, trouble
from jobs import registry, services, store
from jobs.errors import BatchNotFound, InvalidOption, JobsError
from jobs.failures import bounded
from jobs.models import JobBatch
from jobs.services import JobRequest, Submitted
from jobs.states import ENDED, LIVE, Status

logger = structlog.get_logger(__name__)

SWEPT = 100
When = Literal["ended", "processed"]
WHEN: tuple[When, ...] = ("ended", "processed")
_WELL = sorted({Status.PROCESSED, Status.CONFIRMED})
_LIVE, _ENDED = sorted(LIVE), sorted(ENDED)

_COUNTS = "select status, count(*) from jobs_job where batch_id = %s and project_id = %s group by status"

_OVER = """
select b.id
from jobs_jobbatch b
where b.ended_at is null
  and b.stalled_at is null
  and not exists (select from jobs_job j where j.batch_id = b.id and j.status = any(%(live)s))
order by b.id
limit %(limit)s
for update of b skip locked
"""
# Asked of those that are locked by now: whoever retried a job in between has been seen, or comes to the row behind us.
# `ill`: one that has ended, but not well.
_STILL_OVER = """
select b.id,
       exists (select from jobs_job j
               where j.batch_id = b.id and j.status = any(%(ended)s) and j.status <> all(%(well)s)) as ill
from jobs_jobbatch b
where b.id = any(%(id)s)
  and not exists (select from jobs_job j where j.batch_id = b.id and j.status = any(%(live)s))
order by b.id
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a batch is: its jobs by status."""

    total: int
    counts: Mapping[str, int]

    @property
    def ended(self) -> int:
        """How many have ended, well or not."""
        return sum(number for status, number in self.counts.items() if status in ENDED)


def create(
    *,
    project_id: UUID,
    requests: Sequence[JobRequest],
    name: str = "",
    follow: JobRequest | None = None,
    follow_when: When = "ended",
) -> tuple[UUID, list[Submitted]]:
    """Create jobs as a batch, all or none, in the caller's transaction. Returns the batch's id and the jobs.

    `follow`: the job that is created when they have ended: "ended", however, or "processed", when all are done well.

    Raises:
        UnknownKind, InvalidPayload, InvalidOption, SubmitRefused: as `services.submit_many`, of `follow` as well.
    """
    batch_id = uuid7()
    for request in requests:
        request.batch_id = batch_id
        if follow is not None:
            check_countable(request.kind)
    if follow is not None:
        services.ask_gates(project_id, [follow])  # now: when it comes it has been promised
    with transaction.atomic():
        enter(batch_id, project_id, len(requests), name=name, follow=follow, follow_when=follow_when)
        return batch_id, services.submit_many(project_id=project_id, requests=requests)


def check_countable(kind: str) -> None:
    """Refuse a kind whose jobs cannot be waited for: of a unique one, the job may be there and be another batch's.

    Raises `InvalidOption`.
    """
    if registry.get(kind).unique is not None:
        message = f"{kind} is unique: a batch that something follows waits for jobs of its own only."
        raise InvalidOption(message, code="unique_in_batch", field="/kind")


def enter(
    batch_id: UUID, project_id: UUID, total: int, *, name: str = "", follow: JobRequest | None, follow_when: When
) -> None:
    """Make the row of a batch whose jobs the caller creates in the same transaction."""
    if follow_when not in WHEN:
        message = f"The job that follows comes when all have {' or '.join(WHEN)}."
        raise InvalidOption(message, field="/follow_when")
    JobBatch.objects.create(
        id=batch_id, project_id=project_id, name=name, total=total, follow_when=follow_when,
        follow=None if follow is None else _stored(project_id, follow),
    )  # fmt: skip


def _stored(project_id: UUID, follow: JobRequest) -> dict[str, Any]:
    services.prepare(project_id, follow)  # refuses what will not fit
    options = {name: value for name in _OPTIONS if (value := getattr(follow, name)) is not None}
    if follow.due_at is not None:
        options["due_at"] = follow.due_at.isoformat()
    payload = orjson.loads(services.payload_text(registry.get(follow.kind), follow.payload))
    return {"kind": follow.kind, "payload": payload, "options": options}


_OPTIONS = ("priority", "max_attempts", "retry_delay", "timeout", "lane", "confirm", "metadata")


def _following(stored: Mapping[str, Any]) -> JobRequest:
    # PostgreSQL writes 1e21 with all its digits: read as a float, as it was asked for, and not as an integer.
    follow = orjson.loads(json.dumps(stored))
    options = follow["options"]
    if "due_at" in options:
        options["due_at"] = dt.datetime.fromisoformat(options["due_at"])
    return JobRequest(follow["kind"], follow["payload"], **options)


def get(project_id: UUID, batch_id: UUID) -> JobBatch:
    """A batch of a project. Raises `BatchNotFound`."""
    found = JobBatch.objects.filter(project_id=project_id, id=batch_id).first()
    if found is None:
        raise BatchNotFound(batch_id=batch_id)
    return found


def standing(batch: JobBatch) -> Standing:
    """How far a batch is."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, [batch.id, batch.project_id])
        return Standing(batch.total, dict(cursor.fetchall()))


def sweep() -> int:
    """End the batches whose jobs have all ended, and create what follows. Returns how many. For the relay."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_OVER, {"live": _LIVE, "limit": SWEPT})
            found = [row[0] for row in cursor.fetchall()]
            if not found:
                return 0
            cursor.execute(_STILL_OVER, {"ended": _ENDED, "well": _WELL, "live": _LIVE, "id": found})
            over: list[tuple[UUID, bool]] = cursor.fetchall()
            cursor.execute("select platform_now()")
            (now,) = cursor.fetchone()
        for batch_id, ill in over:
            row = JobBatch.objects.get(id=batch_id)  # one by one: what follows may be large
            if ill and row.follow is not None and row.follow_when == "processed":
                row.stalled_at = now
            else:
                _end(row, now)
            row.save(update_fields=["stalled_at", "ended_at", "follow_id", "follow_error"])
    return len(found)


def _end(row: JobBatch, now: dt.datetime) -> None:
    row.ended_at = now
    if row.follow is not None:
        try:
            request = _following(row.follow)
            with transaction.atomic():
                done = services.submit_many(project_id=row.project_id, requests=[request], accepted=True)
            row.follow_id = done[0].id
        except Exception as error:  # its kind is gone, its payload fits no more; or the kind's own code is at a loss
            # The database's trouble is not the batch's: the next round tries again.
            if isinstance(error, store.DATABASE_ERRORS) and trouble(error) not in {Trouble.OURS, Trouble.BAD_VALUE}:
                raise
            code = error.code if isinstance(error, JobsError) else "unexpected_error"
            row.follow_error = f"{code}: {bounded(repr(error) if code == 'unexpected_error' else str(error))}"
            logger.error("nothing follows", handler="batches", action="end", details=f"{row.id}: {row.follow_error}")
    data = {
        "name": row.name,
        "total": row.total,
        "counts": dict(standing(row).counts),
        "follow_id": row.follow_id,
        "follow_error": row.follow_error,
    }
    log.append([NewEvent(row.project_id, "batch.ended", row.id, 1, data)])
