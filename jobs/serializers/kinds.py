"""Kinds of jobs as JSON, with the schema of their payloads and an example."""

from collections.abc import Mapping
from typing import Any

from django.urls import reverse
from pydantic import BaseModel, ValidationError

from jobs.registry import Kind
from jobs.serializers.jobs import most_attempts


class RetryShown(BaseModel):
    """The retry policy of a kind: seconds before retry number n are `first * factor ** (n - 1)`, at most `cap`."""

    max_attempts: int
    first: float
    factor: float
    cap: float


class KindShown(BaseModel):
    """A kind of job: what its payload must be, and its policies."""

    name: str
    title: str
    description: str
    payload_schema: dict[str, Any]
    example: dict[str, Any] | None
    retry: RetryShown
    timeout: float
    expect: float | None
    confirm: str
    queue: str
    priority: int
    batch: int
    unique_by: list[str] | None
    is_async: bool
    links: dict[str, str]


# ---------------------------------------------------------------------------------------------- showing


def show_kind(kind: Kind[Any]) -> dict[str, Any]:
    """A `KindShown`."""
    backoff = kind.retry.backoff
    return {
        "name": kind.name,
        "title": kind.title,
        "description": kind.description,
        "payload_schema": schema_of(kind),
        "example": example_of(kind),
        "retry": {
            "max_attempts": most_attempts(kind, None),
            "first": backoff.first,
            "factor": backoff.factor,
            "cap": backoff.cap,
        },
        "timeout": kind.timeout,
        "expect": kind.expect,
        "confirm": kind.confirm,
        "queue": kind.queue,
        "priority": kind.priority,
        "batch": kind.batch.max,
        "unique_by": None if kind.unique is None else list(kind.unique.by),
        "is_async": kind.is_async,
        "links": {"self": reverse("jobs:kind", args=[kind.name])},
    }


def schema_of(kind: Kind[Any]) -> dict[str, Any]:
    """The JSON schema of a kind's payload."""
    schema: dict[str, Any] = kind.payload.model_json_schema()
    return schema


def example_of(kind: Kind[Any]) -> Mapping[str, Any] | None:
    """A payload that fits the kind: its author's, or one made from its schema; None if that does not fit."""
    if kind.example is not None:
        return kind.example
    schema = schema_of(kind)
    made = _sample(schema, schema.get("$defs", {}))
    try:
        kind.payload.model_validate(made)
    except ValidationError:
        return None
    return made if isinstance(made, dict) else None


_SAMPLES: Mapping[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "array": [], "null": None}
_FORMATS = {
    "uuid": "0198c0de-0000-7000-8000-000000000000",
    "date-time": "2026-11-22T06:00:00Z",
    "date": "2026-11-22",
    "time": "06:00:00Z",
    "email": "ada@example.com",
    "uri": "https://example.com/",
}


def _sample(schema: Mapping[str, Any], definitions: Mapping[str, Any], depth: int = 8) -> Any:
    """Something that a JSON schema probably allows."""
    if "$ref" in schema and depth:
        return _sample(definitions.get(schema["$ref"].rpartition("/")[2], {}), definitions, depth - 1)
    for key in ("example", "default", "const"):
        if key in schema:
            return schema[key]
    if schema.get("examples") or schema.get("enum"):
        return (schema.get("examples") or schema["enum"])[0]
    for key in ("anyOf", "oneOf", "allOf"):
        if schema.get(key) and depth:
            return _sample(schema[key][0], definitions, depth - 1)
    if schema.get("type") == "object" or "properties" in schema:
        wanted = schema.get("required", ())
        return {name: _sample(schema["properties"][name], definitions, depth - 1) for name in wanted if depth}
    if schema.get("type") == "string":
        return _FORMATS.get(schema.get("format", "")) or "text".ljust(schema.get("minLength", 0), ".")
    if schema.get("type") in {"integer", "number"}:
        return schema.get("minimum", _SAMPLES[schema["type"]])
    return _SAMPLES.get(schema.get("type", ""), None)
