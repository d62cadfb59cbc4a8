"""The main job on servers that the platform did not bring: RabbitMQ as broker, PostgreSQL 15 as database."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
POSTGRES_15 = Path("/usr/lib/postgresql/15/bin")

pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def directory() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="jp-other-"))
    yield made
    shutil.rmtree(made)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def user_named(name: str) -> str | None:
    """The user to run a server as: its own where we are root, else ours."""
    if os.getuid() != 0:
        return None
    return pwd.getpwnam(name).pw_name


def wait_for(ready: Callable[[], bool], server: "subprocess.Popen[bytes]", what: str) -> None:
    ends = time.monotonic() + 120
    while not ready():
        assert server.poll() is None, f"{what} ended"
        assert time.monotonic() < ends, f"{what} did not become ready"
        time.sleep(0.2)


@pytest.fixture
def postgres_15(directory: Path) -> Iterator[str]:
    if not (POSTGRES_15 / "postgres").exists():
        pytest.skip("the server programs of PostgreSQL 15 are not installed")
    user = user_named("postgres")
    data, port = directory / "pg15", free_port()
    data.mkdir()
    directory.chmod(0o755)
    if user:
        shutil.chown(data, user, user)
    subprocess.run(
        [POSTGRES_15 / "initdb", "-D", data, "-U", "jobplatform", "--auth=trust", "--encoding=UTF8", "--locale=C"],
        user=user,
        cwd="/",
        check=True,
        capture_output=True,
    )
    server = subprocess.Popen(
        [POSTGRES_15 / "postgres", "-D", data, "-p", str(port), "-k", data, "-c", "listen_addresses=127.0.0.1"],
        user=user,
        cwd="/",
        stderr=subprocess.DEVNULL,
    )

    def client(*arguments: str) -> bool:
        command = [
            str(POSTGRES_15 / arguments[0]),
            "-h",
            "127.0.0.1",
            "-p",
            str(port),
            "-U",
            "jobplatform",
            *arguments[1:],
        ]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    try:
        wait_for(lambda: client("pg_isready"), server, "PostgreSQL 15")
        assert client("createdb", "jobplatform")
        yield f"postgresql://jobplatform@127.0.0.1:{port}/jobplatform"
    finally:
        server.send_signal(2)
        server.wait(60)


@pytest.fixture
def rabbitmq(directory: Path) -> Iterator[str]:
    program = shutil.which("rabbitmq-server") or shutil.which("/usr/lib/rabbitmq/bin/rabbitmq-server")
    if program is None:
        pytest.skip("rabbitmq-server is not installed")
    user = user_named("rabbitmq")
    home, port, names = directory / "rabbit", free_port(), free_port()
    home.mkdir()
    directory.chmod(0o755)
    (home / "enabled_plugins").write_text("[].")
    (home / "rabbitmq.conf").write_text(f"listeners.tcp.default = 127.0.0.1:{port}\n")
    if user:
        for path in (home, *home.iterdir()):
            shutil.chown(path, user, user)
    env = os.environ | {
        "HOME": str(home),
        "RABBITMQ_NODENAME": f"jp{port}@localhost",
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(home),
        "RABBITMQ_LOG_BASE": str(home),
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    programs = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")  # without the wrapper that changes the user by itself
    server = subprocess.Popen(
        [programs if programs.exists() else program], user=user, cwd="/", env=env, stdout=subprocess.DEVNULL
    )

    def answers() -> bool:
        with socket.socket() as link:
            link.settimeout(1)
            return link.connect_ex(("127.0.0.1", port)) == 0

    try:
        wait_for(answers, server, "RabbitMQ")
        yield f"amqp://guest:guest@127.0.0.1:{port}//"
    finally:
        server.terminate()
        server.wait(60)
        # Erlang's name server is started by the node and outlives it.
        subprocess.run(["epmd", "-port", str(names), "-kill"], env=env, check=False, capture_output=True)


def run_the_main_job(directory: Path, environment: dict[str, str], **servers: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "jobplatform.demo", "--data", directory / "data"],
        cwd=ROOT,
        env=environment | servers,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.postgres15
def test_the_main_job_runs_on_postgresql_15(
    directory: Path, postgres_15: str, clean_environment: dict[str, str]
) -> None:
    run_the_main_job(directory, clean_environment, DATABASE_URL=postgres_15)


@pytest.mark.rabbitmq
def test_the_main_job_runs_on_rabbitmq(directory: Path, rabbitmq: str, clean_environment: dict[str, str]) -> None:
    run_the_main_job(directory, clean_environment, BROKER_URL=rabbitmq)
