"""What may be done with jobs: submit, cancel, retry, wake. Each owns its transaction or joins the caller's."""

import datetime as dt
import hashlib
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

import orjson
from django.db import connection, transaction
from django.db.models import Exists, OuterRef
from pydantic import BaseModel, ValidationError
from uuid_utils.compat import uuid7

from events import audit
from jobplatform import tracing
from jobs import awaiting, extensions, lanes, limits, registry, shelves, store, unique
from jobs.bell import bell
from jobs.errors import (
    DuplicateJob,
    InvalidOption,
    InvalidPayload,
    JobNotFound,
    SecondPersonRequired,
    SubmitRefused,
    WrongStatus,
)
from jobs.extensions import SubmitRequest
from jobs.models import Attempt, Job, JobBatch
from jobs.policy import Unique
from jobs.registry import Kind
from jobs.states import CANCELLABLE, DEAD_LETTERS, ENDED, REDRIVABLE, Stage, Status
from jobs.store import Move, NewJob

_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")  # an escape, and not the end of an escaped backslash
LONGEST_LANE = 200
LARGEST_PAYLOAD = 1024 * 1024  # bytes as JSON; what is larger belongs into object storage, with its address here
RETRIED = REDRIVABLE | {Status.BLOCKED}
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
    batch_id: UUID | None = None


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


def submit_many(
    *, project_id: UUID, requests: Sequence[JobRequest], accepted: bool = False
) -> list[Submitted]:  # fmt: skip
    """Create jobs with their `job.queued` events, all or none, in the caller's transaction.

    The workers hear of them when that transaction commits. `accepted`: the gates were asked when they were promised.

    Raises:
        UnknownKind, InvalidPayload, InvalidOption: the first request that does not fit; nothing is created.
        SubmitRefused: a gate (quota, suspension) refused.
    """
    kinds = {request.kind for request in requests if registry.get(request.kind).unique}
    if kinds:
        with transaction.atomic():
            many = len(requests) > 1
            if many:
                unique.lock_kinds(project_id, kinds)
            return [_submit_by_kind(project_id, request, locked=many, accepted=accepted) for request in requests]
    rows = [prepare(project_id, request) for request in requests]
    if not accepted:
        ask_gates(project_id, requests)
    return insert(rows)


def _submit_by_kind(project_id: UUID, request: JobRequest, *, locked: bool, accepted: bool) -> Submitted:
    kind = registry.get(request.kind)
    if kind.unique is None:
        return submit_many(project_id=project_id, requests=[request], accepted=accepted)[0]
    payload_text(kind, request.payload)  # refuses what does not fit
    key = unique.key_of(kind, kind.unique, request.payload)
    return submit_unique(
        project_id=project_id,
        request=request,
        key=key,
        seconds=kind.unique.seconds,
        locked=locked,
        policy=kind.unique,
        accepted=accepted,
    )


def submit_unique(
    *,
    project_id: UUID,
    request: JobRequest,
    key: str,
    seconds: float | None,
    locked: bool = False,
    policy: Unique | None = None,
    accepted: bool = False,
) -> Submitted:
    """Create a job unless another holds the key; then do as `policy` says, by default return that one.

    `Submitted.existing`: no job was created. `seconds`: how long the key is taken; None: until the job has ended.
    `locked`: see `unique.lock_kinds`; `accepted`: see `submit_many`.

    Raises:
        DuplicateJob: another holds the key, and `policy` wants that to be refused.
    """
    row = prepare(project_id, request)
    if policy is not None and policy.wait > 0:
        now = store.now()
        row.due_at = max(now + dt.timedelta(seconds=policy.wait), row.due_at or now)
    if not accepted:
        ask_gates(project_id, [request])
    with transaction.atomic():
        holder = unique.take(project_id, row.kind, key, row.id, seconds, locked=locked)
        if holder == row.id:
            return insert([row])[0]
        if policy is not None and policy.otherwise == "reject":
            message = f"The job {holder} has its unique key."
            raise DuplicateJob(message, job_id=holder)
        if policy is not None and policy.otherwise in {"replace", "debounce"}:
            return _replace(row, holder, key, policy)
    job = Job.objects.only("id", "kind", "created_at", "due_at").get(id=holder, project_id=project_id)
    return Submitted(job.id, job.kind, job.created_at, job.due_at, existing=True)


def _replace(row: NewJob, holder: UUID, key: str, policy: Unique) -> Submitted:
    """Take the place of the job that waits; of one that waits no more, its key."""
    shelf = (row.kind, row.project_id, row.priority, 0)
    shelf_id = shelves.ids([shelf])[shelf]
    times = store.replace(row, shelf_id, holder, wait=policy.wait, longest=policy.longest)
    if times is None:
        before = Job.objects.select_for_update().filter(project_id=row.project_id, id=holder, status=Status.QUEUED)
        stop(list(before), actor="system", reason=f"replaced by {row.id}")  # it waits in another lane
        store.pass_key(row.project_id, row.kind, key, row.id)
        return insert([row])[0]
    transaction.on_commit(lambda: bell.ring([shelf_id], sweep=True))
    return Submitted(holder, row.kind, *times, existing=True)


