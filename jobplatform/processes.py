"""Child processes that leave nothing behind: how they are started, found again and ended.

Every child leads a session (and so a process group) of its own, gets a signal from the kernel when its parent ends,
and carries `STACK_MARK` in its environment, so that even what its own children started is found by `marked`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO

import psutil

LAUNCHER = Path(__file__).with_name("launch.py")
STACK_MARK = "JOBPLATFORM_STACK"  # environment variable: the data directory that a process belongs to
PRIVATE_UMASK = 0o077


def spawn(  # one place decides how every child starts, so it takes all that can differ
    command: Sequence[str | Path],
    *,
    env: Mapping[str, str],
    cwd: Path,
    output: int | IO[bytes],
    errors: int | IO[bytes] = subprocess.STDOUT,
    user: str | None = None,
    death_signal: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start `command` as a child that gets `death_signal` when the calling thread ends, however it ends.

    Call it from a thread that lives as long as the child should (the kernel watches the thread, not the process).
    `user` names the account to run as when the caller is root. Standard error joins `output` unless `errors` is given.
    """
    launcher = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), death_signal.name, user or "-"]
    return subprocess.Popen(  # a fixed list, no shell
        [*launcher, *map(str, command)],
        env=dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=errors,
        start_new_session=True,
        umask=PRIVATE_UMASK,
    )


def wait_until(condition: Callable[[], bool], *, seconds: float, every: float = 0.02) -> bool:
    """Poll `condition` until it holds or `seconds` have passed; says whether it came to hold."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(every)
    return True


def signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Send a signal to everything in the process group of a child; nothing left of it is fine."""
    try:
        os.killpg(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return


def end(processes: Iterable[psutil.Process], *, grace: float) -> None:
    """End processes that are not our children: SIGTERM, `grace` seconds, then SIGKILL; waits until they are gone."""
    found = list(processes)
    for process in found if grace else []:
        _send(process, signal.SIGTERM)
    _, stubborn = psutil.wait_procs(found, timeout=grace)
    for process in stubborn:
        _send(process, signal.SIGKILL)
    psutil.wait_procs(stubborn, timeout=5)


def _send(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.Error:
        return


def working_in(directory: Path, program: str) -> list[psutil.Process]:
    """Processes of `program` whose working directory is `directory`: servers of that data, whoever started them."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == program and process.cwd() == str(directory):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def marked(data_dir: Path) -> list[psutil.Process]:
    """Processes that carry the mark of `data_dir`, without the caller: also grandchildren in sessions of their own."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get(STACK_MARK) == str(data_dir):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found
