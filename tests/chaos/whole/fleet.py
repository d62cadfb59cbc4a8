"""The whole platform in a directory of its own, on free ports: started, broken on purpose, started again, ended.

    with Fleet(directory) as fleet:
        fleet.faults.append(...)
        fleet.tend()

What dies is started again, as a supervisor would, unless it is held down. The thread that makes a fleet owns all its
processes: they end with it, however it ends.
"""

import contextlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg
from psycopg.rows import dict_row

from jobplatform import processes
from jobplatform.children import ROOT, Child, procfile, stop
from jobplatform.embedded import Embedded
from jobplatform.servers import Server
from tests.chaos.whole.history import EFFECTS
from tests.effects import ADDRESS
from tests.wire import Wire

HANDLERS = ("tests.handlers.chaotic", "tests.handlers.chaotic_limits")
TWICE = ("relay", "worker")
LEFT_OUT = ("flower", "signing", "capture")  # nobody looks, and nothing goes on a chain
ASGI = "jobplatform.asgi:application"  # an earlier version names it in its Procfile, and has none
WIRED = ("web", "worker2", "relay2")  # whose connections to PostgreSQL go through a proxy that cuts them
GENEROUS = 120.0
GRACE = 15.0
TABLES = (
    "create table effect (number bigserial, job_id uuid not null, attempt int not null, what text not null)",
    "create table seen (number bigserial, position bigint, event_id bigint, subject_id uuid, seq int)",
    "grant insert on effect, seen to public",
    "grant usage on all sequences in schema public to public",
)


