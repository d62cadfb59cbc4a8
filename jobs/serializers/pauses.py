"""Pauses as JSON."""

import datetime as dt
from typing import Annotated, Any
from uuid import UUID

from django.urls import reverse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from jobplatform.api.query import Moment
from jobs.models import Pause
from jobs.serializers.asks import Ask, KindName
from jobs.states import CatchUp


class BeginPause(Ask):
    """What is paused, why, and until when. Without `kind` and `queue`: all jobs of the project."""

    model_config = ConfigDict(json_schema_extra={"example": {"kind": "report.send", "reason": "The provider is down."}})

    kind: KindName | None = None
    queue: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    until: Moment | None = None
    schedules: CatchUp | None = Field(
        None, description="What becomes of the instants of their schedules when it ends; null: as each schedule says."
    )
    reason: Annotated[str, StringConstraints(min_length=1, max_length=500)]


class EndPause(Ask):
    """Why it ends."""

    model_config = ConfigDict(json_schema_extra={"example": {"reason": "The provider is up again."}})

    reason: Annotated[str, StringConstraints(max_length=500)] = ""


class PauseLinks(BaseModel):
    """Addresses of a pause."""

    end: str


class PauseShown(BaseModel):
    """A pause. Nothing starts of what it names together; null names everything."""

    id: UUID
    kind: str | None
    queue: str | None
    until: dt.datetime | None
    schedules: CatchUp | None
    reason: str
    actor: str
    created_at: dt.datetime
    links: PauseLinks


class PauseEnded(BaseModel):
    """The pause that has ended."""

    id: UUID


def show_pause(row: Pause) -> dict[str, Any]:
    """A `PauseShown`."""
    return {
        "id": row.id,
        "kind": row.kind,
        "queue": row.queue,
        "until": row.until,
        "schedules": row.schedules,
        "reason": row.reason,
        "actor": row.actor,
        "created_at": row.created_at,
        "links": {"end": f"{reverse('jobs:pauses')}/{row.id}/end"},
    }
