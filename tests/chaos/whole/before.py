"""The version of the platform before the last migration, to be run beside this one.

It is kept here as an archive, so that an upgrade can be tried in any clone, a shallow one too. To keep a later one:

    python -m tests.chaos.whole.before COMMIT NAME
"""

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

from jobplatform.children import ROOT

VERSIONS = Path(__file__).parent / "versions"
SOURCES = ("jobplatform", "jobs", "events", "projects", "ingestion", "egress", "manage.py", "Procfile")
NEEDED = ("tests/effects.py", "tests/handlers/chaotic.py")  # handlers of a run, which any version understands


def archive() -> Path:
    """The one archive that there is."""
    (found,) = VERSIONS.glob("*.tar.xz")
    return found


def unpack(into: Path) -> Path:
    """Lay the older version out in a directory, with the handlers of chaos runs; returns its tree."""
    with tarfile.open(archive()) as packed:
        if hasattr(tarfile, "data_filter"):
            packed.extractall(into, filter="data")
        else:  # the first releases of Python 3.11 know no filters; the archive is our own
            packed.extractall(into)  # noqa: S202 - see above
    tree = into / "tree"
    for name in NEEDED:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, tree / name)
    return tree


def keep(commit: str, name: str) -> Path:
    """Replace the archive by one of a commit of this repository."""
    short = _git("rev-parse", "--short=7", commit).decode().strip()
    there = set(_git("ls-tree", "--name-only", commit).decode().split())
    plain = VERSIONS / f"{name}-{short}.tar"
    plain.write_bytes(_git("archive", "--prefix=tree/", commit, *(source for source in SOURCES if source in there)))
    for old in VERSIONS.glob("*.tar.xz"):
        old.unlink()
    subprocess.run(["xz", "-9e", str(plain)], check=True)
    return archive()


def _git(*command: str) -> bytes:
    return subprocess.run(["git", *command], cwd=ROOT, check=True, capture_output=True).stdout


if __name__ == "__main__":
    print(keep(*sys.argv[1:3]))
