"""The processes of the platform, started for real by a test: servers, workers, relays; killed by signal, waited for.

    with Platform(servers.cluster, servers.broker_url, directory) as platform:
        platform.relay()
        worker = platform.worker()
        ids = platform.submit("test.done", 10)
        worker.kill_child()
        platform.wait_ended(ids)

Nothing here sleeps in order to wait: `wait_until` polls a named condition, with a deadline.
"""

import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit, urlunsplit
from uuid import UUID

import psutil
import psycopg
import redis
from django.core.management import call_command
from django.test import override_settings
from psycopg.rows import dict_row

from jobplatform import processes
from jobplatform.children import procfile
from jobplatform.embedded import Embedded
from jobplatform.servers import SUPERUSER, Postgres, Redis
from jobs import registry, services
from jobs.registry import Kind
from jobs.services import JobRequest
from tests.databases import Cluster, django_on
from tests.effects import ADDRESS, Effects

ROOT = Path(__file__).resolve().parents[1]
HANDLERS = ("tests.handlers.good", "tests.handlers.bad")
PROJECT = UUID(int=7)
ENDED = ("processed", "confirmed", "failed", "rejected", "cancelled")
SECRET_KEY = "k" * 50
GENEROUS = 60.0  # seconds; a deadline, not a wait: the machine may be busy with other things

_numbers = itertools.count(1)


class Servers:
    """PostgreSQL and Redis for tests of processes: of our own, so that they may be killed."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="jp-")).resolve()
        self.directory.chmod(0o711)
        self.embedded = Embedded(self.directory, durable=False)

    def __enter__(self) -> Self:
        self.embedded.start()
        self.cluster = Cluster(self.embedded.database_url)
        self.broker_url = self.embedded.broker_url
        return self

    def __exit__(self, *_: object) -> None:
        self.embedded.destroy()
        shutil.rmtree(self.directory, ignore_errors=True)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Kill `postgres` or `redis` and return when it is gone. SIGQUIT is an immediate stop of PostgreSQL."""
        process = psutil.Process(self.embedded.pids[name])
        family = [process, *process.children(recursive=True)]
        process.send_signal(number)
        psutil.wait_procs(family, timeout=GENEROUS)
        assert processes.wait_until(lambda: name not in self.embedded.pids, seconds=GENEROUS)

    def revive(self) -> None:
        """Start again what was killed, on what is left of its data, and return when it answers."""
        self.embedded.revive()
        for server in self.embedded.servers:
            server.wait_ready()

    @property
    def postgres(self) -> Postgres:
        """PostgreSQL."""
        return next(server for server in self.embedded.servers if isinstance(server, Postgres))

    @property
    def redis(self) -> Redis:
        """Redis."""
        return next(server for server in self.embedded.servers if isinstance(server, Redis))

    @property
    def redis_data(self) -> Path:
        """Where Redis keeps its file."""
        return self.redis.directory

    def configure(self, statement: str) -> None:
        """Run a statement as the superuser, and let PostgreSQL read its configuration again."""
        url = self.postgres._url(SUPERUSER, self.postgres.place.superuser_password, "postgres")
        with psycopg.connect(url, autocommit=True) as link:
            link.execute(statement.encode())
            link.execute("select pg_reload_conf()")


