"""How a body becomes data: read once, never more of it than the route takes, and parsed strictly."""

from collections.abc import Mapping
from io import BytesIO
from typing import IO, Any

from django.http import HttpRequest
from rest_framework.parsers import BaseParser

from jobplatform.api import strict_json
from jobplatform.api.problems import Problem

DEFAULT_LIMIT = 1024 * 1024  # bytes; a view says otherwise by its attribute `max_body_bytes`


def read_body(request: HttpRequest, limit: int = DEFAULT_LIMIT) -> bytes:
    """All bytes of the body, with or without an announced length, at most `limit` of them.

    Raises `Problem`: 413 for a larger body, as early as it is known; 400 for one that ends too soon; 415 for a
    compressed one. It may be called again.
    """
    if hasattr(request, "_body"):
        body: bytes = request.body
        return _within(body, limit)
    if request.META.get("HTTP_CONTENT_ENCODING", "identity") not in {"identity", ""}:
        raise Problem(415, "unsupported_content_encoding", "Send the body as it is, without Content-Encoding.")
    announced = request.META.get("CONTENT_LENGTH") or ""
    if announced:
        body = _read_announced(request, announced, limit)
    elif "HTTP_TRANSFER_ENCODING" in request.META or "wsgi.input" not in request.META:
        # Chunked: Django takes a missing length for an empty body. ASGI has buffered the body by now.
        stream = request.META.get("wsgi.input", request)
        body = _within(stream.read(limit + 1), limit)
    else:
        body = b""
    # Where Django itself keeps it, for `request.body` of whoever comes later.
    request._body = body  # noqa: SLF001
    request._stream = BytesIO(body)  # noqa: SLF001
    return body


def _read_announced(request: HttpRequest, announced: str, limit: int) -> bytes:
    if not (announced.isascii() and announced.isdigit()):
        raise Problem(400, "invalid_content_length", "Content-Length is not a number.")
    length = int(announced[:20])
    if length > limit:
        raise too_large(limit)
    # One read for everything: granian forgets the rest of a chunk that was read in part.
    body: bytes = request.read(length)
    if len(body) < length:
        raise Problem(400, "incomplete_body", "The body ended before its announced length.")
    return body


def _within(body: bytes, limit: int) -> bytes:
    if len(body) > limit:
        raise too_large(limit)
    return body


def too_large(limit: int) -> Problem:
    """A body of more than `limit` bytes."""
    return Problem(413, "body_too_large", f"The body is larger than the {limit} bytes that this address takes.")


def check_content_type(content_type: str) -> None:
    """Accept `application/json` in UTF-8. Raises `Problem` (415) for anything else."""
    if content_type == "application/json":
        return
    media_type, _, parameters = content_type.partition(";")
    if media_type.strip().lower() != "application/json":
        raise Problem(415, "unsupported_media_type", "Send JSON, with the header Content-Type: application/json.")
    name, _, value = parameters.partition("=")
    if name.strip().lower() == "charset" and value.strip().strip('"').lower() not in {"utf-8", "utf8", "us-ascii"}:
        raise Problem(415, "unsupported_charset", "JSON is UTF-8.")


class StrictJSONParser(BaseParser):
    """Django REST framework's way to `strict_json.loads`. Views of `ApiView` reach it without the detour."""

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        """The data of the body. Raises `Problem` (400, 413, 415)."""
        context = parser_context or {}
        check_content_type(media_type or "")
        limit = getattr(context.get("view"), "max_body_bytes", DEFAULT_LIMIT)
        request = getattr(context.get("request"), "_request", None)
        body = read_body(request, limit) if request is not None else _within(stream.read(limit + 1), limit)
        return strict_json.loads(body)
