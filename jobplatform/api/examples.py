"""Examples of bodies, shown and offered by the browsable API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Example:
    """A body that an address takes: its title, the body, and the JSON schema that it follows, if there is one."""

    title: str
    body: Any
    schema: Mapping[str, Any] | None = None
