"""What may be done with jobs: submit, cancel, retry, wake. Each owns its transaction or joins the caller's."""

import datetime as dt
import hashlib
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
from django.db import connection, transaction
from pydantic import BaseModel, ValidationError
from uuid_utils.compat import uuid7

from events import audit
from jobs import extensions, lanes, registry, shelves, store
from jobs.bell import bell
from jobs.errors import InvalidOption, InvalidPayload, JobNotFound, SubmitRefused, WrongStatus
from jobs.extensions import SubmitRequest
from jobs.models import Job, UniqueKey
from jobs.policy import Unique
from jobs.registry import Kind
from jobs.states import CANCELLABLE, REDRIVABLE, Status
from jobs.store import Move, NewJob

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # an escape, and not the end of an escaped backslash
LONGEST_LANE = 200
LATE_COMMIT_SECONDS = 0.2  # jobs committed later than this may lie below their shelf's mark


@dataclass(slots=True)
class JobRequest:
    """One job to be created. `payload` is a dictionary, or the kind's own model."""

    kind: str
    payload: Mapping[str, Any] | BaseModel
    priority: int | None = None
    due_at: dt.datetime | None = None
    max_attempts: int | None = None
    retry_delay: float | None = None
    timeout: float | None = None
    lane: str | None = None
    confirm: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Submitted:
    """A job as it was created: enough to answer with, without reading it back."""

    id: UUID
    kind: str
    created_at: dt.datetime
    due_at: dt.datetime
    existing: bool = False


def submit(*, project_id: UUID, kind: str, payload: Mapping[str, Any] | BaseModel, **options: Any) -> UUID:
    """Create one job in the caller's transaction and return its id. Options are those of `JobRequest`."""
    request = JobRequest(kind=kind, payload=payload, **options)
    return submit_many(project_id=project_id, requests=[request])[0].id


def enqueue(
    kind: Kind[Any], payload: Mapping[str, Any], *, project_id: UUID | None, options: Mapping[str, Any]
) -> UUID:
    """What `.enqueue` of a handler does."""
    if project_id is None:
        message = f"{kind.name}.enqueue() outside a handler wants project_id=."
        raise InvalidOption(message, code="project_required", field="project_id")
    return submit(project_id=project_id, kind=kind.name, payload=payload, **options)


def submit_many(*, project_id: UUID, requests: Sequence[JobRequest]) -> list[Submitted]:
    """Create jobs with their `job.queued` events, all or none, in the caller's transaction.

    The workers hear of them when that transaction commits.

    Raises:
        UnknownKind, InvalidPayload, InvalidOption: the first request that does not fit; nothing is created.
        SubmitRefused: a gate (quota, suspension) refused.
    """
    unique = {request.kind for request in requests if registry.get(request.kind).unique}
    if unique:
        with transaction.atomic():
            many = len(requests) > 1
            if many:
                _lock_kinds(project_id, unique)
            return [_submit_by_kind(project_id, request, locked=many) for request in requests]
    rows = [prepare(project_id, request) for request in requests]
    ask_gates(project_id, requests)
    return insert(rows)


def _submit_by_kind(project_id: UUID, request: JobRequest, *, locked: bool) -> Submitted:
    kind = registry.get(request.kind)
    if kind.unique is None:
        return submit_many(project_id=project_id, requests=[request])[0]
    payload_text(kind, request.payload)  # refuses what does not fit
    key = _key(kind, kind.unique, request.payload)
    return submit_unique(project_id=project_id, request=request, key=key, seconds=kind.unique.seconds, locked=locked)


