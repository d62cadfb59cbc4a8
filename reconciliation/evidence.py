"""The evidence about one job in one piece: what it was, what happened to it, what stands on chain, who did what."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from confirmations import selectors as chain
from confirmations.errors import ConfirmationNotFound
from confirmations.serializers import show_confirmation, show_proof
from events import selectors as log
from events.models import AuditRecord
from events.serializers import show_event
from jobs import selectors as jobs
from jobs import store
from jobs.models import Intervention
from jobs.serializers import show_attempt, show_job
from jobs.serializers.interventions import show_intervention
from reconciliation.models import RedriveRow

MOST = 1000
"""Of each sort, the newest so many."""


def of(project_id: UUID, job_id: UUID) -> dict[str, Any]:
    """All that is known of a job of a project. Raises `JobNotFound`.

    `acts` are records of the audit, with their seals: `manage.py verify_audit` says whether those hold.
    """
    row = jobs.job(project_id, job_id)
    attempts = jobs.attempts(project_id, job_id, after=None, forward=False, limit=MOST)
    events = log.of_subject(project_id, job_id, after=None, forward=False, limit=MOST)
    asked = Intervention.objects.filter(project_id=project_id, subject_type="job", subject_id=str(job_id))
    acts = AuditRecord.objects.filter(project_id=project_id, subject_type="job", subject_id=str(job_id))
    redrives = RedriveRow.objects.filter(job_id=job_id, project_id=project_id)
    return {
        "taken_at": store.now(),
        "job": show_job(row),
        "attempts": [show_attempt(one) for one in attempts.rows][::-1],
        "events": [show_event(one) for one in events.rows][::-1],
        "confirmation": _confirmation(project_id, job_id),
        "proof": _proof(project_id, job_id),
        "interventions": [show_intervention(one) for one in asked.order_by("id")[:MOST]],
        "redrives": [
            {"id": one.redrive_id, "number": one.number, "state": one.state, "why": one.why, "at": one.changed_at}
            for one in redrives.order_by("redrive_id")[:MOST]
        ],
        "acts": [_act(one) for one in acts.order_by("-id")[:MOST]][::-1],
        "complete": attempts.stopped_at is None and events.stopped_at is None and _few(attempts.rows, events.rows),
    }


def _few(*lists: Sequence[Any]) -> bool:
    return all(len(rows) < MOST for rows in lists)


def _confirmation(project_id: UUID, job_id: UUID) -> dict[str, Any] | None:
    try:
        row = chain.confirmation(project_id, job_id)
    except ConfirmationNotFound:
        return None
    return show_confirmation(row, [] if row.transaction is None else chain.attempts(row.transaction.id))


def _proof(project_id: UUID, job_id: UUID) -> dict[str, Any] | None:
    try:
        return show_proof(chain.proof(project_id, job_id))
    except ConfirmationNotFound:
        return None


def _act(row: AuditRecord) -> dict[str, Any]:
    return {
        "id": row.id,
        "at": row.occurred_at,
        "actor": row.actor,
        "action": row.action,
        "reason": row.reason,
        "data": row.data,
        "chain_no": row.chain_no,
        "prev_hash": row.prev_hash,
        "hash": row.hash,
    }
