"""The append side of the audit record: who did what by hand, and why."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from events.models import AuditRecord


def record(
    *,
    action: str,
    actor: str,
    subject_type: str,
    subject_id: str | UUID,
    project_id: UUID | None = None,
    reason: str = "",
    data: Mapping[str, Any] | None = None,
) -> AuditRecord:
    """Append one act to the audit record, in the caller's transaction.

    `actor` is `user:<name>`, `key:<key id>` or `system`; `action` is `noun.verb` (`job.cancel`, `key.revoke`).
    Secrets do not belong into `data`.
    """
    return AuditRecord.objects.create(
        project_id=project_id,
        actor=actor,
        action=action,
        subject_type=subject_type,
        subject_id=str(subject_id),
        reason=reason,
        data=dict(data or {}),
    )
