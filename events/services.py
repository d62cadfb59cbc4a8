"""What other systems, and handlers, report: an event of their own, in the log of their project."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from django.db import transaction

from events import log
from events.errors import InvalidEvent
from events.log import LoggedEvent
from events.topics import EVENT_TYPES, LONGEST_TYPE, RESERVED, is_reported, subject_of

LARGEST_DATA = 64 * 1024
"""Bytes of an event's data as JSON."""


def report(
    *, project_id: UUID, event_type: str, subject: str = "", data: Mapping[str, Any] | None = None, event_id: str = ""
) -> LoggedEvent:
    """Append an event to the log of a project, in the caller's transaction if there is one; returns it.

    Jobs that wait for this type and subject run again (`Park(event=, subject=)`). In a handler:
    `Done(within=lambda: report(project_id=job.project_id, event_type="order.paid", subject="7"))`, exactly once.

    Args:
        event_type: words with dots between them (`payment.arrived`), the first of which is no noun of the platform.
        subject: what it is about, up to 200 printable characters; or nothing.
        data: a JSON object of up to 64 KiB.
        event_id: what its sender calls it; kept with it, and not compared with anything.

    Raises:
        InvalidEvent: something of this does not fit; `code` is reserved_event_type, invalid_event_type,
            invalid_subject, invalid_data or data_too_large.
    """
    _check_type(event_type)
    try:
        subject_id = subject_of(project_id, event_type, subject)
    except ValueError as error:
        raise InvalidEvent(str(error), code="invalid_subject", field="/subject") from None
    row = {"subject": subject, "data": _checked(data or {})} | ({"id": event_id} if event_id else {})
    with transaction.atomic():
        return log.report(project_id=project_id, event_type=event_type, subject_id=subject_id, data=row)


def _check_type(event_type: str) -> None:
    if event_type in EVENT_TYPES or event_type.partition(".")[0] in RESERVED:
        message = "Events of this type are the platform's own. Begin with another noun, as in payment.arrived."
        raise InvalidEvent(message, code="reserved_event_type", field="/type")
    if not is_reported(event_type):
        message = f"A type is lower-case words with dots between them, {LONGEST_TYPE} characters at most."
        raise InvalidEvent(message, code="invalid_event_type", field="/type")


def _checked(data: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        text = orjson.dumps(data)
    except TypeError as error:
        message = f"data is no JSON object: {error}"
        raise InvalidEvent(message, code="invalid_data", field="/data") from None
    if len(text) > LARGEST_DATA:
        message = f"data has {len(text)} bytes as JSON, more than {LARGEST_DATA}."
        raise InvalidEvent(message, code="data_too_large", field="/data")
    if b"\\u0000" in text and _has_nul(data):
        message = "A string of data contains a NUL character."
        raise InvalidEvent(message, code="invalid_data", field="/data")
    return data


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(part) for pair in value.items() for part in pair)
    return isinstance(value, list | tuple) and any(_has_nul(part) for part in value)
