"""How answers become bytes: JSON by orjson."""

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import BaseRenderer

from jobplatform.api.encoding import dumps
from jobplatform.api.problems import CONTENT_TYPE as PROBLEM_TYPE


class JSONRenderer(BaseRenderer):
    """application/json by orjson."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None
    ) -> bytes:
        """The bytes of an answer; an answer without data has no body."""
        return b"" if data is None else dumps(data)


class ProblemRenderer(JSONRenderer):
    """application/problem+json by orjson."""

    media_type = PROBLEM_TYPE
    format = "problem"
