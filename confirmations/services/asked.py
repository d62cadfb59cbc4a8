"""Interventions: what of confirmations only a person may decide."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from jobs.models import Intervention

ACTIONS: Mapping[str, Sequence[str]] = {
    "transaction": ("retry", "bump", "free"),
    "confirmation": ("retry", "external", "skip"),
    "signer": ("resume",),
    "contract": ("acknowledge",),
}
"""What a person may do, by the subject, in the order in which it is offered."""


def ask_person(
    subject: str, subject_id: UUID, reason: str, evidence: Mapping[str, Any], project_id: UUID | None = None
) -> None:
    """Open an intervention, in the caller's transaction; one that is open stays as it is."""
    Intervention.objects.bulk_create(
        [
            Intervention(
                id=uuid7(),
                project_id=project_id,
                subject_type=subject,
                subject_id=str(subject_id),
                reason=reason,
                evidence=dict(evidence),
                actions=list(ACTIONS[subject]),
            )
        ],
        ignore_conflicts=True,
    )