class Fleet:
    """The processes. `tree`: the checkout that they run, this one or an older one; `directory`: where all data is."""

    def __init__(self, directory: Path, *, tree: Path = ROOT, handlers: Sequence[str] = HANDLERS) -> None:
        self.directory = directory.resolve()
        self.tree = tree
        self.handlers = handlers
        self.embedded = Embedded(self.directory)
        self.members: dict[str, Child] = {}
        self.held: dict[str, float] = {}  # servers that stay down until then
        self.since = 0
        self.base_url = ""
        self.api_key = ""
        self.project_id = ""
        self._stack = contextlib.ExitStack()
        self._link: psycopg.Connection[dict[str, Any]] | None = None

    # -- life

    def __enter__(self) -> Self:
        with self._stack as stack:
            stack.callback(self.embedded.stop)
            self.logs = self.directory / "logs"
            self.logs.mkdir(parents=True, exist_ok=True)
            self.sockets = Path(tempfile.mkdtemp(prefix="jp-")).resolve()  # the path of a socket is short
            stack.callback(shutil.rmtree, self.sockets, ignore_errors=True)
            self.embedded.start()
            self.wire = stack.enter_context(Wire(self.embedded.app_database_url, self.sockets))
            stack.callback(self._end)
            self.env = self._environment()
            self.upgrade(self.tree)
            self._record_effects()
            for name in self.names():
                self.start(name)
            self._provision()
            self.wait_until(self._ready, "the platform")
            found = self.rows("select position from events_consumer where name = 'chaos_reader'")
            self.since = found[0]["position"]
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def destroy(self) -> None:
        """Delete everything; it has ended before."""
        self.embedded.destroy()
        shutil.rmtree(self.directory, ignore_errors=True)

    def names(self, tree: Path | None = None) -> list[str]:
        """Names of the processes: those of a tree's Procfile, some of them twice."""
        tree = tree or self.tree
        known = [
            name
            for name, command in procfile(self._ports(), tree).items()
            if name not in LEFT_OUT and (ASGI not in command or (tree / "jobplatform" / "asgi.py").exists())
        ]
        return [*known, *(f"{name}2" for name in known if name in TWICE)]

    def start(self, name: str) -> None:
        """Start one process of the tree that the fleet has now."""
        usual = name.removesuffix("2")
        command = [part.replace(f"{usual}@%h", f"{name}@%h") for part in procfile(self._ports(), self.tree)[usual]]
        env = self.env | ({"DATABASE_URL": self.wire.url} if name in WIRED else {})
        env |= {"PYTHONPATH": str(self.tree)}
        child = Child(name, command, env=env, logs=self.logs, tree=self.tree)
        child.env["JOBPLATFORM_PROCESS"] = usual  # by which the platform knows its relays
        self.members[name] = child
        child.start()

    def upgrade(self, tree: Path) -> None:
        """Bring the database up to date for a tree; processes that run go on as they are."""
        fresh = not self._exists("django_migrations")
        self.manage("setup_database", tree=tree)
        if fresh:
            for statement in TABLES:
                self.execute(statement)
        self.tree = tree

    def migration(self, tree: Path) -> subprocess.Popen[bytes]:
        """Begin `setup_database` of a tree, to be killed half way."""
        output = (self.logs / "migration.log").open("ab")
        with output:
            return processes.spawn(
                [sys.executable, "manage.py", "setup_database"],
                env=self._owner_env(tree), cwd=tree, output=output, death_signal=signal.SIGKILL,
            )  # fmt: skip

    def manage(self, *command: str, tree: Path | None = None) -> str:
        """Run a management command to its end, as the owner; returns what it printed."""
        tree = tree or self.tree
        done = subprocess.run(
            [sys.executable, "manage.py", *command],
            env=self._owner_env(tree), cwd=tree, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            message = f"manage.py {command[0]} failed:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
            raise RuntimeError(message)
        return done.stdout

    def tend(self) -> None:
        """Start again what has died, and is not held down."""
        now = time.monotonic()
        for server in self.embedded.servers:
            if not server.alive and now >= self.held.get(server.name, 0.0):
                server.launch()
        for child in self.members.values():
            child.revive()

    def wait_until(self, condition: Callable[[], Any], what: str, *, seconds: float = GENEROUS) -> None:
        """Tend, and poll until `condition` holds. Raises AssertionError when it does not in time."""

        def tended() -> bool:
            self.tend()
            return bool(condition())

        if not processes.wait_until(tended, seconds=seconds, every=0.1):
            message = f"Waited {seconds:g} s in vain for {what}; see {self.logs}."
            raise AssertionError(message)

    # -- looking

    def server(self, name: str) -> Server:
        """PostgreSQL or Redis."""
        return next(server for server in self.embedded.servers if server.name == name)

    def family(self, name: str) -> list[int]:
        """Process ids of a member: its own, then those of its children."""
        pid = self.members[name].pid
        if pid is None:
            return []
        with contextlib.suppress(psutil.NoSuchProcess):
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        return []

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Ask the database as its owner; waits while it is away."""
        return self._ask(query, parameters).fetchall()

    def execute(self, statement: str, *parameters: Any) -> None:
        """Change the database as its owner."""
        self._ask(statement, parameters)

    def _ask(self, query: str, parameters: Sequence[Any]) -> psycopg.Cursor[dict[str, Any]]:
        ends = time.monotonic() + GENEROUS
        while True:
            try:
                if self._link is None or self._link.closed:
                    self._link = psycopg.connect(self.embedded.database_url, autocommit=True, row_factory=dict_row)
                return self._link.execute(query.encode(), parameters)
            except psycopg.OperationalError:
                if time.monotonic() > ends:
                    raise
                self.tend()
                time.sleep(0.05)

    def _exists(self, table: str) -> bool:
        return bool(self.rows("select to_regclass(%s) as found", table)[0]["found"])

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.base_url}/healthz", timeout=5) as answer:  # noqa: S310 - our own address
                assert answer.status == 200
        except OSError:
            return False
        slots = self.rows("select count(*) as n from jobs_worker where stopped_at is null")[0]["n"]
        return slots >= 6 and bool(self.rows("select 1 from events_consumer where name = 'chaos_reader'"))

    # -- inside

    def _environment(self) -> dict[str, str]:
        mark, self._port, self._live_port = str(self.directory), str(_free_port()), str(_free_port())
        self.base_url = f"http://127.0.0.1:{self._port}"
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.environ.get("HOME", "/"),
            "DJANGO_SETTINGS_MODULE": "jobplatform.settings",
            "JOBPLATFORM_PROFILE": "development",
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "SECRET_KEY": secrets.token_urlsafe(48),
            "API_KEY_PEPPER": secrets.token_urlsafe(48),
            "DATABASE_URL": self.embedded.app_database_url,
            "BROKER_URL": self.embedded.broker_url,
            "STORAGE_URL": f"file://{self.directory}/storage",
            "LOG_FORMAT": "console",
            "JOBPLATFORM_HANDLERS": ",".join(self.handlers),
            ADDRESS: str(self.sockets / "effects.sock"),
            processes.STACK_MARK: mark,
        }

    def _owner_env(self, tree: Path) -> dict[str, str]:
        return self.env | {"MIGRATION_DATABASE_URL": self.embedded.database_url, "PYTHONPATH": str(tree)}

    def _ports(self) -> Mapping[str, str]:
        return {"PORT": self._port, "LIVE_PORT": self._live_port, "FLOWER_PORT": "0"}

    def _record_effects(self) -> None:
        file = self.directory / EFFECTS
        file.touch()
        address = self.env[ADDRESS]
        with (self.logs / "effects.log").open("ab") as output:
            self._recorder = processes.spawn(
                [sys.executable, "-m", "tests.effects", address, str(file)],
                env=self.env, cwd=ROOT, output=output, death_signal=signal.SIGKILL,
            )  # fmt: skip
        assert processes.wait_until(Path(address).exists, seconds=GENEROUS)

    def _provision(self) -> None:
        made = json.loads(self.manage("provision_demo"))
        self.api_key, self.project_id = made["api_key"], made["project_id"]

    def _end(self) -> None:
        for process in processes.marked(self.directory):
            with contextlib.suppress(psutil.Error):
                process.send_signal(signal.SIGCONT)
        stop(self.members.values(), grace=GRACE)
        processes.end(processes.marked(self.directory), grace=0)
        self._recorder.wait(GENEROUS)
        if self._link:
            self._link.close()


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that has gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _free_port() -> int:
    with socket.socket() as candidate:
        candidate.bind(("127.0.0.1", 0))
        port: int = candidate.getsockname()[1]
        return port
