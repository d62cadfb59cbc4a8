"""Embedded servers: PostgreSQL and Redis as child processes on private Unix sockets (chain_server.py has the third).

Neither listens on TCP. Both start again on the same data after a `kill -9` of anything: before each start, what an
earlier start left running on that data is ended and its lock files and sockets are removed. That is safe because the
caller holds the lock of the data directory.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar
from urllib.parse import quote

import psutil
import psycopg
from psycopg import sql

from jobplatform import private, processes
from jobplatform.places import POSTGRES_MAJOR, EmbeddedError, Place

OWNER = "jobplatform"  # the role that owns the schema, and the name of the database
APP = "jobplatform_app"  # the role that works on it; `manage.py setup_roles` makes it
SUPERUSER = "postgres"
PORT = 5432  # names the socket file only
READY_SECONDS = 300.0  # crash recovery may have gigabytes of write-ahead log to read
LOG_LIMIT = 10 * 1024 * 1024  # bytes; a larger log is set aside at the next start
GIB = 1024**3


class Server(ABC):
    """One child process that serves one data directory. Not thread-safe; start it where it should be able to live."""

    name: ClassVar[str]
    program: ClassVar[str]
    death_signal: ClassVar[signal.Signals]
    stop_steps: ClassVar[tuple[tuple[signal.Signals, float], ...]]  # signals in order, with seconds to obey

    def __init__(self, place: Place, *, durable: bool) -> None:
        self.place = place
        self.durable = durable
        self.directory = place.home / self.name
        self.log_path = place.logs / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    @property
    def alive(self) -> bool:
        """Whether the child runs (it may still be starting)."""
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int | None:
        """Process id of the running child."""
        return self.process.pid if self.process and self.alive else None

    def launch(self) -> None:
        """Start the child without waiting until it answers; ends leftovers of an earlier start first."""
        self.end_leftovers()
        self.prepare()
        self.process = self._spawn(self.command())

    def wait_ready(self) -> None:
        """Wait until the server answers. Raises EmbeddedError, with the end of its log, when it ends instead."""
        processes.wait_until(lambda: self.ready() or not self.alive, seconds=READY_SECONDS)
        if not self.ready():
            message = f"{self.name} did not start: {self._log_tail()} (whole log: {self.log_path})."
            raise EmbeddedError(message)

    def stop(self) -> None:
        """End the child in order, then by force; returns when nothing of it is left."""
        for number, seconds in self.stop_steps if self.process else ():
            if self.process and self.alive:
                self.process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(seconds)
        self.end_leftovers()
        if self.process:
            self.process.wait()
            self.process = None

    def end_leftovers(self) -> None:
        """End every process of this server that works on this data, whoever started it, and clear its lock files."""
        leftovers = processes.working_in(self.directory, self.program)
        if self.process is None and (parents := [p for p in leftovers if self._is_main(p, leftovers)]):
            for parent in parents:  # survived the process that started it: let it close its files
                with contextlib.suppress(psutil.Error):
                    parent.send_signal(self.stop_steps[0][0])
            psutil.wait_procs(parents, timeout=self.stop_steps[0][1])
        processes.end(processes.working_in(self.directory, self.program), grace=0)
        for path in self.lock_files():
            path.unlink(missing_ok=True)

    @staticmethod
    def _is_main(process: psutil.Process, found: list[psutil.Process]) -> bool:
        try:
            return process.ppid() not in {other.pid for other in found}
        except psutil.Error:
            return False

    def _spawn(self, command: list[str | Path]) -> subprocess.Popen[bytes]:
        if self.log_path.exists() and self.log_path.stat().st_size > LOG_LIMIT:
            self.log_path.replace(self.log_path.with_suffix(".log.1"))
        with os.fdopen(private.append(self.log_path), "ab") as log:
            self._log_start = log.tell()
            return processes.spawn(
                command,
                env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", "HOME": str(self.place.home)},
                cwd=self.directory if self.directory.exists() else self.place.home,
                output=log,
                user=self.place.user,
                death_signal=self.death_signal,
            )

    def _log_tail(self) -> str:
        with self.log_path.open("rb") as log:
            log.seek(self._log_start)
            lines = log.read().decode(errors="replace").strip().splitlines()
        return " / ".join(lines[-5:]) or "it wrote nothing"

    @abstractmethod
    def prepare(self) -> None:
        """Write the configuration; make the data at the first start."""

    @abstractmethod
    def command(self) -> list[str | Path]:
        """Return the program and its arguments."""

    @abstractmethod
    def ready(self) -> bool:
        """Say whether this child answers."""

    @abstractmethod
    def lock_files(self) -> list[Path]:
        """Return files that only a running server has."""

    def _write(self, path: Path, text: str) -> None:
        """Write a configuration file as the account that reads it."""
        private.write(path, text, self.place.user)


class Postgres(Server):
    """PostgreSQL with data checksums and password authentication for everybody."""

    name = "postgres"
    program = "postgres"
    death_signal = signal.SIGINT  # fast shutdown
    stop_steps = ((signal.SIGINT, 20.0), (signal.SIGQUIT, 5.0))

    @property
    def url(self) -> str:
        """Libpq URL of the platform's database, as its owner."""
        return self._url(OWNER, self.place.owner_password, OWNER)

    @property
    def app_url(self) -> str:
        """The same for the processes, who own nothing; it opens after `manage.py setup_roles`."""
        return self._url(APP, self.place.app_password, OWNER)

    def _url(self, user: str, password: str, database: str) -> str:
        return f"postgresql://{user}:{quote(password)}@/{database}?host={self.place.sockets}&port={PORT}"

    def prepare(self) -> None:
        """Make the cluster at the first start (whole or not at all), then write its configuration."""
        if not self.directory.exists():
            self._initdb()
        version = (self.directory / "PG_VERSION").read_text().strip()
        if version != str(POSTGRES_MAJOR):
            message = (
                f"{self.directory} was made by PostgreSQL {version}; this version runs PostgreSQL {POSTGRES_MAJOR}."
            )
            raise EmbeddedError(message)
        self._write(self.directory / "postgresql.conf", self.configuration())
        self._write(self.directory / "pg_hba.conf", "local all all scram-sha-256\n")

    def _initdb(self) -> None:
        draft = self.place.home / "postgres.new"
        shutil.rmtree(draft, ignore_errors=True)
        private.directory(draft, self.place.user)
        password_file = self.place.sockets / ".initdb-password"
        self._write(password_file, self.place.superuser_password)
        initdb: list[str | Path] = [self.place.programs.postgres_bin / "initdb", "--pgdata", draft]
        initdb += ["--username", SUPERUSER, "--auth=scram-sha-256", "--pwfile", password_file, "--encoding=UTF8"]
        initdb += ["--locale=C", "--data-checksums", "--no-instructions", *([] if self.durable else ["--no-sync"])]
        self.process = self._spawn(initdb)
        code = self.process.wait()
        self.process = None
        password_file.unlink()
        if code:
            message = f"initdb failed: {self._log_tail()} (whole log: {self.log_path})."
            raise EmbeddedError(message)
        draft.rename(self.directory)

    def configuration(self) -> str:
        """Return postgresql.conf. The figures are measured: few checkpoints, no jit, no WAL compression."""
        settings: dict[str, str] = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(self.place.sockets),
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "1GB" if self.durable and memory_limit() > 8 * GIB else "256MB",
            "synchronous_commit": "on" if self.durable else "off",
            "fsync": "on" if self.durable else "off",
            "full_page_writes": "on" if self.durable else "off",
            "max_wal_size": "4GB",
            "checkpoint_timeout": "15min",
            "wal_compression": "off",
            "jit": "off",
            "autovacuum_naptime": "10s",
            "idle_in_transaction_session_timeout": "10min",
            "password_encryption": "scram-sha-256",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "lc_messages": "C",
            "log_destination": "stderr",
            "logging_collector": "off",
            "log_line_prefix": "%m [%p] %a ",
            "log_lock_waits": "on",
        }
        head = "# Written at each start by jobplatform/servers.py; postgresql.auto.conf overrides it.\n"
        return head + "".join(f"{name} = '{value}'\n" for name, value in settings.items())

    def command(self) -> list[str | Path]:
        """Return the postmaster's command line."""
        return [self.place.programs.postgres_bin / "postgres", "-D", self.directory]

    def ready(self) -> bool:
        """Say whether the postmaster that we started has written `ready` into its pid file."""
        try:
            lines = (self.directory / "postmaster.pid").read_text().splitlines()
        except OSError:
            return False
        status_line = 7
        return (
            self.alive
            and len(lines) > status_line
            and lines[0] == str(self.pid)
            and lines[status_line].strip() == "ready"
        )

    def lock_files(self) -> list[Path]:
        """Return the pid file (a reused pid would make it look alive) and the socket with its lock."""
        name = f".s.PGSQL.{PORT}"
        return [self.directory / "postmaster.pid", self.place.sockets / name, self.place.sockets / f"{name}.lock"]

    def ensure_database(self) -> None:
        """Make the owner role and its database where they do not exist yet."""
        with psycopg.connect(
            self._url(SUPERUSER, self.place.superuser_password, "postgres"), autocommit=True
        ) as connection:
            owner = sql.Identifier(OWNER)
            if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [OWNER]).fetchone():
                with connection.transaction():
                    create = sql.SQL("CREATE ROLE {} LOGIN CREATEDB CREATEROLE PASSWORD {}")
                    connection.execute(create.format(owner, sql.Literal(self.place.owner_password)))
                    # It watches sessions and ends those that hold back the log; other roles get these from it.
                    grant = sql.SQL("GRANT pg_monitor, pg_signal_backend TO {} WITH ADMIN OPTION")
                    connection.execute(grant.format(owner))
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [OWNER]).fetchone():
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(owner, owner))


