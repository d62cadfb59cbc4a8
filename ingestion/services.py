"""Writing messages. Nothing here touches object storage: that is the handlers' part, outside of any transaction."""

import datetime as dt
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import DateTimeField, F, JSONField, Value
from django.db.models.expressions import RawSQL
from uuid_utils.compat import uuid7

from events import audit, log
from events.log import NewEvent
from ingestion import selectors
from ingestion.errors import CompanyOfAnotherProject, MessageConflict, MessageNotFound, PermanentError
from ingestion.models import Comparison, DeadLetterCount, Message
from ingestion.selectors import KnownMessage
from ingestion.states import KIND
from jobs import services as jobs
from jobs.services import JobRequest
from jobs.states import Status

SYSTEM = "system"

# A message, unless its company is another project's. The company's row is only looked up, unless it is new; of two that
# bring a new company at the same time, the second waits for the first and reads what that one wrote.
_INSERT = """
with known as (
    select project_id from ingestion_company where company_id = %(company_id)s
),
new as (
    insert into ingestion_company as c (company_id, project_id)
    select %(company_id)s, %(project_id)s where not exists (select from known)
    on conflict (company_id) do update set project_id = c.project_id
    returning project_id
),
owner as (
    select project_id from known union all select project_id from new
),
message as (
    insert into ingestion_message (id, project_id, company_id, message_id, message_time, size, body_sha256, body)
    select %(id)s, project_id, %(company_id)s, %(message_id)s, %(message_time)s, %(size)s, %(sha256)s, %(body)s
    from owner where project_id = %(project_id)s
    on conflict (project_id, message_id) do nothing
    returning id
)
select project_id, (select count(*) from message) from owner
"""


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it is kept, and whether this call made it."""

    message: KnownMessage
    created: bool


# ------------------------------------------------------------------------------------------------ receiving
def receive(
    *, project_id: UUID, company_id: UUID, message_id: UUID, message_time: dt.datetime, body: bytes
) -> Received:
    """Keep a message's body and create its job, both or none; or find the message that was received before.

    Two identical calls at the same time end in one message: the second waits for the first.

    Raises:
        CompanyOfAnotherProject: the company_id belongs to another project; nothing is kept.
        MessageConflict: the message_id is taken by another body.
        SubmitRefused: a gate of the engine refused the job; nothing is kept.
    """
    digest = hashlib.sha256(body).digest()
    request = JobRequest(kind=KIND, payload={"company_id": str(company_id), "message_id": str(message_id)})
    job = jobs.prepare(project_id, request)
    row: dict[str, Any] = {
        "id": job.id,
        "project_id": project_id,
        "company_id": company_id,
        "message_id": message_id,
        "message_time": message_time,
        "size": len(body),
        "sha256": digest,
        "body": body,
    }
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_INSERT, row)
            owner, created = cursor.fetchone()
        if owner != project_id:
            raise CompanyOfAnotherProject
        if not created:
            return Received(_known(message_id, project_id, body, digest), created=False)
        jobs.ask_gates(project_id, [request])
        jobs.insert([job])
    new = KnownMessage(
        id=job.id,
        project_id=project_id,
        company_id=company_id,
        message_id=message_id,
        message_time=message_time,
        stored_at=None,
        size=len(body),
        body_sha256=digest,
        error=None,
        job_status=Status.QUEUED,
        job_error=None,
    )
    return Received(new, created=True)


def _known(message_id: UUID, project_id: UUID, body: bytes, digest: bytes) -> KnownMessage:
    """The message that was received before. Raises `MessageConflict` if its body is another one."""
    known = selectors.message_named(message_id, project_id=project_id)
    if known.size != len(body) or known.body_sha256 != digest:
        raise MessageConflict(message_id)
    return known


# ------------------------------------------------------------------------------------------------ processing
def mark_stored(*, project_id: UUID, id_: UUID) -> None:
    """Note that the original is in object storage: within the commit that ends the job. Raises `MessageNotFound`."""
    marked = Message.objects.filter(id=id_, project_id=project_id, stored_at=None).update(
        stored_at=RawSQL("(select platform_now())", (), DateTimeField()),
        error=None,
    )
    if not marked:
        raise MessageNotFound


def note_error(*, project_id: UUID, id_: UUID, error: PermanentError) -> None:
    """Write a known permanent error on a message. A message that is stored by now is left alone."""
    Message.objects.filter(id=id_, project_id=project_id, stored_at=None).update(
        error=Value({"code": error.code, "message": str(error)}, JSONField())
    )


# ------------------------------------------------------------------------------------------------ object storage
def move_comparison(*, after: str, moved_to: str) -> None:
    """Note how far the comparison with object storage has got. `moved_to` "": a pass is complete.

    Does nothing where another run has moved it meanwhile.
    """
    row, _ = Comparison.objects.select_for_update().get_or_create(id=1)
    if row.after != after:
        return
    now = RawSQL("(select platform_now())", (), DateTimeField())
    done = {"passes": F("passes") + 1, "passed_at": now} if not moved_to else {}
    Comparison.objects.filter(id=1).update(after=moved_to, moved_at=now, **done)


def record_restored(*, project_id: UUID, id_: UUID, key: str) -> None:
    """Leave a record that a message's original was missing in object storage, and was written there again."""
    audit.record(
        action="message.restore",
        actor=SYSTEM,
        project_id=project_id,
        subject_type="message",
        subject_id=id_,
        reason="Its object was missing.",
        data={"key": key},
    )


