"""The Python processes of the platform as the Procfile names them: started, watched, started again, stopped."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from string import Template

from jobplatform import private, processes

ROOT = Path(__file__).resolve().parent.parent
PROCFILE = "Procfile"
SETTLED_SECONDS = 5.0  # a child that lived that long is not in a crash loop
RESTART_DELAYS = (0.0, 0.25, 0.5, 1.0, 1.5)  # seconds before a start, by the number of quick deaths before it
LOG_LIMIT = 10 * 1024 * 1024  # bytes
LONGEST_READ = 1024 * 1024  # bytes


def procfile(names: Mapping[str, str], tree: Path = ROOT) -> dict[str, list[str]]:
    """Return the command of each process by its name; `$NAME` stands for an entry of `names`.

    Programs are those of the virtual environment that runs this code. `tree`: a checkout, perhaps of an older version
    that has no application for `live`, which is left out then.
    """
    commands = {}
    for line in (tree / PROCFILE).read_text().splitlines():
        name, found, text = line.partition(": ")
        if not found or name.startswith("#"):
            continue
        program, *arguments = shlex.split(Template(text).substitute(names))
        if "jobplatform.asgi:application" in arguments and not (tree / "jobplatform" / "asgi.py").exists():
            continue
        python = Path(sys.executable)
        commands[name] = [str(python if program == "python" else python.with_name(program)), *arguments]
    return commands


class Child:
    """One process of the Procfile. Its output goes to `logs/<name>.log`, so no reader can hold it up."""

    def __init__(self, name: str, command: list[str], *, env: Mapping[str, str], logs: Path, tree: Path = ROOT) -> None:
        self.name = name
        self.tree = tree
        self.command = command
        self.env = {**env, "JOBPLATFORM_PROCESS": name, "PYTHONUNBUFFERED": "1"}
        self.log = Log(logs / f"{name}.log")
        self.process: subprocess.Popen[bytes] | None = None
        self.quick_deaths = 0
        self._started_at = 0.0
        self._due_at = 0.0

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self.process.pid if self.process and self.alive else None

    def start(self) -> None:
        """Start it in the calling thread, which must live as long as the child."""
        with os.fdopen(private.append(self.log.path), "ab") as output:
            self.process = processes.spawn(self.command, env=self.env, cwd=self.tree, output=output.fileno())
        self._started_at = time.monotonic()

    def revive(self) -> bool:
        """Start it again if it has died and its delay is over; says whether it did. Ends what it left behind first."""
        now = time.monotonic()
        if self.process is not None:
            if self.alive:
                return False
            processes.signal_group(self.process, signal.SIGKILL)
            self.process = None
            self.quick_deaths = self.quick_deaths + 1 if now - self._started_at < SETTLED_SECONDS else 0
            self._due_at = now + RESTART_DELAYS[min(self.quick_deaths, len(RESTART_DELAYS) - 1)]
        if now < self._due_at:
            return False
        self.start()
        return True


def stop(children: Iterable[Child], *, grace: float) -> None:
    """Ask children to end, all at once; after `grace` seconds what is left of them and their groups is killed."""
    running = [(child, child.process) for child in children if child.process]
    for _, process in running:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    for child, process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        processes.signal_group(process, signal.SIGKILL)
        child.process = None


class Log:
    """A log file that others write to, followed line by line and kept below twice LOG_LIMIT."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch(mode=0o600)
        self._position = path.stat().st_size
        self._begin = self._position

    def new_lines(self) -> list[str]:
        """Return the whole lines that were written since the last call, up to LONGEST_READ bytes of them.

        A line that is longer is taken in parts: whoever writes without an end must not be read again and again.
        """
        size = self.path.stat().st_size
        if size <= self._position:
            return []
        with self.path.open("rb") as file:
            file.seek(self._position)
            read = file.read(LONGEST_READ)
        text, end, rest = read.rpartition(b"\n")
        if not end and len(read) == LONGEST_READ:
            text, end, rest = read, read, b""
        self._position += len(read) - len(rest)
        # What is not read yet is worth a longer file, but not one without a limit.
        if LOG_LIMIT < self._position >= size or size > 2 * LOG_LIMIT:
            shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
            os.truncate(self.path, 0)  # its writers append, so they go on at the new end
            self._position = self._begin = 0
        return text.decode(errors="replace").splitlines() if end else []

    def tail(self, lines: int = 12) -> str:
        """Return the last lines of what was written since this object exists."""
        with self.path.open("rb") as file:
            file.seek(self._begin)
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