class Redis(Server):
    """Redis as a broker: append-only, never evicting. It holds doorbells only, so losing its data loses no job."""

    name = "redis"
    program = "redis-server"
    death_signal = signal.SIGTERM
    stop_steps = ((signal.SIGTERM, 10.0),)

    @property
    def socket_path(self) -> Path:
        """Where the server listens."""
        return self.place.sockets / "redis.sock"

    @property
    def url(self) -> str:
        """Celery's URL of the broker."""
        return f"redis+socket://{self.socket_path}"

    def wait_ready(self) -> None:
        """Wait until the server answers; a damaged file is set aside, since nothing in it is the only copy."""
        try:
            super().wait_ready()
        except EmbeddedError:
            if not self._damaged():
                raise
            self.launch()
            super().wait_ready()

    def _damaged(self) -> bool:
        # As Redis puts what it cannot read; "loaded from append only file" is what it says of a good one.
        return not self.alive and "reading the append only file" in self._log_tail()

    def prepare(self) -> None:
        """Write the configuration; what an earlier child could not read is set aside."""
        if self.process and self._damaged():
            file = self.directory / "appendonly.aof"
            if file.exists():
                file.replace(file.with_suffix(".damaged"))
        memory = min(GIB, memory_limit() // 8)
        lines = [
            "# Written at each start by jobplatform/servers.py.",
            "port 0",
            f"unixsocket {self.socket_path}",
            "unixsocketperm 700",
            "dir .",
            "appendonly yes",
            f"appendfsync {'everysec' if self.durable else 'no'}",
            'save ""',
            f"maxmemory {memory}",
            "maxmemory-policy noeviction",
            "daemonize no",
            "",
        ]
        self._write(self.directory / "redis.conf", "\n".join(lines))

    def command(self) -> list[str | Path]:
        """Return the server's command line, run inside its directory."""
        return [self.place.programs.redis_server, self.directory / "redis.conf"]

    def ready(self) -> bool:
        """Say whether the server accepts connections; it makes its socket after loading its data."""
        return self.alive and self.socket_path.exists() and self._answers()

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1)
            try:
                client.connect(str(self.socket_path))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def lock_files(self) -> list[Path]:
        """Return the socket."""
        return [self.socket_path]


def memory_limit() -> int:
    """Return the bytes of memory that this machine or container has."""
    total: int = psutil.virtual_memory().total
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError):
            return min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total
