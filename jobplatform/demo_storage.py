"""The demo's object storage: a directory whose writes fail when a message asks for it. Not for anything else."""

from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage

FAILS_TWICE = "fa110002"
FAILS_ALWAYS = "fa11ffff"


class FaultyStorage(FileSystemStorage):
    """Writes of messages whose id starts with `fa110002` fail twice, with `fa11ffff` always."""

    def __init__(self, location: str) -> None:
        super().__init__(location=location)
        self._counts = Path(location).parent / "demo-faults"

    def _save(self, name: str, content: Any) -> str:
        message_id = Path(name).name
        if message_id.startswith(FAILS_ALWAYS):
            message = "The storage does not answer (the demo's fault)."
            raise ConnectionError(message)
        if message_id.startswith(FAILS_TWICE) and self._tries(message_id) <= 2:  # noqa: PLR2004 - as its name says
            message = "The storage answers 503 (the demo's fault)."
            raise ConnectionError(message)
        saved: str = super()._save(name, content)  # type: ignore[misc]
        return saved

    def _tries(self, message_id: str) -> int:
        self._counts.mkdir(parents=True, exist_ok=True)
        count = self._counts / message_id
        tries = int(count.read_text()) + 1 if count.exists() else 1
        count.write_text(str(tries))
        return tries
