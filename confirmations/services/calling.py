"""Calls for the platform's own jobs: one that sends for a signer, one that reads a contract."""

import datetime as dt
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from confirmations.selectors import CAPTURE, SEND, VERIFY
from jobs import services
from jobs.states import PLATFORM

__all__ = ["CAPTURE", "SEND", "VERIFY"]


def call_sender(signer_id: UUID, at: dt.datetime | None = None) -> None:
    """Have a job that sends for this signer, in the caller's transaction: at once, or at `at`.

    One that waits already is brought forward and does it; one that runs may have looked already, so another follows it.
    """
    call(SEND, {"signer_id": str(signer_id)}, at)


def call_reader(contract_id: UUID, turn: int) -> UUID:
    """Have a job that reads this contract, in the caller's transaction; for each turn there is one."""
    return call(CAPTURE, {"contract_id": str(contract_id), "turn": turn})


def call(kind: str, payload: Mapping[str, Any], at: dt.datetime | None = None) -> UUID:
    """Have a job of the platform's own, in the caller's transaction."""
    request = services.JobRequest(kind, payload, due_at=at)
    return services.submit_many(project_id=PLATFORM, requests=[request], accepted=True)[0].id
