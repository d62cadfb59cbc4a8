"""What people decide about limits: bounds other than those in the code, a key closed or opened by hand."""

import datetime as dt
from uuid import UUID

from django.db import transaction

from events import audit
from jobs import limits
from jobs.errors import InvalidOption
from jobs.models import LimitKey, LimitRule
from jobs.policy import check_bounds


def check(
    *, name: str, concurrency: int | None, rate: float | None, burst: float | None, project_id: UUID | None
) -> None:
    """Nothing, if a rule may say this. Raises `InvalidOption`."""
    limit = limits.named(name)
    if limit is None:
        message = f"There is no limit {name!r}."
        raise InvalidOption(message, code="unknown_limit", field="/name")
    if project_id is not None and limit.across_projects:
        message = f"The limit {name!r} is one for all projects."
        raise InvalidOption(message, code="limit_across_projects", field="/project_id")
    try:
        check_bounds(concurrency, rate, burst)
    except ValueError as error:
        raise InvalidOption(str(error)) from None


def rule(
    *,
    name: str,
    concurrency: int | None,
    rate: float | None,
    burst: float | None = None,
    project_id: UUID | None = None,
    actor: str,
    reason: str,
) -> LimitRule:
    """Let these bounds rule instead of the code's, at once: for all projects, or for one. None: no such bound.

    Raises:
        InvalidOption: there is no such limit, or it cannot have such bounds.
    """
    check(name=name, concurrency=concurrency, rate=rate, burst=burst, project_id=project_id)
    with transaction.atomic():
        row, _ = LimitRule.objects.update_or_create(
            name=name, project_id=project_id, defaults={"concurrency": concurrency, "rate": rate, "burst": burst}
        )
        bounds = {"concurrency": concurrency, "rate": rate, "burst": burst}
        audit.record(
            action="limit.rule", actor=actor, subject_type="limit", subject_id=name, project_id=project_id,
            reason=reason, data=bounds,
        )  # fmt: skip
        limits.align(name)
    return row


def unrule(row: LimitRule, *, actor: str, reason: str = "") -> None:
    """Let the code's bounds rule again."""
    with transaction.atomic():
        LimitRule.objects.filter(pk=row.pk).delete()
        audit.record(
            action="limit.unrule", actor=actor, subject_type="limit", subject_id=row.name, project_id=row.project_id,
            reason=reason,
        )  # fmt: skip
        limits.align(row.name)


def close(key: LimitKey, until: dt.datetime | None, *, actor: str, reason: str) -> None:
    """Close a key until a time, as if a job had been told to wait; None opens it at once, for all that fit."""
    with transaction.atomic():
        row = LimitKey.objects.select_for_update().get(id=key.id)
        row.closed_until, row.closed_reason = until, reason
        row.ramp = None if until is None else 1
        row.save(update_fields=["closed_until", "closed_reason", "ramp"])
        audit.record(
            action="limit.open" if until is None else "limit.close", actor=actor, subject_type="limit_key",
            subject_id=str(row.id), project_id=None if row.project_id == limits.EVERYBODY else row.project_id,
            reason=reason, data={"name": row.name, "key": row.key, "until": until and until.isoformat()},
        )  # fmt: skip
        limits.let_out([row.id])
