"""`make up`: the whole platform on one machine, started, watched and stopped as one.

    python -m jobplatform.supervisor up --data .data --port 8000

or, from Python:

    with Stack(Path(".data"), port=0) as stack:
        print(stack.info.base_url)

One thread owns every child: it starts them, starts again within 2 s what died (PostgreSQL, Redis and the chain too),
follows their logs, and stops them in order. The kernel ends the children when that thread ends, so nothing outlives a
`kill -9` of this process, and the next start ends what could not obey.
"""

import argparse
import fcntl
import http.client
import json
import os
import secrets
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import IO, Self

from jobplatform import private, processes, runfile
from jobplatform.children import ROOT, Child, procfile, stop
from jobplatform.embedded import Embedded, EmbeddedError
from jobplatform.places import make_data_directory, program_versions
from jobplatform.runfile import RunInfo

HOST = "127.0.0.1"
USUAL_PORTS = {"PORT": 8000, "LIVE_PORT": 8001, "FLOWER_PORT": 5555}
NEED_CHAIN = ("signing", "capture")  # left out where no chain is set up (RPC_URL)
KEYS = ("KEYSTORE_DIR", "KEYSTORE_PASSPHRASE", "KEYSTORE_PASSPHRASE_FILE")  # for the process `signing` alone
DEVELOPMENT_CHAIN = [
    "--name", "development", "--finality", "depth", "--depth", "2", "--block-seconds", "1",
    "--anchor-seconds", "5", "--bump-seconds", "5", "--fund", "--allow",
]  # fmt: skip
STOP_FIRST = ("web", "live", "relay", "beat", "flower")  # then what remains: the workers
GRACE_SECONDS = 10.0  # for each of the two groups
READY_SECONDS = 120.0
WATCH_SECONDS = 0.1
QUICK_DEATHS_ALLOWED = 3  # before the platform has been ready once
SECRETS_FILE = "secrets.json"
LOCK_FILE = "up.lock"
STOPPED_EARLY = "Stopped before it was ready."


class StackError(RuntimeError):
    """The platform cannot start; the text says why."""


