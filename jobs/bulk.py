"""Acts on many jobs: cancel, retry or set the priority of all that a filter names.

The act is a row, and the engine's own job does it slice by slice. A slice is one transaction that also moves the row's
cursor, so whoever dies loses nothing and does nothing twice; and no transaction lasts long.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from uuid_utils.compat import uuid7

from events import audit
from jobs import selectors, services, shelves, unique
from jobs.bell import bell
from jobs.errors import BulkActNotFound, InvalidOption, WrongStatus
from jobs.models import BulkAct, Job, Shelf
from jobs.selectors import JobFilter
from jobs.services import JobRequest
from jobs.states import BULK, CANCELLABLE, ENDED, LIVE, Status

KIND = BULK
SLICE = 500
COUNTED = 10_000
JOB_WITHIN_MS = 10_000  # an act and its job are made by one transaction
VERBS: Mapping[str, frozenset[Status]] = {
    "cancel": CANCELLABLE | {Status.PROCESSING},
    "retry": services.RETRIED,
    "set_priority": LIVE,
}
"""What may be done, and to jobs of which statuses."""
RUNNING, DONE, ABORTED = "running", "done", "aborted"


@dataclass(frozen=True, slots=True)
class Count:
    """How many jobs a filter names that an act would change; at least, if `more`."""

    matched: int
    more: bool


def wanted_of(stored: Mapping[str, Any]) -> JobFilter:
    """A filter as it is stored, for the selectors. Unknown keys are a programmer's error."""
    words = dict(stored)
    for name in ("created_after", "created_before"):
        if name in words:
            words[name] = dt.datetime.fromisoformat(words[name])
    if "status" in words:
        words["status"] = Status(words["status"])
    if "batch_id" in words:
        words["batch_id"] = UUID(words["batch_id"])
    if "ids" in words:
        words["ids"] = tuple(UUID(one) for one in words["ids"])
    return JobFilter(**words)


def check(verb: str, stored: Mapping[str, Any], priority: int | None) -> None:
    """Nothing, if there may be such an act. Raises `InvalidOption`."""
    if verb not in VERBS:
        message = f"verb is one of {', '.join(VERBS)}."
        raise InvalidOption(message, field="/verb")
    if not stored:
        message = "An act on many jobs wants a filter that says which."
        raise InvalidOption(message, code="empty_filter", field="/filter")
    if (priority is None) == (verb == "set_priority"):
        message = "set_priority wants priority." if priority is None else f"{verb} takes no priority."
        raise InvalidOption(message, field="/priority")


