"""`run.json`: what runs in a data directory and where to reach it, for people and programs that did not start it."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from jobplatform import private

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
    rpc_url: str | None = None  # of the chain: as RPC_URL says, or the development chain; None: there is none
    pids: dict[str, int] = field(default_factory=dict)


def write(data_dir: Path, info: RunInfo) -> None:
    """Write `run.json` whole or not at all, readable by its owner only."""
    private.write(data_dir / RUN_FILE, json.dumps(asdict(info), indent=2) + "\n")


def read(data_dir: Path) -> RunInfo:
    """Return what runs in a data directory. Raises FileNotFoundError when nothing is ready there."""
    return RunInfo(**json.loads((data_dir / RUN_FILE).read_text()))


def remove(data_dir: Path) -> None:
    """Forget what ran."""
    (data_dir / RUN_FILE).unlink(missing_ok=True)
