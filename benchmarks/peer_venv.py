"""The virtual environment of the peers: made when it is needed, from requirements/bench.txt, by hash."""

import hashlib
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / ".venv-bench"
LOCK = ROOT / "requirements" / "bench.txt"
PYTHON = PLACE / "bin" / "python"


def ensure() -> Path:
    """Return the interpreter of an environment that holds exactly what the lock file names.

    Raises `subprocess.CalledProcessError` when the packages cannot be installed.
    """
    stamp = PLACE / "installed.sha256"
    wanted = hashlib.sha256(LOCK.read_bytes() + sys.version.encode()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return PYTHON
    print(f"Installing the peers into {PLACE.name} (once) ...", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", PLACE], check=True)
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--require-hashes", "--no-deps"]
    subprocess.run([*pip, "-r", LOCK], check=True)
    stamp.write_text(wanted)
    return PYTHON