def count(project_id: UUID, verb: str, stored: Mapping[str, Any]) -> Count:
    """How many jobs an act would look at now. Nothing is changed."""
    number, edge = 0, None
    wanted, until = wanted_of(stored), uuid7()
    for _ in range(COUNTED // SLICE):  # scans, however few of what they see the act would touch
        if number >= COUNTED:
            break
        found, edge = selectors.ids(project_id, wanted, after=edge, until=until, limit=SLICE)
        number += Job.objects.filter(project_id=project_id, id__in=found, status__in=VERBS[verb]).count()
        if edge is None:
            return Count(number, more=False)
    return Count(number, more=True)


def begin(
    *, project_id: UUID, verb: str, stored: Mapping[str, Any], actor: str, reason: str, priority: int | None = None
) -> BulkAct:
    """Store an act, and the job that does it.

    Raises:
        InvalidOption: an unknown verb, an empty filter, or a priority where none belongs.
    """
    check(verb, stored, priority)
    with transaction.atomic():
        act = BulkAct.objects.create(
            id=uuid7(), project_id=project_id, verb=verb, filter=dict(stored), priority=priority, actor=actor,
            reason=reason, until=uuid7(),
        )  # fmt: skip
        audit.record(
            action=f"jobs.{verb}", actor=actor, subject_type="bulk_act", subject_id=act.id, project_id=project_id,
            reason=reason, data={"filter": dict(stored), "priority": priority},
        )  # fmt: skip
        services.submit_many(project_id=project_id, requests=[JobRequest(KIND, {"act_id": str(act.id)}, priority=100)])
    return act


def get(project_id: UUID, act_id: UUID) -> BulkAct:
    """An act of a project. Raises `BulkActNotFound`."""
    found = BulkAct.objects.filter(project_id=project_id, id=act_id).first()
    if found is None:
        raise BulkActNotFound(act_id=act_id)
    return found


def abort(*, project_id: UUID, act_id: UUID, actor: str, reason: str) -> BulkAct:
    """Stop an act behind the slice that it is at. What it has done stays done; one that has ended stays as it is.

    Raises:
        BulkActNotFound: the project has no such act.
    """
    with transaction.atomic():
        act = BulkAct.objects.select_for_update().filter(project_id=project_id, id=act_id).first()
        if act is None:
            raise BulkActNotFound(act_id=act_id)
        if act.status == RUNNING:
            _finish(act, ABORTED)
            audit.record(
                action="jobs.bulk_abort", actor=actor, subject_type="bulk_act", subject_id=act.id,
                project_id=project_id, reason=reason,
            )  # fmt: skip
    return get(project_id, act_id)


def step(act_id: UUID) -> BulkAct:
    """Do one slice. Returns the act as it stands then."""
    with transaction.atomic():
        act = BulkAct.objects.select_for_update().get(id=act_id)
        if act.status != RUNNING:
            return act
        wanted = wanted_of(act.filter)
        found, edge = selectors.ids(act.project_id, wanted, after=act.cursor, until=act.until, limit=SLICE)
        jobs = Job.objects.select_for_update().filter(
            project_id=act.project_id, id__in=found, status__in=VERBS[act.verb]
        )
        matched = list(jobs.order_by("id"))
        done = _ACTS[act.verb](act, matched) if matched else 0
        act.matched += len(matched)
        act.done += done
        act.skipped += len(matched) - done
        act.cursor = edge
        act.save(update_fields=["matched", "done", "skipped", "cursor"])
        if edge is None:
            _finish(act, DONE)
    return act


def close_orphans() -> int:
    """End acts whose job has ended without doing them: it was cancelled, or failed. Returns how many. For the relay."""
    closed = 0
    for act in BulkAct.objects.filter(status=RUNNING).order_by("id")[:SLICE]:
        until = UUID(int=act.id.int + (JOB_WITHIN_MS << 80))  # ids begin with their milliseconds
        near = Job.objects.filter(project_id=act.project_id, id__gt=act.id, id__lt=until, kind=KIND)
        job = near.filter(payload__act_id=str(act.id)).only("status").first()
        if job is not None and job.status in ENDED:
            abort(project_id=act.project_id, act_id=act.id, actor="system", reason=f"its job was {job.status}")
            closed += 1
    return closed


def _finish(act: BulkAct, status: str) -> None:
    act.status = status
    with connection.cursor() as cursor:
        cursor.execute("select clock_timestamp()")
        (act.finished_at,) = cursor.fetchone()
    act.save(update_fields=["status", "finished_at"])


def _cancel(act: BulkAct, jobs: Sequence[Job]) -> int:
    return services.stop(jobs, actor=act.actor, reason=act.reason)


def with_their_keys(jobs: Sequence[Job]) -> list[Job]:
    """Those of some ended jobs, locked by the caller, that may run once more: no other job has their unique key."""
    free, taken = [], set()
    for job in jobs:
        key = (job.kind, unique.of_job(job))
        if key in taken:  # by a job of this slice, which still stands where it has ended
            continue
        try:
            unique.keep(job, None)
        except WrongStatus:  # another job has its unique key meanwhile: this one stays as it is
            continue
        if key[1]:
            taken.add(key)
        free.append(job)
    return free


def _retry(act: BulkAct, jobs: Sequence[Job]) -> int:
    free = with_their_keys(jobs)
    return services.again(free, actor=act.actor, reason=act.reason) if free else 0


def _set_priority(act: BulkAct, jobs: Sequence[Job]) -> int:
    assert act.priority is not None  # noqa: S101 - checked when it began
    caps = dict(Shelf.objects.filter(id__in={job.shelf_id for job in jobs}).values_list("id", "cap"))
    places: dict[shelves.Key, list[UUID]] = {}
    for job in jobs:
        key = (job.kind, job.project_id, act.priority, caps.get(job.shelf_id, 0))
        places.setdefault(key, []).append(job.id)
    ids = shelves.ids(places)
    for key, moved in places.items():
        Job.objects.filter(project_id=act.project_id, id__in=moved).update(priority=act.priority, shelf_id=ids[key])
    transaction.on_commit(lambda: bell.ring(ids.values(), sweep=True))
    return len(jobs)


_ACTS = {"cancel": _cancel, "retry": _retry, "set_priority": _set_priority}