class Stack:
    """The platform in one data directory.

    `port` is that of the API: 0 takes free ports for everything, None the usual ones where they are free. `environ`
    (by default that of this process) reaches every child, with `extra_env` over it; a `DATABASE_URL` or `BROKER_URL`
    in it replaces the embedded servers, an `RPC_URL` the development chain, which `EMBEDDED_CHAIN=0` does without.
    `quiet` keeps the children's output in their log files.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int | None = 0,
        *,
        quiet: bool = False,
        extra_env: Mapping[str, str] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.resolve()
        self.port = port
        self.quiet = quiet
        self.environ = {**(os.environ if environ is None else environ), **(extra_env or {})}
        self._info: RunInfo | None = None
        self._embedded: Embedded | None = None
        self._children: list[Child] = []
        self._claims: list[socket.socket] = []
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._failure: BaseException | None = None

    @property
    def info(self) -> RunInfo:
        """Where everything is, with the process ids of now. Raises StackError before it is ready."""
        if self._info is None:
            message = "The platform is not ready."
            raise StackError(message)
        return self._info

    @property
    def pids(self) -> dict[str, int]:
        """Process id by name of everything that runs now."""
        servers = self._embedded.pids if self._embedded else {}
        return {**servers, **{child.name: child.pid for child in self._children if child.pid}}

    def start(self) -> RunInfo:
        """Start everything; returns when the API answers and `run.json` is written. Raises StackError."""
        self._ready.clear()
        self._failure = None
        self._thread = threading.Thread(target=self._run, name="supervisor")
        self._thread.start()
        try:
            self._ready.wait()
        except BaseException:  # Ctrl-C while it starts
            self.stop()
            raise
        try:
            self._raise_failure()
        except BaseException:
            self.stop()
            raise
        return self.info

    def ask_to_stop(self) -> None:
        """Begin to stop, also out of a signal handler, and return at once."""
        self._stopping.set()

    def wait(self) -> None:
        """Return when everything has stopped because it was asked to. Raises what stopped it otherwise."""
        if self._thread:
            self._thread.join()
        self._raise_failure()

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    def stop(self) -> None:
        """Stop everything in order; returns when no process is left. Harmless when nothing runs."""
        self.ask_to_stop()
        if self._thread:
            self._thread.join()
            self._thread = None
        self._stopping.clear()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -------------------------------------------------------------------------------- the thread that owns them all
    def _run(self) -> None:
        try:
            with self._lock():
                try:
                    self._bring_up()
                    self._ready.set()
                    self._watch()
                finally:
                    self._bring_down()
        except (StackError, EmbeddedError) as error:
            self._failure = StackError(str(error))
        except BaseException as error:  # noqa: BLE001  # handed to the thread that waits in start()
            self._failure = error
        finally:
            self._ready.set()

    @contextmanager
    def _lock(self) -> Iterator[None]:
        """Keep a second platform out of the data directory."""
        lock = os.open(make_data_directory(self.data_dir) / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                message = f"The platform runs already in {self.data_dir}. Stop it, or choose another one with DATA=."
                raise StackError(message) from error
            yield
        finally:
            os.close(lock)

    def _bring_up(self) -> None:
        runfile.remove(self.data_dir)
        processes.end(processes.marked(self.data_dir), grace=GRACE_SECONDS)  # outlived a supervisor that was killed
        ports = self._claim_ports()
        kept = _secrets(self.data_dir)
        admin = {name: self.environ.get(name) or kept.pop(name) for name in ("ADMIN_USER", "ADMIN_PASSWORD")}
        demo = {"DEMO_API_KEY": kept.pop("DEMO_API_KEY", "")}
        keys = {"KEYSTORE_DIR": str(self.data_dir / "keys"), "KEYSTORE_PASSPHRASE": kept.pop("KEYSTORE_PASSPHRASE")}
        keys |= {name: self.environ[name] for name in KEYS if self.environ.get(name)}
        env = self._environment(ports, kept)
        owner = env.pop("MIGRATION_DATABASE_URL", "") or env["DATABASE_URL"]  # not for processes that serve
        self._say("up", "bringing the database up to date")
        self._command("setup_database", [], env | {"MIGRATION_DATABASE_URL": owner})
        self._start_children(ports, env, admin, keys)
        if self._embedded and self._embedded.rpc_url:
            self._command("deploy_registry", DEVELOPMENT_CHAIN, env | keys)
        provisioned = json.loads(self._command("provision_demo", [], env | admin | demo))
        _keep(self.data_dir, {"DEMO_API_KEY": provisioned["api_key"]})
        base_url = f"http://{HOST}:{ports['PORT']}"
        self._wait_until_ready(lambda: all(_answers(int(ports[name])) for name in ("PORT", "LIVE_PORT")))
        self._info = RunInfo(
            base_url=base_url,
            docs_url=f"{base_url}/api/v1/docs",
            admin_url=f"{base_url}/admin/",
            flower_url=env["FLOWER_URL"],
            live_url=env["LIVE_URL"],
            api_key=provisioned["api_key"],
            admin_user=admin["ADMIN_USER"],
            admin_password=admin["ADMIN_PASSWORD"],
            database_url=owner,
            broker_url=env["BROKER_URL"],
            rpc_url=env.get("RPC_URL") or None,
        )
        self._publish()

    def _start_children(
        self, ports: Mapping[str, str], env: Mapping[str, str], admin: Mapping[str, str], keys: Mapping[str, str]
    ) -> None:
        logs = self.data_dir / "logs"
        logs.mkdir(mode=0o700, exist_ok=True)
        login = {"FLOWER_BASIC_AUTH": f"{admin['ADMIN_USER']}:{admin['ADMIN_PASSWORD']}"}
        own = {"flower": login, "signing": keys}  # what no other process is told
        for name, command in procfile(ports).items():
            if name in NEED_CHAIN and not env.get("RPC_URL"):
                continue
            child = Child(name, command, env={**own.get(name, {}), **env}, logs=logs)
            self._children.append(child)
            child.start()

    def _environment(self, ports: Mapping[str, str], kept: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of the children; starts the embedded servers unless theirs are given."""
        env = dict(self.environ)
        if not (env.get("DATABASE_URL") and env.get("BROKER_URL")):
            chain = not env.get("RPC_URL") and env.get("EMBEDDED_CHAIN") != "0"
            programs = [version for version in program_versions() if chain or not version.startswith("anvil")]
            self._say("up", f"starting {', '.join(programs)}, for this machine alone")
            self._embedded = Embedded(self.data_dir, chain=chain)
            self._embedded.start()
            if not env.get("DATABASE_URL"):
                env["DATABASE_URL"] = self._embedded.app_database_url
                env["MIGRATION_DATABASE_URL"] = self._embedded.database_url
            env["BROKER_URL"] = env.get("BROKER_URL") or self._embedded.broker_url
            if self._embedded.rpc_url and self._embedded.rpc_ws_url:
                env |= {"RPC_URL": self._embedded.rpc_url, "RPC_WS_URL": self._embedded.rpc_ws_url}
        defaults = {
            "JOBPLATFORM_PROFILE": "development",
            "ALLOWED_HOSTS": f"{HOST},localhost",
            "STORAGE_URL": f"file://{self.data_dir}/storage",
            "LOG_FORMAT": "console",
            "FLOWER_URL": f"http://{HOST}:{ports['FLOWER_PORT']}",
            "LIVE_URL": f"http://{HOST}:{ports['LIVE_PORT']}",
            **kept,
        }
        env = {name: value for name, value in env.items() if name not in KEYS}
        env = {**defaults, **{name: value for name, value in env.items() if value or name not in defaults}}
        env[processes.STACK_MARK] = str(self.data_dir)
        return env

    def _claim_ports(self) -> dict[str, str]:
        """Return a port for each process that listens. Raises StackError when the one asked for is taken."""
        found = {}
        for name, usual in USUAL_PORTS.items():
            asked = self.port if name == "PORT" else None
            if asked and not self._claim(asked):
                message = f"Port {asked} is taken. Choose another one with PORT=, or PORT=0 for a free one."
                raise StackError(message)
            port = asked or (usual if self.port != 0 and self._claim(usual) else 0)
            while not port:
                candidate = _free_port()
                port = candidate if self._claim(candidate) else 0
            found[name] = str(port)
        return found

    def _claim(self, port: int) -> bool:
        """Say whether a port is ours now. The kernel keeps the claim, against platforms that start at the same time."""
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0jobplatform-port-{port}")
        except OSError:
            claim.close()
            return False
        self._claims.append(claim)
        return _is_free(port)

    def _command(self, name: str, arguments: list[str], env: Mapping[str, str]) -> str:
        """Run a management command to its end and return what it printed. Raises StackError when it fails."""
        command = [sys.executable, "manage.py", name, *arguments]
        # Files, not pipes: a process that a handler module starts at import would hold a pipe open.
        with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
            process = processes.spawn(command, env=env, cwd=ROOT, output=output, errors=errors)
            while process.poll() is None:
                if self._stopping.wait(WATCH_SECONDS / 2):
                    process.kill()
                    process.wait()
                    raise StackError(STOPPED_EARLY)
            printed, said = (_text(file) for file in (output, errors))
        if process.returncode:
            message = f"`manage.py {name}` failed:\n{printed[-2000:]}{said[-2000:]}"
            raise StackError(message)
        return printed

    def _wait_until_ready(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not ready():
            self._tend()
            failing = [child for child in self._children if child.quick_deaths > QUICK_DEATHS_ALLOWED]
            if failing:
                message = f"{failing[0].name} ends as soon as it starts:\n{failing[0].log.tail()}"
                raise StackError(message)
            if time.monotonic() > deadline:
                message = f"The API does not answer after {READY_SECONDS:.0f} s; see {self.data_dir / 'logs'}."
                raise StackError(message)
            if self._stopping.wait(WATCH_SECONDS):
                raise StackError(STOPPED_EARLY)

    def _watch(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            if self._tend():
                self._publish()

    def _tend(self) -> list[str]:
        """Start again what has died and pass on new output; returns the names of what was started."""
        revived: list[str] = []
        try:
            revived += self._embedded.revive() if self._embedded else []
        except (EmbeddedError, OSError) as error:  # a full disk, say: tried again at the next turn
            self._say("up", str(error))
        revived += [child.name for child in self._children if child.revive()]
        for name in revived:
            self._say("up", f"{name} had ended and was started again")
        self._pass_on_output()
        return revived

    def _bring_down(self) -> None:
        runfile.remove(self.data_dir)
        self._info = None
        first = [child for child in self._children if child.name in STOP_FIRST]
        for group in (first, [child for child in self._children if child not in first]):
            stop(group, grace=GRACE_SECONDS)
        processes.end(processes.marked(self.data_dir), grace=0)  # what handlers started in sessions of their own
        self._pass_on_output()
        self._children = []
        if self._embedded:
            self._embedded.stop()
            self._embedded = None
        for claim in self._claims:
            claim.close()
        self._claims = []

    def _publish(self) -> None:
        self._info = replace(self.info, pids=self.pids)
        runfile.write(self.data_dir, self._info)

    def _pass_on_output(self) -> None:
        for child in self._children:
            for line in child.log.new_lines():
                self._say(child.name, line)

    def _say(self, name: str, line: str) -> None:
        if not self.quiet:
            try:
                print(f"{name:>8} | {line}", flush=True)
            except OSError:  # nobody reads any more; the log files have it all
                self.quiet = True


def _secrets(data_dir: Path) -> dict[str, str]:
    """Return the secrets of a data directory by their variable; made once, so sessions and keys outlive a restart."""
    path = data_dir / SECRETS_FILE
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    made = {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "API_KEY_PEPPER": secrets.token_urlsafe(48),
        "AUDIT_KEY": secrets.token_urlsafe(48),
        "ADMIN_USER": "admin",
        "ADMIN_PASSWORD": secrets.token_urlsafe(15),
        "KEYSTORE_PASSPHRASE": secrets.token_urlsafe(32),
    }
    return kept if made.keys() <= kept.keys() else _keep(data_dir, {**made, **kept})


def _keep(data_dir: Path, more: Mapping[str, str]) -> dict[str, str]:
    """Keep secrets with those that there are; returns all."""
    path = data_dir / SECRETS_FILE
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    if not more.items() <= kept.items():
        kept |= more
        private.write(path, json.dumps(kept, indent=2) + "\n")
    return kept


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _answers(port: int) -> bool:
    """Say whether the API on a loopback port is alive."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _is_free(port: int) -> bool:
    with socket.socket() as candidate:
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: a closed connection lingers
        try:
            candidate.bind((HOST, port))
        except OSError:
            return False
        return True


def _free_port() -> int:
    with socket.socket() as candidate:
        candidate.bind((HOST, 0))
        port: int = candidate.getsockname()[1]
        return port


def main(arguments: list[str] | None = None) -> int:
    """Run the platform until Ctrl-C, SIGTERM or the end of the terminal."""
    parser = argparse.ArgumentParser(prog="python -m jobplatform.supervisor", description=__doc__.split("\n", 1)[0])
    parser.add_argument("command", choices=["up"])
    parser.add_argument(
        "--data", type=Path, default=Path(".data"), metavar="DIR", help="data directory (default .data)"
    )
    parser.add_argument("--port", type=int, help="port of the API; 0: free ports (default: 8000 if it is free)")
    options = parser.parse_args(arguments)
    stack = Stack(options.data, options.port)
    asked = threading.Event()

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        stack.ask_to_stop()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, on_signal)
    try:
        with stack:
            info = stack.info
            print(
                f"\nReady: {info.base_url} · documentation {info.docs_url} · admin {info.admin_url} · "
                f"Flower {info.flower_url}\nUser {info.admin_user}, password {info.admin_password}; API key and "
                f"process ids: {stack.data_dir / runfile.RUN_FILE}. Ctrl-C stops it.\n",
                flush=True,
            )
            stack.wait()
    except StackError as error:
        if asked.is_set():
            return 0
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
