"""The virtual environment of the peers: made when it is needed, from requirements/bench.txt, by hash."""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv-bench"
LOCK = ROOT / "requirements" / "bench.txt"
PYTHON = PLACE / "bin" / "python"


class InstallFailed(Exception):
    """The packages of the peers could not be installed; the message has the end of the installer's output."""


def ensure() -> Path:
    """Return the interpreter of an environment that holds exactly what the lock file names.

    Raises `InstallFailed` when the packages cannot be installed.
    """
    stamp = PLACE / "installed.sha256"
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return PYTHON
    print(f"Installing the peers into {PLACE.name} (once) ...", flush=True)
    pip = [PYTHON, "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
    for command in ([sys.executable, "-m", "venv", "--clear", PLACE], [*pip, "-r", LOCK]):
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if done.returncode:
            message = f"The peers could not be installed:\n{(done.stdout + done.stderr)[-3000:]}"
            raise InstallFailed(message)
    stamp.write_text(wanted)
    return PYTHON
