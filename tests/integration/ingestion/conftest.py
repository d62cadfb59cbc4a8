"""Two tenants, an empty object storage, messages, and the engine's own steps run here instead of in a worker."""

import datetime as dt
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from uuid_utils.compat import uuid7

from events import log
from ingestion import services
from ingestion.handlers import process_message
from ingestion.selectors import KnownMessage
from ingestion.states import KIND
from jobs import slots, store
from jobs.bell import Bell
from jobs.outbox import Outbox
from jobs.runner import Shift, run_batch
from tests.integration.projects.conftest import Tenant, ours, theirs

__all__ = ["ours", "theirs"]

WORKER = 1


class SilentBell(Bell):
    """Nobody listens here."""

    def ring(self, shelves: Iterable[int], *, sweep: bool = False) -> None:
        """Say nothing."""


@pytest.fixture
def storage(settings: Any, tmp_path: Path) -> Path:
    """An empty directory as object storage."""
    settings.STORAGE_URL = f"file://{tmp_path}/storage"
    return tmp_path / "storage"


def claim(most: int = 512) -> Shift:
    """Claim the messages that are due, as a worker does."""
    pen = slots.take(WORKER, os.getpid())
    jobs = store.claim_many(KIND, batch=most, worker=WORKER)
    return Shift(process_message, jobs, Outbox(WORKER, SilentBell()), pen)


@pytest.fixture
def work(db: None) -> Callable[[], dict[str, int]]:
    """Run what is due by the engine's own steps: claim, resolve, perform, judge, commit. Returns counts by outcome."""

    def run() -> dict[str, int]:
        shift = claim()
        try:
            run_batch(shift)
        finally:
            shift.pen.release()
        return shift.outbox.counts

    return run


@pytest.fixture
def later(db: None) -> Callable[[float], None]:
    """Move the platform's clock ahead by so many seconds, counted from now."""
    ahead = dt.timedelta()

    def move(seconds: float) -> None:
        nonlocal ahead
        ahead += dt.timedelta(seconds=seconds)
        log.move_clock(ahead)

    return move


def body_of(message_id: UUID | None = None, company_id: UUID | None = None, **data: Any) -> bytes:
    """A message's body, written in a way of its own."""
    metadata = {
        "message_time": "2026-11-22T06:00:00+01:00",
        "company_id": str(company_id or uuid7()),
        "message_id": str(message_id or uuid7()),
    }
    return json.dumps(
        {"metadata": metadata, "data": data or {"order_id": "A-1", "order_amount": 1.50}}, indent=1
    ).encode()


@pytest.fixture
def receive(ours: Tenant) -> Callable[..., KnownMessage]:
    """Receive a message for our project, or another."""

    def call(
        *, message_id: UUID | None = None, company_id: UUID | None = None, project_id: UUID = ours.project.id
    ) -> KnownMessage:
        message_id, company_id = message_id or uuid7(), company_id or uuid7()
        return services.receive(
            project_id=project_id,
            company_id=company_id,
            message_id=message_id,
            message_time=dt.datetime(2026, 11, 22, 5, tzinfo=dt.UTC),
            body=body_of(message_id, company_id),
        ).message

    return call


@pytest.fixture
def call(ours: Tenant) -> Callable[..., Any]:
    """`call("GET", "/api/v1/messages")`: a request with our key, or another one; `body` is sent as it is."""
    client = Client(raise_request_exception=False)

    def send(
        method: str,
        path: str,
        body: bytes = b"",
        *,
        key: str = ours.text,
        content_type: str = "application/json",
        **headers: str,
    ) -> Any:
        sent = {"Authorization": f"Bearer {key}"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if method == "GET":
            return client.get(path, headers=sent)
        return client.generic(method, path, body, content_type=content_type, headers=sent)

    return send