def _key(kind: Kind[Any], unique: Unique, payload: Mapping[str, Any] | BaseModel) -> str:
    """The unique key of a payload that fits: what the handler sees of it, so a default is as good as its own value."""
    model = payload if isinstance(payload, BaseModel) else kind.payload.model_validate(payload)
    seen = model.model_dump(mode="json", fallback=str)
    chosen = {name: seen.get(name) for name in unique.by} if unique.by else seen
    try:
        text = orjson.dumps(chosen, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # numbers of more than 64 bits are JSON, but not to it
        text = json.dumps(chosen, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()


_LOCK_KEY = """
select pg_advisory_xact_lock_shared(hashtextextended(%s, 1)), pg_advisory_xact_lock(hashtextextended(%s, 0))
"""


def _lock_kinds(project_id: UUID, kinds: Iterable[str]) -> None:
    """Let nobody else take keys of these kinds until the transaction ends: a thousand locks are too many."""
    with connection.cursor() as cursor:
        for kind in sorted(kinds):
            cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", [f"{project_id} {kind}"])


def _take_key(
    project_id: UUID, kind: str, key: str, job_id: UUID, seconds: float | None, *, locked: bool = False
) -> UUID:
    """Take a key in the caller's transaction, one after another. Returns the job that holds it.

    Whoever waited must ask anew: the statement that waits for another's row does not see that one's new job.
    """
    if not locked:
        with connection.cursor() as cursor:
            cursor.execute(_LOCK_KEY, [f"{project_id} {kind}", f"{project_id} {kind} {key}"])
    return store.take_key(project_id, kind, key, job_id, seconds)


def submit_unique(
    *, project_id: UUID, request: JobRequest, key: str, seconds: float | None, locked: bool = False
) -> Submitted:
    """Create a job unless another holds the key; then return that one, with `existing` set.

    `seconds`: how long the key is taken; None: until the job has ended. `locked`: see `_lock_kinds`.
    """
    row = prepare(project_id, request)
    ask_gates(project_id, [request])
    with transaction.atomic():
        holder = _take_key(project_id, row.kind, key, row.id, seconds, locked=locked)
        if holder == row.id:
            return insert([row])[0]
    job = Job.objects.only("id", "kind", "created_at", "due_at").get(id=holder, project_id=project_id)
    return Submitted(job.id, job.kind, job.created_at, job.due_at, existing=True)


def prepare(project_id: UUID, request: JobRequest) -> NewJob:
    """Validate one request against its kind, without touching the database."""
    kind = registry.get(request.kind)
    payload = payload_text(kind, request.payload)
    extra = _options(kind, request)
    return NewJob(
        id=uuid7(),
        project_id=project_id,
        kind=kind.name,
        priority=kind.priority if request.priority is None else request.priority,
        due_at=request.due_at,
        payload=payload,
        metadata=as_json(request.metadata) if request.metadata else None,
        extra=as_json(extra) if extra else None,
        lane=request.lane if request.lane is not None else lane_of(kind, payload),
    )


def lane_of(kind: Kind[Any], payload: str) -> str | None:
    """The lane into which the kind's author puts a job with this payload (JSON text): `kind:value:value`, or none."""
    if not kind.lane.by:
        return None
    model = kind.payload.model_validate_json(payload).model_dump(mode="json", fallback=str)
    lane = ":".join([kind.name, *(str(model.get(name)) for name in kind.lane.by)])
    return lane if len(lane) <= LONGEST_LANE else f"{kind.name}:{hashlib.sha256(lane.encode()).hexdigest()}"


def ask_gates(project_id: UUID, requests: Sequence[JobRequest]) -> None:
    """Ask the registered gates whether this project may create these jobs."""
    if not len(extensions.submit_gates):
        return
    counts: dict[str, int] = {}
    for request in requests:
        counts[request.kind] = counts.get(request.kind, 0) + 1
    for _, gate in extensions.submit_gates:
        for kind, count in counts.items():
            refusal = gate(SubmitRequest(project_id, kind, count))
            if refusal is not None:
                raise SubmitRefused(refusal.message, code=refusal.code)


def insert(rows: Sequence[NewJob]) -> list[Submitted]:
    """Insert prepared jobs in the caller's transaction and ring the bell when it commits."""
    if any(row.lane is not None and row.lane_no is None for row in rows):
        with transaction.atomic():
            lanes.enter(rows)
            return insert(rows)
    began = time.monotonic()
    keys = [(row.kind, row.project_id, row.priority, 0) for row in rows]
    ids = shelves.ids(keys)
    filled = [ids[key] for key in keys]
    times = store.submit_many(rows, filled)

    def ring() -> None:
        bell.ring(set(filled), sweep=time.monotonic() - began > LATE_COMMIT_SECONDS or any(r.due_at for r in rows))

    if connection.in_atomic_block:
        transaction.on_commit(ring)
    else:
        ring()
    return [Submitted(row.id, row.kind, *times[row.id]) for row in rows]


def payload_text(kind: Kind[Any], payload: Mapping[str, Any] | BaseModel) -> str:
    """A payload as JSON. Raises `InvalidPayload` when it does not fit its kind."""
    if isinstance(payload, BaseModel):
        text = payload.model_dump_json()
    else:
        try:
            kind.payload.model_validate(payload)
        except ValidationError as error:
            message = f"The payload does not fit {kind.name}."
            raise InvalidPayload(
                message,
                errors=[dict(item) for item in error.errors(include_url=False, include_context=False)],
            ) from None
        text = as_json(payload)
    if has_nul(text):
        message = "A string of the payload contains a NUL character."
        raise InvalidPayload(message, errors=[{"loc": (), "type": "nul_character", "msg": message}])
    return text


def has_nul(text: str) -> bool:
    """Whether a JSON text holds a NUL character, which the database cannot keep."""
    return "\\u0000" in text and _NUL.search(text) is not None


def as_json(value: Any) -> str:
    """A value as JSON. Raises `InvalidPayload` when it is none."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NAIVE_UTC).decode()
    except TypeError as error:
        message = f"Not a JSON value: {error}"
        raise InvalidPayload(message, errors=[{"loc": (), "type": "not_json", "msg": message}]) from None


def _options(kind: Kind[Any], request: JobRequest) -> dict[str, Any]:
    extra: dict[str, Any] = {}
    if request.priority is not None and not -100 <= request.priority <= 100:  # noqa: PLR2004 - the documented range
        _refuse("priority", "priority wants -100 to 100.")
    if request.due_at is not None and request.due_at.tzinfo is None:
        _refuse("due_at", "due_at wants a time zone.")
    if request.max_attempts is not None:
        if not 1 <= request.max_attempts <= 100:  # noqa: PLR2004 - the documented range
            _refuse("max_attempts", "max_attempts wants 1 to 100.")
        if kind.retry.one_shot and request.max_attempts != 1:
            _refuse("max_attempts", f"{kind.name} runs once at most.")
        extra["max_attempts"] = request.max_attempts
    if request.retry_delay is not None:
        if not 0 <= request.retry_delay <= 86_400 * 30:
            _refuse("retry_delay", "retry_delay wants 0 to 2592000 seconds.")
        extra["retry_delay"] = request.retry_delay
    if request.timeout is not None:
        if not 0 < request.timeout <= 86_400:  # noqa: PLR2004 - the documented range
            _refuse("timeout", "timeout wants more than 0 and at most 86400 seconds.")
        extra["timeout"] = request.timeout
    if request.lane is not None and not (0 < len(request.lane) <= LONGEST_LANE and request.lane.isprintable()):
        _refuse("lane", f"lane wants 1 to {LONGEST_LANE} printable characters.")
    if request.confirm is not None:
        code = "confirm_not_allowed" if kind.confirm != "optional" else "confirm_not_available"
        _refuse("confirm", f"{kind.name} cannot be confirmed on request here.", code=code)
    return extra


def _refuse(field_name: str, message: str, *, code: str = "invalid_option") -> None:
    raise InvalidOption(message, code=code, field=f"/{field_name}")


# ---------------------------------------------------------------------------------------------- by hand


def cancel(*, project_id: UUID, job_id: UUID, actor: str, reason: str = "") -> Job:
    """Stop a job: at once where it waits, through its handler (`job.cancelled`) where it runs.

    Cancelling a cancelled job changes nothing.

    Raises:
        JobNotFound: the project has no such job.
        WrongStatus: it has ended otherwise.
    """
    with transaction.atomic():
        job = locked(project_id, job_id)
        if job.status in CANCELLABLE:
            data = as_json({"reason": reason or "requested", "actor": actor})
            store.move_many("cancel", [Move(job.id, job.project_id)], data=data)
            if job.lane is not None:
                lanes.leave([(job.project_id, job.lane)])
        elif job.status == Status.PROCESSING:
            Job.objects.filter(id=job.id, project_id=project_id).update(cancel_requested=True)
        elif job.status != Status.CANCELLED:
            message = f"The job has ended as {job.status}."
            raise WrongStatus(message, status=job.status)
        audit_job("job.cancel", job, actor, reason)
    return _fresh(job)


def retry(
    *,
    project_id: UUID,
    job_id: UUID,
    actor: str,
    reason: str = "",
    payload: Mapping[str, Any] | None = None,
) -> Job:
    """Queue an ended or blocked job once more, with its attempts counted anew; `payload` replaces the old one.

    Raises:
        JobNotFound: the project has no such job.
        WrongStatus: it stands where there is nothing to retry, or another job has its unique key meanwhile.
        InvalidPayload: the new payload does not fit the kind.
    """
    text = None
    with transaction.atomic():
        job = locked(project_id, job_id)
        if payload is not None:
            text = payload_text(registry.get(job.kind), payload)
        verb = "resume" if job.status == Status.BLOCKED else "redrive"
        if verb == "redrive" and job.status not in REDRIVABLE:
            message = f"A job that is {job.status} cannot be retried."
            raise WrongStatus(message, status=job.status)
        keep_unique(job, payload)
        data = as_json({"reason": reason or "requested", "actor": actor})
        move = lanes.enter_again(job) if verb == "redrive" else Move(job.id, job.project_id)
        moved = store.move_many(verb, [move], data=data, payload=text, fresh=True)
        if text is None:
            audit_job("job.retry", job, actor, reason)
        else:  # the row keeps the new payload only
            audit_job("job.edit_and_retry", job, actor, reason, before={"payload": job.payload, "steps": job.steps})
        transaction.on_commit(lambda: bell.ring(moved.values(), sweep=True))
    return _fresh(job)


def keep_unique(job: Job, payload: Mapping[str, Any] | None) -> None:
    """Take the unique key of a job that is about to run once more; a new payload has another one.

    Raises:
        WrongStatus: another job has it.
    """
    kind = registry.find(job.kind)
    if kind is None or kind.unique is None:
        return
    try:
        old = _key(kind, kind.unique, job.payload)
    except ValidationError:  # it fitted an earlier version of the model
        old = ""
    new = old if payload is None else _key(kind, kind.unique, payload)
    if not new:
        return
    holder = _take_key(job.project_id, job.kind, new, job.id, kind.unique.seconds)
    if holder != job.id:
        message = f"The job {holder} has its unique key meanwhile."
        raise WrongStatus(message, status=job.status)
    if old != new:
        UniqueKey.objects.filter(project_id=job.project_id, kind=job.kind, key=old, job_id=job.id).delete()


def weigh(project_id: UUID, weight: int) -> None:
    """Give a project `weight` shares of the workers, where another has one. In the caller's transaction."""
    with transaction.atomic():
        shelves.weigh(project_id, weight)


def wake_parked(limit: int = 512) -> int:
    """Queue parked jobs whose time has come. Called by the relay; returns how many."""
    with transaction.atomic():
        found = list(
            Job.objects.filter(status=Status.PARKED)
            .extra(where=["due_at <= (select platform_now())"])
            .select_for_update(skip_locked=True)
            .values_list("id", "project_id")
            .order_by("due_at")[:limit]
        )
        if not found:
            return 0
        due = [Move(job_id, project_id) for job_id, project_id in found]
        moved = store.move_many("wake", due, data=as_json({"reason": "time"}))
        transaction.on_commit(lambda: bell.ring(moved.values(), sweep=True))
    return len(moved)


def locked(project_id: UUID, job_id: UUID) -> Job:
    """A job's row, locked for the transaction. Raises `JobNotFound`."""
    job = Job.objects.select_for_update().filter(id=job_id, project_id=project_id).first()
    if job is None:
        raise JobNotFound(job_id=job_id)
    return job


def _fresh(job: Job) -> Job:
    return Job.objects.get(id=job.id, project_id=job.project_id)


def audit_job(action: str, job: Job, actor: str, reason: str, *, before: Mapping[str, Any] | None = None) -> None:
    """Record what a person did to a job. `before`: what the job's row does not keep."""
    audit.record(
        action=action,
        actor=actor,
        subject_type="job",
        subject_id=job.id,
        project_id=job.project_id,
        reason=reason,
        data={"kind": job.kind, "status": job.status} | ({"before": dict(before)} if before else {}),
    )
