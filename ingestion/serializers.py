"""Messages as JSON: what a request may hold, and what an answer shows."""

import datetime as dt
import re
from typing import Annotated, Any
from uuid import UUID

import orjson
from django.urls import reverse
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, WithJsonSchema
from pydantic_core import PydanticCustomError

from ingestion.selectors import KnownMessage
from ingestion.states import MessageStatus
from jobplatform.api.query import Moment
from jobs.serializers import address as job_address

LARGEST_DATA = 256 * 1024
"""Bytes of `data`, written as compact JSON in UTF-8."""

LARGEST_BODY = 1024 * 1024
"""Bytes of a whole body: `data` at its largest with every other character escaped still fits."""

_UUID = re.compile(r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")


def _uuid(value: object) -> UUID:
    if isinstance(value, str) and _UUID.fullmatch(value):
        return UUID(value)
    code, sentence = "uuid", "Input should be a UUID such as 0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a"
    raise PydanticCustomError(code, sentence)


def _fits(data: dict[str, Any]) -> dict[str, Any]:
    if (size := len(orjson.dumps(data))) > LARGEST_DATA:
        code, sentence = "data_too_large", "data has {size} bytes, more than {most}"
        raise PydanticCustomError(code, sentence, {"size": size, "most": LARGEST_DATA})
    return data


Uuid = Annotated[UUID, BeforeValidator(_uuid), WithJsonSchema({"type": "string", "format": "uuid"})]
"""An id in a body in its usual form (8-4-4-4-12). (Pydantic alone would take others, too.)"""


class Metadata(BaseModel):
    """Who sent which message, and when."""

    model_config = ConfigDict(extra="forbid")

    message_time: Moment
    company_id: Uuid
    message_id: Uuid


class PostMessage(BaseModel):
    """A message. Unknown fields beside `data` and in `metadata` are refused; `data` may hold anything."""

    model_config = ConfigDict(
        extra="forbid",
        strict=True,
        json_schema_extra={
            "example": {
                "metadata": {
                    "message_time": "2026-11-22T06:00:00Z",
                    "company_id": "0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0a",
                    "message_id": "0192b3c4-8a20-7d11-8a43-2b1c0d9e8f7a",
                },
                "data": {"order_id": "A-1", "order_time": "2026-11-22T05:59:00Z", "order_amount": 12.5},
            }
        },
    )

    metadata: Metadata
    data: Annotated[dict[str, Any], AfterValidator(_fits)]


class MessageError(BaseModel):
    """What went wrong with a message."""

    code: str
    message: str


class MessageShown(BaseModel):
    """A message as JSON. `sha256` is that of its body, in hexadecimal digits."""

    id: UUID
    project_id: UUID
    company_id: UUID
    message_id: UUID
    message_time: dt.datetime
    received_at: dt.datetime
    status: MessageStatus
    size: int
    sha256: str
    object_key: str
    stored_at: dt.datetime | None
    error: MessageError | None
    job_id: UUID
    links: dict[str, str]


def show_message(message: KnownMessage) -> dict[str, Any]:
    """A `MessageShown`."""
    address = reverse("ingestion:message", args=[message.id])
    links = {"self": address, "job": job_address(message.id)}
    if message.stored_at is not None:
        links["original"] = reverse("ingestion:original", args=[message.id])
    return {
        "id": message.id,
        "project_id": message.project_id,
        "company_id": message.company_id,
        "message_id": message.message_id,
        "message_time": message.message_time,
        "received_at": message.received_at,
        "status": message.status,
        "size": message.size,
        "sha256": message.body_sha256.hex(),
        "object_key": message.object_key,
        "stored_at": message.stored_at,
        "error": message.trouble,
        "job_id": message.id,
        "links": links,
    }