def record_set_aside(*, key: str, moved_to: str, size: int) -> None:
    """Leave a record that an object that belongs to no message was moved. It names no project: none is known."""
    audit.record(
        action="object.set_aside",
        actor=SYSTEM,
        subject_type="object",
        subject_id=key,
        reason="No message has this key.",
        data={"moved_to": moved_to, "size": size},
    )


# ------------------------------------------------------------------------------------------------ dead letters
@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that failed or was rejected, and when."""

    project_id: UUID
    kind: str
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class Alarm:
    """Too many dead letters of one kind in one project."""

    project_id: UUID
    kind: str
    count: int


def count_dead_letters(
    dead: list[DeadLetter], *, threshold: int, window: dt.timedelta, again: dt.timedelta
) -> list[Alarm]:
    """Count dead letters, and raise an alarm per kind and project with more than `threshold` within `window`.

    An alarm is an event, raised at most once in `again`. Runs in the caller's transaction. Returns the alarms raised.
    """
    raised = []
    for project_id, kind in dict.fromkeys((letter.project_id, letter.kind) for letter in dead):
        moments = [letter.at for letter in dead if (letter.project_id, letter.kind) == (project_id, kind)]
        row, _ = DeadLetterCount.objects.select_for_update().get_or_create(
            project_id=project_id, kind=kind, defaults={"id": uuid7()}
        )
        now = max(moments)
        row.minutes = _counted(row.minutes, moments, since=now - window)
        count = sum(row.minutes.values())
        if count > threshold and (row.raised_at is None or now - row.raised_at >= again):
            row.raised_at = now
            row.seq += 1
            data = {"kind": kind, "count": count, "threshold": threshold}
            log.append([NewEvent(project_id, "deadletters.threshold_exceeded", row.id, row.seq, data)])
            raised.append(Alarm(project_id, kind, count))
        row.save(update_fields=["minutes", "raised_at", "seq"])
    return raised


def _counted(minutes: Mapping[str, int], moments: list[dt.datetime], *, since: dt.datetime) -> dict[str, Any]:
    """The counts by minute with these moments added and the minutes before `since` left out."""
    counts = dict(minutes)
    for moment in moments:
        minute = str(_minute(moment))
        counts[minute] = counts.get(minute, 0) + 1
    oldest = _minute(since)
    return {minute: count for minute, count in counts.items() if int(minute) > oldest}


def _minute(moment: dt.datetime) -> int:
    return int(moment.timestamp()) // 60