def prepare(project_id: UUID, request: JobRequest) -> NewJob:
    """Validate one request against its kind, without touching the database."""
    kind = registry.get(request.kind)
    payload = payload_text(kind, request.payload)
    extra = _options(kind, request)
    if request.batch_id is not None:
        extra["batch_id"] = str(request.batch_id)
    if kind.limit is not None:
        key = limits.key_of(kind, project_id, kind.payload.model_validate_json(payload))
        extra |= {"limit_id": key.id} | ({"cost": key.cost} if key.cost > 1 else {}) if key else {}
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
    tracing.submitted((row.id, row.kind) for row in rows)

    def ring() -> None:
        bell.ring(set(filled), sweep=time.monotonic() - began > LATE_COMMIT_SECONDS or any(r.due_at for r in rows))

    if connection.in_atomic_block:
        transaction.on_commit(ring)
    else:
        ring()
    return [Submitted(row.id, row.kind, *times[row.id]) for row in rows]


def payload_text(kind: Kind[Any], payload: Mapping[str, Any] | BaseModel) -> str:
    """A payload as JSON. Raises `InvalidPayload` when it does not fit its kind, or is too large."""
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
    if (size := len(text) if text.isascii() else len(text.encode())) > LARGEST_PAYLOAD:
        message = f"The payload has {size} bytes as JSON; {LARGEST_PAYLOAD} are the most."
        raise InvalidPayload(message, errors=[{"loc": (), "type": "payload_too_large", "msg": message}])
    if has_nul(text):
        message = "A string of the payload contains a NUL character."
        raise InvalidPayload(message, errors=[{"loc": (), "type": "nul_character", "msg": message}])
    return text


def new_payload(job: Job, payload: Mapping[str, Any]) -> str:
    """A payload for a job that has one already, as JSON.

    The job's place in its lane is its own: what belongs into another lane is another job.
    Raises `InvalidPayload`: it does not fit, or belongs into another lane.
    """
    kind = registry.get(job.kind)
    text = payload_text(kind, payload)
    by_kind = job.lane is not None and job.lane.startswith(f"{kind.name}:")
    if by_kind and (lane := lane_of(kind, text)) is not None and lane != job.lane:
        message = f"The payload belongs into the lane {lane}, and the job stands in {job.lane}: create another job."
        raise InvalidPayload(message, errors=[{"loc": kind.lane.by, "type": "another_lane", "msg": message}])
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
    if (mode := _confirm(kind, request.confirm)) is not None:
        extra["confirm"] = mode
    return extra


def _confirm(kind: Kind[Any], asked: str | None) -> str | None:
    """How the result of a job goes on chain: as its kind says, or under `optional` as it asks for."""
    if asked is not None and kind.confirm != "optional":
        _refuse("confirm", f"Whether {kind.name} is confirmed is for its kind to say.", code="confirm_not_allowed")
    mode = asked if kind.confirm in {"optional", "never"} else kind.confirm
    if mode is not None and Stage.CONFIRM not in extensions.stages:
        _refuse("confirm", "No chain is set up here (RPC_URL).", code="confirm_not_available")
    return mode


def _refuse(field_name: str, message: str, *, code: str = "invalid_option") -> None:
    raise InvalidOption(message, code=code, field=f"/{field_name}")


# ---------------------------------------------------------------------------------------------- by hand


def cancel(*, project_id: UUID, job_id: UUID, actor: str, reason: str = "") -> Job:
    """Stop a job: at once where it waits, through its handler (`job.cancelled`) where it runs.

    Cancelling a cancelled job changes nothing.

    Raises:
        JobNotFound: the project has no such job.
        WrongStatus: it has ended otherwise.
        SecondPersonRequired: it stands blocked, and nobody decides about its kind alone.
    """
    with transaction.atomic():
        job = locked(project_id, job_id)
        _alone(job)
        if not stop([job], actor=actor, reason=reason) and job.status != Status.CANCELLED:
            ended = job.status in ENDED
            message = (
                f"The job has ended as {job.status}." if ended else f"A job that is {job.status} cannot be stopped."
            )
            raise WrongStatus(message, status=job.status)
        audit_job("job.cancel", job, actor, reason)
    return _fresh(job)


def wants_second(job: Job) -> bool:
    """Whether what is decided about a job as it stands must be approved by somebody else: see `jobs/inbox.py`."""
    if job.status != Status.BLOCKED:
        return False
    kind = registry.find(job.kind)
    return kind is not None and kind.second_person


def _alone(job: Job) -> None:
    if wants_second(job):
        raise SecondPersonRequired


def stop(jobs: Sequence[Job], *, actor: str, reason: str) -> int:
    """Stop jobs that the caller has locked: at once, or through their handlers. Returns how many can be stopped.

    What stands blocked and wants a second person is left as it is.
    """
    data = as_json({"reason": reason or "requested", "actor": actor})
    at_once = [job for job in jobs if job.status in CANCELLABLE and not wants_second(job)]
    if at_once:
        store.move_many("cancel", [Move(job.id, job.project_id) for job in at_once], data=data)
        lanes.leave({(job.project_id, job.lane) for job in at_once if job.lane is not None})
    running = [job.id for job in jobs if job.status == Status.PROCESSING]
    if running:
        Job.objects.filter(id__in=running, project_id=jobs[0].project_id).update(cancel_requested=True)
    return len(at_once) + len(running)