class Program:
    """One process of the platform."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log_path = log
        self.usual = False
        with log.open("ab") as output:
            self.process = processes.spawn(
                [sys.executable, *command], env=env, cwd=ROOT, output=output, death_signal=signal.SIGKILL
            )
        self.pid = self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_path.read_text(errors="replace")

    def children(self) -> list[int]:
        """Process ids of its living children, oldest first."""
        try:
            found = psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []
        return [child.pid for child in found if child.status() != psutil.STATUS_ZOMBIE]

    def kill(self) -> None:
        """Kill it and its children at once, as when its host dies."""
        for pid in (self.pid, *self.children()):
            send(pid, signal.SIGSTOP)  # so that nobody sees another one die
        for pid in (*self.children(), self.pid):
            send(pid, signal.SIGKILL)
        self.process.wait(GENEROUS)

    def kill_parent(self) -> None:
        """Kill the parent alone; its children find themselves orphans."""
        send(self.pid, signal.SIGKILL)
        self.process.wait(GENEROUS)

    def stop(self, number: signal.Signals = signal.SIGTERM, *, seconds: float = GENEROUS) -> int:
        """Ask it to end, and return its exit code."""
        send(self.pid, number)
        return self.process.wait(seconds)


class Platform:
    """Workers and relays on a database of their own. Django of this process leads to that database too.

    `database_url` and `broker_url` are what the processes get: tests may put a proxy between. `rows` goes directly.
    """

    def __init__(
        self,
        cluster: Cluster,
        broker_url: str,
        *,
        handlers: Sequence[str] = HANDLERS,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self._cluster = cluster
        self._handlers = handlers
        self._env = dict(env or {})
        self._stack = contextlib.ExitStack()
        self.broker_url = broker_url
        self.database_url = ""
        self.programs: list[Program] = []

    def __enter__(self) -> Self:
        with self._stack as stack:
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jp-"))).resolve()
            self.database_url = self._cluster.make()
            stack.callback(self._cluster.drop, self.database_url)
            self._link: psycopg.Connection[dict[str, Any]]
            self._connect()
            stack.callback(self._hang_up)
            stack.enter_context(django_on(self.database_url))
            stack.enter_context(known(self._handlers))
            stack.callback(self._end_everything)
            self.effects = self._record_effects()
            self._empty_broker()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # -- processes

    def worker(
        self,
        queues: str = "default,events",
        *,
        concurrency: int = 2,
        env: Mapping[str, str] | None = None,
        handlers: Sequence[str] | None = None,
        beside: bool = False,
        doomed: bool = False,
    ) -> Program:
        """Start a worker and return when its children have announced themselves.

        Others are ended first, by kill -9, unless it is to run `beside` them. One that is `doomed` may have died.
        """
        if not beside:
            for other in self._alive("w"):
                other.kill()
        name = f"w{next(_numbers)}"
        command = ["-m", "celery", "-A", "jobplatform", "-q", "worker", "-Q", queues, "-c", str(concurrency), "-E"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO"]
        worker = self._start(name, [*command, "-n", f"{name}@%h"], env, handlers)
        worker.usual = (queues, concurrency, env, handlers) == ("default,events", 2, None, None)
        self.wait_until(lambda: len(self.live_children(worker)) == concurrency or not worker.alive, "a worker")
        assert worker.alive or doomed, self.story()
        return worker

    def some_worker(self) -> Program:
        """A worker with two children and the usual handlers: one that runs, or a new one."""
        return next((worker for worker in self._alive("w") if worker.usual), None) or self.worker()

    def relay(self, *, env: Mapping[str, str] | None = None) -> Program:
        """Start a relay and return when it works."""
        relay = self._start(f"relay{next(_numbers)}", ["manage.py", "relay"], env, None)
        self.wait_until(lambda: "rings for what is due" in relay.log or not relay.alive, "a relay")
        return relay

    def beat(self, *, env: Mapping[str, str] | None = None) -> Program:
        """Start a beat and return when it begins."""
        command = ["-m", "celery", "-A", "jobplatform", "beat", "--loglevel", "INFO"]
        beat = self._start(f"beat{next(_numbers)}", command, env, None)
        self.wait_until(lambda: "beat: Starting" in beat.log or not beat.alive, "a beat")
        return beat

    def some_relay(self) -> Program:
        """A relay: one that runs, or a new one."""
        return next(iter(self._alive("relay")), None) or self.relay()

    def web(self, port: int) -> Program:
        """Start a web server as it ships. Returns before it answers."""
        return self._serve("web", "http", port, None)

    def live(self, port: int, *, env: Mapping[str, str] | None = None) -> Program:
        """Start the process of the streams as it ships. Returns before it answers."""
        return self._serve("live", "live", port, env)

    def _serve(self, process: str, name: str, port: int, env: Mapping[str, str] | None) -> Program:
        ports = {"PORT": str(port), "LIVE_PORT": str(port), "FLOWER_PORT": ""}
        _, *options = procfile(ports)[process]
        return self._start(name, options, env, None)

    def _alive(self, prefix: str) -> list[Program]:
        return [p for p in self.programs if p.name.rstrip("0123456789") == prefix and p.alive]

    def driver(self, *, env: Mapping[str, str] | None = None) -> "Driver":
        """Start a worker process without Celery, to be driven call by call (tests/driver.py)."""
        return Driver(self, self._environment("driver", env, None))

    def live_children(self, worker: Program) -> list[int]:
        """Process ids of a worker's children that have announced themselves and not left."""
        announced = "select pid from jobs_worker where parent_pid = %s and stopped_at is null order by pid"
        found = self.rows(announced, worker.pid)
        return [row["pid"] for row in found if psutil.pid_exists(row["pid"])]

    # -- jobs

    @staticmethod
    def provision() -> tuple[str, UUID]:
        """Make the demo project. Returns a key of it with all scopes, and its id."""
        out = io.StringIO()
        with override_settings(API_KEY_PEPPER=SECRET_KEY):  # as the processes have it
            call_command("provision_demo", stdout=out)
        made = json.loads(out.getvalue())
        return str(made["api_key"]), UUID(made["project_id"])

    def submit(
        self, kind: str, number: int = 1, payload: Mapping[str, Any] | Callable[[int], Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> list[UUID]:  # fmt: skip
        """Create jobs through the engine's own service, 500 in a transaction, and return their ids."""
        made: list[UUID] = []
        for start in range(0, number, 500):
            requests = [
                JobRequest(kind=kind, payload=payload(n) if callable(payload) else payload or {"n": n}, **options)
                for n in range(start, min(start + 500, number))
            ]
            made += [job.id for job in services.submit_many(project_id=PROJECT, requests=requests)]
        return made

    def rows(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        """Ask the database, directly."""
        return self._ask(query, parameters).fetchall()

    def execute(self, statement: str, *parameters: Any) -> int:
        """Change the database, directly. Returns how many rows."""
        return self._ask(statement, parameters).rowcount

    def _ask(self, query: str, parameters: tuple[Any, ...]) -> psycopg.Cursor[dict[str, Any]]:
        if not self._link.closed:
            try:
                return self._link.execute(query.encode(), parameters)
            except psycopg.OperationalError:  # the test has killed the server since the last question
                if not self._link.closed:
                    raise
        self._connect()
        return self._link.execute(query.encode(), parameters)

    def _connect(self) -> None:
        self._link = psycopg.connect(self.database_url, autocommit=True, row_factory=dict_row)

    def _hang_up(self) -> None:
        self._link.close()  # whichever it is by then

    def value(self, query: str, *parameters: Any) -> Any:
        """The one value that a query yields."""
        return next(iter(self.rows(query, *parameters)[0].values()))

    def job(self, job_id: UUID) -> dict[str, Any]:
        """The row of one job."""
        return self.rows("select * from jobs_job where id = %s", job_id)[0]

    def attempts(self, job_id: UUID) -> list[dict[str, Any]]:
        """The finished attempts at one job, oldest first."""
        return self.rows("select * from jobs_attempt where job_id = %s order by claim_no", job_id)

    def events(self, job_id: UUID) -> list[str]:
        """The types of a job's events, oldest first."""
        return [
            row["type"] for row in self.rows("select type from events_event where subject_id = %s order by seq", job_id)
        ]

    def by_status(self, ids: Sequence[UUID]) -> dict[str, int]:
        """How many of these jobs stand where."""
        found = self.rows("select status, count(*) from jobs_job where id = any(%s) group by status", list(ids))
        return {row["status"]: row["count"] for row in found}

    # -- waiting

    def wait_until(self, condition: Callable[[], Any], what: str, *, seconds: float = GENEROUS) -> None:
        """Poll until `condition` holds. Raises AssertionError, with the processes' logs, when it does not in time."""
        if not processes.wait_until(lambda: bool(condition()), seconds=seconds):
            message = f"Waited {seconds:g} s in vain for {what}."
            raise AssertionError(message)

    def wait_ended(self, ids: Sequence[UUID], *, seconds: float = GENEROUS) -> None:
        """Wait until each of these jobs has ended, or stands blocked."""
        unended = "select count(*) from jobs_job where id = any(%s) and status <> all(%s)"
        if not processes.wait_until(lambda: self.value(unended, list(ids), [*ENDED, "blocked"]) == 0, seconds=seconds):
            message = f"After {seconds:g} s: {self.by_status(ids)}"
            raise AssertionError(message)

    # -- what happened

    def story(self) -> str:
        """The end of every process's log, for a test that failed."""
        parts = [f"--- {p.name} (pid {p.pid}, exit {p.process.poll()})\n{p.log[-9000:]}" for p in self.programs]
        with contextlib.suppress(psycopg.Error):
            parts.append(f"--- doorbells\n{self.rows('select * from jobs_doorbell')}")
            parts.append(f"--- workers\n{self.rows('select * from jobs_worker')}")
            parts.append(f"--- shelves\n{self.rows('select * from jobs_shelf')}")
            parts.append(
                f"--- jobs\n{self.rows('select kind, status, claimed_by, count(*) from jobs_job group by 1, 2, 3')}"
            )
        return "\n".join(parts)

    # -- inside

    def _start(
        self, name: str, command: Sequence[str], env: Mapping[str, str] | None, handlers: Sequence[str] | None
    ) -> Program:
        program = Program(name, command, self._environment(name, env, handlers), self.directory / f"{name}.log")
        self.programs.append(program)
        return program

    def _environment(self, name: str, env: Mapping[str, str] | None, handlers: Sequence[str] | None) -> dict[str, str]:
        full = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "DJANGO_SETTINGS_MODULE": "jobplatform.settings",
            "JOBPLATFORM_PROFILE": "test",
            "SECRET_KEY": SECRET_KEY,
            "DATABASE_URL": self.database_url,
            "BROKER_URL": self.broker_url,
            "STORAGE_URL": f"file://{self.directory}/storage",
            "LOG_FORMAT": "console",
            "CANARY_SECONDS": "0",  # tests count jobs and events; those of canaries ask for them
            "JOBPLATFORM_PROCESS": name,
            "JOBPLATFORM_HANDLERS": ",".join(self._handlers if handlers is None else handlers),
            ADDRESS: self._effects_address,
            processes.STACK_MARK: str(self.directory),
        }
        return full | self._env | dict(env or {})

    def _record_effects(self) -> Effects:
        self._effects_address = str(self.directory / "effects.sock")
        file = self.directory / "effects.jsonl"
        file.touch()
        self._start("effects", ["-m", "tests.effects", self._effects_address, str(file)], None, None)
        assert processes.wait_until(Path(self._effects_address).exists, seconds=GENEROUS)
        return Effects(self._effects_address, file)

    def _empty_broker(self) -> None:
        with contextlib.suppress(NoRedis), broker(self.broker_url) as client:
            client.flushdb()

    def _end_everything(self) -> None:
        """End what was started here and all that it started; frozen ones too."""
        for _ in range(2):  # a parent may start a child while we look
            found = processes.marked(self.directory)
            for process in found:
                send(process.pid, signal.SIGKILL)
            psutil.wait_procs(found, timeout=GENEROUS)
        for program in self.programs:
            program.process.wait(GENEROUS)


class Driver:
    """A process of tests/driver.py: one call at a time, each answered."""

    def __init__(self, platform: Platform, env: Mapping[str, str]) -> None:
        self._log = (platform.directory / "driver.log").open("ab")
        platform._stack.callback(self._log.close)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.driver"], cwd=ROOT, env=dict(env),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True,
        )  # fmt: skip
        platform._stack.callback(self.stop)
        self.pid = self._answer()["ok"]

    def call(self, *message: Any) -> dict[str, Any]:
        """Make a call and return `{"ok": result}` or `{"error": class, "text": message}`."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"The driver has ended, see {self._log.name}: {Path(self._log.name).read_text()[-2000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class NoRedis(Exception):
    """The broker is another one."""


def broker(url: str) -> "redis.Redis":
    """A client of the broker, as somebody who may write to it."""
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        number = int(parse_qs(parts.query).get("virtual_host", ["0"])[0])
        return redis.Redis(unix_socket_path=parts.path, db=number)
    if parts.scheme in {"redis", "rediss"}:
        return redis.Redis.from_url(url)
    raise NoRedis(url)


def numbered(url: str, number: int) -> str:
    """The same broker, another of its databases."""
    parts = urlsplit(url)
    if parts.scheme == "redis+socket":
        return urlunsplit(parts._replace(query=f"virtual_host={number}"))
    if parts.scheme in {"redis", "rediss"}:
        return urlunsplit(parts._replace(path=f"/{number}"))
    return url


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal; a process that has gone is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextlib.contextmanager
def known(modules: Iterable[str]) -> Iterator[None]:
    """Let this process know the kinds of handler modules, so that it can submit them; it forgets them afterwards."""
    import importlib

    before = dict(registry._kinds)
    kinds: list[Kind[Any]] = []
    for name in modules:
        module = importlib.import_module(name)
        kinds += [thing for thing in vars(module).values() if isinstance(thing, Kind)]
    registry._kinds.update({kind.name: kind for kind in kinds})
    try:
        yield
    finally:
        registry._kinds.clear()
        registry._kinds.update({name: kind for name, kind in before.items() if kind not in kinds})


def new_id() -> UUID:
    """An id of nobody."""
    return uuid.uuid4()
