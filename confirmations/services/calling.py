"""Calls for the platform's own jobs: one that sends for a signer, one that reads a contract."""

import datetime as dt
from uuid import UUID

from confirmations.selectors import CAPTURE, SEND
from jobs import services
from jobs.states import PLATFORM

__all__ = ["CAPTURE", "SEND"]


def call_sender(signer_id: UUID, at: dt.datetime | None = None) -> None:
    """Have a job that sends for this signer, in the caller's transaction: at once, or at `at`.

    One that waits already is brought forward and does it; one that runs may have looked already, so another follows it.
    """
    services.submit_many(
        project_id=PLATFORM,
        requests=[services.JobRequest(SEND, {"signer_id": str(signer_id)}, due_at=at)],
        accepted=True,
    )


def call_reader(contract_id: UUID, turn: int) -> UUID:
    """Have a job that reads this contract, in the caller's transaction; for each turn there is one."""
    (job,) = services.submit_many(
        project_id=PLATFORM,
        requests=[services.JobRequest(CAPTURE, {"contract_id": str(contract_id), "turn": turn})],
        accepted=True,
    )
    return job.id
