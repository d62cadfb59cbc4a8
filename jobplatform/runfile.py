"""`run.json`: what runs in a data directory and where to reach it, for people and programs that did not start it."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

RUN_FILE = "run.json"


@dataclass(frozen=True)
class RunInfo:
    """Addresses, credentials and process ids of a running platform. `base_url` has no path."""

    base_url: str
    docs_url: str
    admin_url: str
    flower_url: str  # asks for admin_user and admin_password as well
    live_url: str  # of streams
    api_key: str
    admin_user: str
    admin_password: str
    database_url: str
    broker_url: str
    rpc_url: str | None = None  # the development chain
    pids: dict[str, int] = field(default_factory=dict)


def write(data_dir: Path, info: RunInfo) -> None:
    """Write `run.json` whole or not at all, readable by its owner only."""
    write_private(data_dir / RUN_FILE, json.dumps(asdict(info), indent=2) + "\n")


def read(data_dir: Path) -> RunInfo:
    """Return what runs in a data directory. Raises FileNotFoundError when nothing is ready there."""
    return RunInfo(**json.loads((data_dir / RUN_FILE).read_text()))


def remove(data_dir: Path) -> None:
    """Forget what ran."""
    (data_dir / RUN_FILE).unlink(missing_ok=True)


def write_private(path: Path, text: str) -> None:
    """Replace a file by one of mode 0600, so that a reader sees the old text or the new one, also after a power cut."""
    draft = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
