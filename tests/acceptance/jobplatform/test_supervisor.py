"""`make up` as a user runs it: a process of its own, real servers, real signals."""

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from jobplatform import processes, runfile
from jobplatform.embedded import Embedded
from jobplatform.runfile import RunInfo
from jobplatform.supervisor import Stack, StackError
from tests.often import often

ROOT = Path(__file__).resolve().parents[3]
CHILDREN = ["postgres", "redis", "web", "live", "relay", "worker", "events", "beat", "flower"]
READY_SECONDS = 90.0

pytestmark = pytest.mark.timeout(300)


@dataclass
class Up:
    """A supervisor that runs, and the directory in which it does."""

    process: "subprocess.Popen[str]"
    data_dir: Path

    @property
    def info(self) -> RunInfo:
        return runfile.read(self.data_dir)

    def ready(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return self.info.base_url != ""
        return False

    def family(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        parent = psutil.Process(self.process.pid)
        return [parent, *parent.children(recursive=True)]


@contextlib.contextmanager
def up(data_dir: Path, env: dict[str, str]) -> Iterator[Up]:
    """Run the command until the block ends; returns when it is ready or has ended."""
    command = [sys.executable, "-m", "jobplatform.supervisor", "up", "--data", str(data_dir), "--port", "0"]
    with (data_dir.with_suffix(".console")).open("w+") as console:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=console, stderr=console, text=True)
        running = Up(process, data_dir)
        try:
            processes.wait_until(lambda: running.ready() or process.poll() is not None, seconds=READY_SECONDS)
            console.seek(0)
            assert running.ready(), console.read()[-3000:]
            yield running
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(60)
    data_dir.with_suffix(".console").unlink()


def fetch(url: str, login: str = "") -> int:
    """The status of a GET."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    headers = {"Authorization": f"Basic {b64encode(login.encode()).decode()}"} if login else {}
    with contextlib.closing(connection):
        connection.request("GET", parts.path or "/", headers=headers)
        return connection.getresponse().status


def answers(url: str) -> bool:
    try:
        return fetch(url) == http.client.OK
    except OSError:
        return False


def living(family: list[psutil.Process]) -> list[str]:
    """Those that have not ended: each with what the kernel knows of its state and of its signals."""
    found = []
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError, FileNotFoundError):
            if process.status() != psutil.STATUS_ZOMBIE and process.is_running():
                status = Path(f"/proc/{process.pid}/status").read_text()
                known = [line for line in status.splitlines() if line.startswith(("State", "PPid", "Threads", "Sig"))]
                name = ""
                with contextlib.suppress(psutil.AccessDenied):  # of one that is just ending
                    name = process.environ().get("JOBPLATFORM_PROCESS", "")
                found.append(f"{process.cmdline()} {known} {name}")
    return found


def gone(family: list[psutil.Process]) -> bool:
    return not living(family)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str]) -> Iterator[Up]:
    data_dir = tmp_path_factory.mktemp("up") / "data"
    handlers = tmp_path_factory.mktemp("handlers")
    (handlers / "outside_handlers.py").write_text("")
    outside = {"PYTHONPATH": str(handlers), "JOBPLATFORM_HANDLERS": "outside_handlers"}
    with up(data_dir, clean_environment | outside) as stack:
        yield stack
    Embedded(data_dir).destroy()


# ------------------------------------------------------------------------------------------------ what runs
def test_the_run_file_says_where_everything_is(running: Up) -> None:
    path = running.data_dir / "run.json"
    content = json.loads(path.read_text())

    assert path.stat().st_mode & 0o777 == 0o600
    assert content.keys() >= {
        "base_url", "docs_url", "admin_url", "flower_url", "live_url", "api_key", "admin_user", "admin_password", "database_url",
        "broker_url", "pids",
    }  # fmt: skip
    assert urlsplit(content["base_url"]).path == ""
    assert content["pids"].keys() >= set(CHILDREN)
    assert all(psutil.pid_exists(pid) for pid in content["pids"].values())


def test_the_api_answers_once_the_run_file_is_there(running: Up) -> None:
    assert fetch(f"{running.info.base_url}/healthz") == 200


def test_the_links_work(running: Up) -> None:
    info = running.info

    assert fetch(info.docs_url) == 200
    assert fetch(info.admin_url) in {200, 302}
    assert fetch(info.flower_url, login=f"{info.admin_user}:{info.admin_password}") == 200


def test_flower_is_closed_without_the_password(running: Up) -> None:
    assert fetch(running.info.flower_url) == 401
    assert fetch(running.info.flower_url, login=f"{running.info.admin_user}:guess") == 401


def test_only_loopback_is_listened_on(running: Up) -> None:
    listening = set()
    for process in running.family():
        with contextlib.suppress(psutil.NoSuchProcess):
            connections = process.net_connections(kind="inet")
            listening |= {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN}

    assert listening == {"127.0.0.1"}


def test_no_secret_stands_in_a_command_line(running: Up) -> None:
    secrets = [running.info.admin_password, *json.loads((running.data_dir / "secrets.json").read_text()).values()]
    lines = []
    for process in running.family():
        with contextlib.suppress(psutil.NoSuchProcess):
            lines.append(" ".join(process.cmdline()))

    assert len(lines) > len(CHILDREN)
    assert [line for line in lines if any(secret in line for secret in secrets if secret != "admin")] == []
    assert (running.data_dir / "secrets.json").stat().st_mode & 0o777 == 0o600


def test_the_environment_reaches_the_workers(running: Up) -> None:
    for name in ("worker", "web", "relay"):
        environment = psutil.Process(running.info.pids[name]).environ()

        assert environment["JOBPLATFORM_HANDLERS"] == "outside_handlers"
        assert "handlers" in environment["PYTHONPATH"]
        assert environment["JOBPLATFORM_PROFILE"] == "development"


def test_the_processes_work_as_the_app_and_do_not_know_the_owner(running: Up) -> None:
    with psycopg.connect(running.info.database_url) as connection:
        found = connection.execute(
            "select split_part(application_name, ':', 1), usename from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
        ).fetchall()
        owner = connection.info.password

    assert {user for _, user in found} == {"jobplatform_app"}
    assert {name for name, _ in found} >= {"relay", "worker", "events"}
    for name in running.info.pids.keys() - {"postgres", "redis"}:
        environment = psutil.Process(running.info.pids[name]).environ()
        assert "MIGRATION_DATABASE_URL" not in environment
        assert not [key for key, text in environment.items() if owner in text]


def test_a_second_start_in_the_same_directory_is_refused_in_one_sentence(
    running: Up, clean_environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "jobplatform.supervisor", "up", "--data", str(running.data_dir), "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, env=clean_environment, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert done.stderr == (
        f"The platform runs already in {running.data_dir}. Stop it, or choose another one with DATA=.\n"
    )
    assert answers(f"{running.info.base_url}/healthz")


def test_a_taken_port_is_refused_in_one_sentence(data_dir: Path, clean_environment: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(StackError, match="is taken"):
        Stack(data_dir, taken.getsockname()[1], quiet=True, environ=clean_environment).start()


# ------------------------------------------------------------------------------------------------ what dies
@pytest.mark.parametrize("name", often({"postgres", "redis", "web", "relay", "worker", "beat"}, CHILDREN))
def test_what_dies_is_started_again_within_two_seconds(running: Up, name: str) -> None:
    before = running.info.pids[name]
    family = [psutil.Process(before), *psutil.Process(before).children(recursive=True)]
    os.kill(before, signal.SIGKILL)

    assert processes.wait_until(lambda: running.info.pids.get(name, before) != before, seconds=2)
    assert psutil.pid_exists(running.info.pids[name])
    assert processes.wait_until(lambda: gone(family), seconds=5)
    assert processes.wait_until(lambda: answers(f"{running.info.base_url}/healthz"), seconds=20)


def test_the_data_survives_the_death_of_the_database(running: Up) -> None:
    with psycopg.connect(running.info.database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    before = running.info.pids["postgres"]
    os.kill(before, signal.SIGKILL)
    processes.wait_until(lambda: running.info.pids.get("postgres", before) != before, seconds=2)

    def kept() -> bool:
        try:
            with psycopg.connect(running.info.database_url) as connection:
                return connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        except psycopg.OperationalError:
            return False

    assert processes.wait_until(kept, seconds=20)


# ------------------------------------------------------------------------------------------------ start and stop
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGHUP, marks=pytest.mark.long)])
def test_a_stop_leaves_nothing_behind(
    tmp_path: Path, clean_environment: dict[str, str], number: signal.Signals
) -> None:
    # A handler module that starts a process in a session of its own, which no signal to the group would reach.
    (tmp_path / "stray.py").write_text(
        "import subprocess\nsubprocess.Popen(['sleep', '600'], start_new_session=True)\n"
    )
    data_dir = tmp_path / "data"
    stray = {"PYTHONPATH": str(tmp_path), "JOBPLATFORM_HANDLERS": "stray"}
    with up(data_dir, clean_environment | stray) as stack:
        family = stack.family()
        assert "sleep" in {process.name() for process in family}
        stack.process.send_signal(number)

        assert stack.process.wait(60) == 0
        assert gone(family)
        assert processes.marked(data_dir) == []
        assert not (data_dir / "run.json").exists()
    Embedded(data_dir).destroy()


def test_a_killed_supervisor_leaves_nothing_and_starts_again_with_the_same_secrets(
    tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    data_dir = tmp_path / "data"
    with up(data_dir, clean_environment) as first:
        before = first.info
        family = first.family()
        first.process.kill()
        first.process.wait()

        processes.wait_until(lambda: gone(family), seconds=60)
        assert living(family) == []
    with up(data_dir, clean_environment) as second:
        assert second.info.admin_password == before.admin_password
        assert second.info.api_key == before.api_key
        assert second.info.database_url == before.database_url
        assert second.info.base_url != ""
        with up(tmp_path / "other", clean_environment) as neighbour:
            assert neighbour.info.database_url != second.info.database_url
            assert answers(f"{neighbour.info.base_url}/healthz")
            assert answers(f"{second.info.base_url}/healthz")
    for directory in (data_dir, tmp_path / "other"):
        Embedded(directory).destroy()


def test_given_servers_replace_the_embedded_ones(
    scratch_servers: Embedded, tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    given = {"DATABASE_URL": scratch_servers.database_url, "BROKER_URL": scratch_servers.broker_url}
    with Stack(tmp_path / "data", quiet=True, environ=clean_environment, extra_env=given) as stack:
        assert stack.info.database_url == scratch_servers.database_url
        assert stack.info.broker_url == scratch_servers.broker_url
        assert {"postgres", "redis"}.isdisjoint(stack.pids)

    assert set(scratch_servers.pids) == {"postgres", "redis"}


@pytest.mark.long
def test_a_data_directory_from_before_there_were_roles_starts_as_any_other(
    data_dir: Path, clean_environment: dict[str, str]
) -> None:
    with Embedded(data_dir) as embedded:
        env = clean_environment | {"DATABASE_URL": embedded.database_url, "JOBPLATFORM_PROFILE": "development"}
        for name in ("migrate", "provision_demo"):
            subprocess.run([sys.executable, "manage.py", name], cwd=ROOT, env=env, check=True, capture_output=True)
    state = json.loads((data_dir / "embedded.json").read_text())
    del state["app_password"]
    (data_dir / "embedded.json").write_text(json.dumps(state))

    with Stack(data_dir, quiet=True, environ=clean_environment) as stack:
        assert answers(f"{stack.info.base_url}/healthz")


def test_a_platform_that_cannot_start_says_why_and_leaves_nothing(
    data_dir: Path, clean_environment: dict[str, str]
) -> None:
    stack = Stack(data_dir, quiet=True, environ=clean_environment, extra_env={"JOBPLATFORM_HANDLERS": "no_such"})

    with pytest.raises(StackError, match="no_such"):
        stack.start()
    assert processes.marked(data_dir) == []
    assert stack.pids == {}
