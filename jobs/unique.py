"""Unique keys: at most one job of a kind with the same key. Who takes one, takes it in the transaction of its job."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

import orjson
from django.db import connection
from pydantic import BaseModel, ValidationError

from jobs import registry, store
from jobs.errors import WrongStatus
from jobs.models import Job, UniqueKey
from jobs.policy import Unique
from jobs.registry import Kind


def key_of(kind: Kind[Any], policy: Unique, payload: Mapping[str, Any] | BaseModel) -> str:
    """The unique key of a payload that fits: what the handler sees of it, so a default is as good as its own value."""
    model = payload if isinstance(payload, BaseModel) else kind.payload.model_validate(payload)
    seen = model.model_dump(mode="json", fallback=str)
    chosen = {name: seen.get(name) for name in policy.by} if policy.by else seen
    try:
        text = orjson.dumps(chosen, option=orjson.OPT_SORT_KEYS)
    except TypeError:  # numbers of more than 64 bits are JSON, but not to it
        text = json.dumps(chosen, sort_keys=True).encode()
    return hashlib.sha256(text).hexdigest()


_LOCK_KEY = """
select pg_advisory_xact_lock_shared(hashtextextended(%s, 1)), pg_advisory_xact_lock(hashtextextended(%s, 0))
"""


def lock_kinds(project_id: UUID, kinds: Iterable[str]) -> None:
    """Let nobody else take keys of these kinds until the transaction ends: a thousand locks are too many."""
    with connection.cursor() as cursor:
        for kind in sorted(kinds):
            cursor.execute("select pg_advisory_xact_lock(hashtextextended(%s, 1))", [f"{project_id} {kind}"])


def take(project_id: UUID, kind: str, key: str, job_id: UUID, seconds: float | None, *, locked: bool = False) -> UUID:
    """Take a key in the caller's transaction, one after another. Returns the job that holds it.

    Whoever waited must ask anew: the statement that waits for another's row does not see that one's new job.
    """
    if not locked:
        with connection.cursor() as cursor:
            cursor.execute(_LOCK_KEY, [f"{project_id} {kind}", f"{project_id} {kind} {key}"])
    return store.take_key(project_id, kind, key, job_id, seconds)


def of_job(job: Job) -> str:
    """The unique key that a job has, or has had; empty: its kind has none, or not for such a payload any more."""
    kind = registry.find(job.kind)
    if kind is None or kind.unique is None:
        return ""
    try:
        return key_of(kind, kind.unique, job.payload)
    except ValidationError:  # it fitted an earlier version of the model
        return ""


def keep(job: Job, payload: Mapping[str, Any] | None) -> None:
    """Take the unique key of a job that is about to run once more; a new payload has another one.

    Raises:
        WrongStatus: another job has it.
    """
    kind = registry.find(job.kind)
    if kind is None or kind.unique is None:
        return
    old = of_job(job)
    new = old if payload is None else key_of(kind, kind.unique, payload)
    if not new:
        return
    holder = take(job.project_id, job.kind, new, job.id, kind.unique.seconds)
    if holder != job.id:
        message = f"The job {holder} has its unique key meanwhile."
        raise WrongStatus(message, status=job.status)
    if old != new:
        UniqueKey.objects.filter(project_id=job.project_id, kind=job.kind, key=old, job_id=job.id).delete()
