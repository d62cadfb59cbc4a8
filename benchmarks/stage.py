"""Where both sides run: one embedded Postgres and Redis, and a fresh database, directory and broker for each run."""

import contextlib
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
import redis
from psycopg import sql

from benchmarks import peer_venv, recorder
from jobplatform import processes
from jobplatform.embedded import Embedded

ROOT = Path(__file__).resolve().parent.parent
COMMAND_WITHIN = 900.0  # seconds for one command of a side
OURS = "ours"


class SideFailed(Exception):
    """A side's command ended with an error; the message has the end of its output."""


class Stage:
    """The servers of one benchmark. Use it as a context manager: it leaves no process and no data behind."""

    def __init__(self, data: Path) -> None:
        self.data = data.resolve()
        self.embedded = Embedded(self.data)
        self.prepared: dict[str, dict[str, Any]] = {}
        self._lasting: dict[str, Run] = {}
        self.scratch = Path()
        self._secrets = {name: secrets.token_urlsafe(48) for name in ("SECRET_KEY", "API_KEY_PEPPER")}

    def __enter__(self) -> Self:
        self.embedded.destroy()
        self.embedded.start()
        self.scratch = Path(tempfile.mkdtemp(prefix="bench-", dir=self.data))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        processes.end(processes.marked(self.data), grace=3)
        self.embedded.stop()
        self.embedded.destroy()
        shutil.rmtree(self.data, ignore_errors=True)

    def prepare(self, side: str) -> dict[str, Any]:
        """Make the side's schema once, in a template of its own. Returns `{"versions", "settings", ...}`."""
        if side not in self.prepared:
            template = f"template_{side}"
            with self._maintenance() as connection:
                connection.execute(sql.SQL("create database {}").format(sql.Identifier(template)))
            run = Run(self, side, self._url(template), self._directory())
            self.prepared[side] = run.command("prepare")
        return self.prepared[side]

    def run(self, side: str) -> "Run":
        """A fresh database, an empty broker and an empty directory for one run of a side."""
        self.prepare(side)
        name = f"run_{side}"
        with self._maintenance() as connection:
            # Dropping a database makes Postgres write a checkpoint: every run starts just after one.
            connection.execute(sql.SQL("drop database if exists {} (force)").format(sql.Identifier(name)))
            connection.execute(
                sql.SQL("create database {} template {}").format(
                    sql.Identifier(name), sql.Identifier(f"template_{side}")
                )
            )
        self._empty_broker()
        return Run(self, side, self._url(name), self._directory())

    def lasting(self, side: str, name: str, fill: Callable[["Run"], None]) -> "Run":
        """A database of a side that is made and filled once, and found again as it was left: a new run on it."""
        if name not in self._lasting:
            with self._maintenance() as connection:
                connection.execute(
                    sql.SQL("create database {} template {}").format(
                        sql.Identifier(name), sql.Identifier(f"template_{side}")
                    )
                )
            run = Run(self, side, self._url(name), self._directory())
            fill(run)
            self._lasting[name] = run
        return self.again(self._lasting[name])

    def copied(self, side: str, name: str, fill: Callable[["Run"], None]) -> "Run":
        """A copy of such a database: each run finds it as `fill` left it. Its files are copied between checkpoints."""
        self.lasting(side, name, fill)
        copy = f"copy_{name}"
        with self._maintenance() as connection:
            connection.execute(sql.SQL("drop database if exists {} (force)").format(sql.Identifier(copy)))
            connection.execute(
                sql.SQL("create database {} template {} strategy file_copy").format(
                    sql.Identifier(copy), sql.Identifier(name)
                )
            )
        return Run(self, side, self._url(copy), self._directory())

    def again(self, run: "Run") -> "Run":
        """Another run on the database of this one, with an empty broker and an empty directory."""
        with self._maintenance() as connection:  # it starts just after a checkpoint, as those of a fresh database do
            connection.execute("create database checkpointed")
            connection.execute("drop database checkpointed")
        self._empty_broker()
        return Run(self, run.side, run.database_url, self._directory())

    def environment(self, side: str, database_url: str, record: Path) -> dict[str, str]:
        """The environment of a side's processes. Ours is that of production."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        shared = {
            processes.STACK_MARK: str(self.data),
            recorder.DIRECTORY: str(record),
            "BROKER_URL": self.embedded.broker_url,
            "DATABASE_URL": database_url,
        }
        if side != OURS:
            return kept | shared
        return (
            kept
            | shared
            | self._secrets
            | {
                "ALLOWED_HOSTS": "127.0.0.1",
                "JOBPLATFORM_HANDLERS": "benchmarks.handlers",
                "JOBPLATFORM_PROFILE": "production",
                "STORAGE_URL": f"file://{self.scratch}/storage",
            }
        )

    def _empty_broker(self) -> None:
        with redis.Redis.from_url(self.embedded.broker_url.replace("redis+socket://", "unix://")) as broker:
            broker.flushall()

    def _maintenance(self) -> "psycopg.Connection[tuple[Any, ...]]":
        return psycopg.connect(self._url("postgres"), autocommit=True)

    def _url(self, database: str) -> str:
        return urlunsplit(urlsplit(self.embedded.database_url)._replace(path=f"/{database}"))

    def _directory(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.scratch))


class Run:
    """One run of one side."""

    def __init__(self, stage: Stage, side: str, database_url: str, directory: Path) -> None:
        self.side = side
        self.database_url = database_url
        self.directory = directory
        self.environment = stage.environment(side, database_url, directory)
        self.python = Path(sys.executable) if side == OURS else peer_venv.PYTHON

    @property
    def module(self) -> str:
        """The module that speaks the command line of benchmarks/peers/protocol.py."""
        return "benchmarks.ours" if self.side == OURS else f"benchmarks.peers.{self.side}"

    def command(self, *arguments: str) -> dict[str, Any]:
        """Run one command of the side and return its answer.

        Raises `SideFailed`, with the end of its output, when it does not end well or in time.
        """
        log = self.directory / f"{arguments[0]}.log"
        process = self.spawn([self.python, "-m", self.module, *arguments], log)
        code: int | None = None
        try:
            code = process.wait(COMMAND_WITHIN)
        except subprocess.TimeoutExpired:
            pass
        finally:
            end(process)
        lines = log.read_text().splitlines()
        if code != 0 or not lines:
            message = f"{self.side} {' '.join(arguments)} ended with {code}:\n" + "\n".join(lines[-40:])
            raise SideFailed(message)
        found: dict[str, Any] = json.loads(lines[-1])
        return found

    def spawn(self, command: Sequence[str | Path], log: Path) -> "subprocess.Popen[bytes]":
        """Start `command` in this run's environment, from the root of the repository, its output in `log`."""
        with log.open("ab") as output:
            return processes.spawn(command, env=self.environment, cwd=ROOT, output=output)

    def execute(self, statement: str) -> None:
        """Run one statement of ours in this run's database."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            connection.execute(statement.encode())

    def count(self, table: str) -> int:
        """The rows of one table of this run's database."""
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(sql.SQL("select count(*) from {}").format(sql.Identifier(table))).fetchone()
        assert row is not None
        return int(row[0])


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process that `Run.spawn` started: in order, then by force with all that it left in its group."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(20)
    processes.signal_group(process, signal.SIGKILL)
    process.wait()
