"""Object storage that breaks in a way of its own, chosen by `STORAGE_URL=class:tests.acceptance.ingestion.storages.…`.

The worker processes of these tests load it; nothing of the product knows it.
"""

import os
import signal
from pathlib import Path
from typing import Any

from django.core.files.storage import FileSystemStorage


class Deadly(FileSystemStorage):
    """Kills the process that uses it, behind the write of an object whose name starts with `dead`."""

    def _save(self, name: str, content: Any) -> str:
        saved: str = super()._save(name, content)  # type: ignore[misc] # Django's stubs leave it out
        if Path(name).name.startswith("dead"):
            os.kill(os.getpid(), signal.SIGKILL)
        return saved


class Flaky(FileSystemStorage):
    """Refuses to write as often as a message's id says: `f1a2…` fails twice, `f1af…` always."""

    def _save(self, name: str, content: Any) -> str:
        file = Path(name).name
        if file.startswith("f1a"):
            counts = Path(self.location).with_suffix(".counts")
            counts.mkdir(exist_ok=True)
            tries = counts / file
            tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
            if len(tries.read_text()) <= int(file[3], 16):
                message = "The storage is not in the mood."
                raise ConnectionError(message)
        saved: str = super()._save(name, content)  # type: ignore[misc] # Django's stubs leave it out
        return saved
