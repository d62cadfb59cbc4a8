"""Events as JSON."""

import re
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from events.errors import EventsError, InvalidEvent
from events.log import LoggedEvent
from events.selectors import EventRow, Place
from events.topics import LONGEST_SUBJECT, LONGEST_TYPE, topics_of
from jobplatform.api.problems import answer_with

_ID = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")
_LARGEST = 2**63 - 1


answer_with({EventsError: 422, InvalidEvent: 422})


class ReportEvent(BaseModel):
    """Something that happened elsewhere. The same `id` again is the same event, and is told once (for 72 hours)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"type": "payment.arrived", "subject": "order-7", "id": "pay-991", "data": {"amount": 12.5}}
        },
    )

    type: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST_TYPE)]
    subject: Annotated[str, StringConstraints(max_length=LONGEST_SUBJECT)] = ""
    data: dict[str, Any] = Field(default_factory=dict)
    id: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,200}$")] | None = None


class EventShown(BaseModel):
    """One thing that happened. `id` orders the log; `seq` counts the events of one subject without gaps."""

    id: str
    type: str
    seq: int
    occurred_at: datetime
    subject_id: UUID
    project_id: UUID
    topics: list[str]
    data: dict[str, Any]


def show_event(row: EventRow | LoggedEvent) -> dict[str, Any]:
    """An `EventShown`."""
    return {
        "id": event_id(row.place),
        "type": row.type,
        "seq": row.seq,
        "occurred_at": row.occurred_at,
        "subject_id": row.subject_id,
        "project_id": row.project_id,
        "topics": topics_of(row.type),
        "data": orjson.Fragment(row.data),
    }


def event_id(place: Place) -> str:
    """The id of an event as the world sees it: `<position>-<id>`. Opaque to clients, and never used twice."""
    return f"{place[0]}-{place[1]}"


def place_of(event_id: str) -> Place | None:
    """The place that an event's id names, or None if it is not one. `0` stands for the start of the log."""
    if event_id == "0":
        return 0, 0
    found = _ID.fullmatch(event_id)
    if found is None:
        return None
    position, number = int(found[1]), int(found[2])
    return (position, number) if max(position, number) <= _LARGEST else None