def again_plain(moves: Sequence[Move], *, kinds: Sequence[str], actor: str, reason: str) -> set[UUID]:
    """Queue dead letters of these kinds once more by one statement: those in no lane and no batch. Returns which.

    The kinds have no unique keys. Whatever else is asked for is the caller's to do by `again`.
    """
    data = as_json({"reason": reason, "actor": actor})
    moved = store.move_many("redrive", moves, data=data, fresh=True, allowed=DEAD_LETTERS, plain=kinds)
    transaction.on_commit(lambda: bell.ring(moved.values(), sweep=True))
    return set(moved)


def forget(ids: Sequence[UUID], *, dead_since: dt.datetime) -> list[UUID]:
    """Delete jobs that stand dead since before a moment, with their attempts. Returns which were deleted.

    One of a batch that has not ended stays, and so does one that somebody is just doing something with.
    """
    open_ = JobBatch.objects.filter(id=OuterRef("batch_id"), ended_at=None)
    with transaction.atomic():
        jobs = Job.objects.select_for_update(skip_locked=True).filter(
            ~Exists(open_), id__in=ids, status__in=DEAD_LETTERS, finished_at__lt=dead_since
        )
        gone = list(jobs.order_by("id").values_list("id", flat=True))
        Attempt.objects.filter(job_id__in=gone).delete()
        Job.objects.filter(id__in=gone).delete()
    return gone


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
        SecondPersonRequired: it stands blocked, and nobody decides about its kind alone.
    """
    text = None
    with transaction.atomic():
        job = locked(project_id, job_id)
        if payload is not None:
            text = new_payload(job, payload)
        if job.status not in RETRIED:
            message = f"A job that is {job.status} cannot be retried."
            raise WrongStatus(message, status=job.status)
        _alone(job)
        unique.keep(job, payload)
        again([job], actor=actor, reason=reason, payload=text)
        if text is None:
            audit_job("job.retry", job, actor, reason)
        else:  # the row keeps the new payload only
            audit_job("job.edit_and_retry", job, actor, reason, before={"payload": job.payload, "steps": job.steps})
    return _fresh(job)


def again(jobs: Sequence[Job], *, actor: str, reason: str, payload: str | None = None) -> int:
    """Queue ended and blocked jobs once more, with their attempts counted anew. The caller has locked them.

    Their unique keys are the caller's matter. Returns how many; `payload` (JSON text) replaces the old one.
    """
    data = as_json({"reason": reason or "requested", "actor": actor})
    ended = [job for job in jobs if job.status in REDRIVABLE]
    blocked = [Move(job.id, job.project_id) for job in jobs if job.status == Status.BLOCKED and not wants_second(job)]
    moved: dict[UUID, int] = {}
    for verb, moves in (("redrive", lanes.enter_again(ended)), ("resume", blocked)):
        if moves:
            moved |= store.move_many(verb, moves, data=data, payload=payload, fresh=True)
    groups = {job.batch_id for job in jobs if job.batch_id is not None}
    if groups:  # what waits for all of them to end well may hope again
        JobBatch.objects.filter(id__in=groups).update(stalled_at=None)
    transaction.on_commit(lambda: bell.ring(moved.values(), sweep=True))
    return len(moved)


def settle(verb: Literal["confirm", "unconfirm", "retract"], moves: Sequence[Move]) -> dict[UUID, int]:
    """Tell jobs what has come of their results on chain, in the caller's transaction. Returns those that it was for.

    Who waits behind them in their lanes goes on when they have ended.
    """
    with transaction.atomic():
        moved = store.move_many(verb, moves)
        if verb != "retract":
            projects = {move.project_id for move in moves}
            found = Job.objects.filter(project_id__in=projects, id__in=list(moved), lane__isnull=False)
            lanes.leave({(project, lane) for project, lane in found.values_list("project_id", "lane") if lane})
    return moved


def weigh(project_id: UUID, weight: int) -> None:
    """Give a project `weight` shares of the workers, where another has one. In the caller's transaction."""
    with transaction.atomic():
        shelves.weigh(project_id, weight)


def wake_parked(limit: int = 512) -> int:
    """Queue parked jobs whose time has come. Called by the relay; returns how many.

    One that waits for an event which is in the log is woken by that, however late anybody reads it.
    """
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
        hits, coming = awaiting.overdue([job_id for job_id, _ in found])
        met = awaiting.wake(hits) if hits else 0
        others = coming | {hit.job_id for hit in hits}
        due = [Move(job_id, project_id) for job_id, project_id in found if job_id not in others]
        moved = store.move_many("wake", due, data=as_json({"reason": "time"})) if due else {}
        transaction.on_commit(lambda: bell.ring(moved.values(), sweep=True))
    return len(moved) + met


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
