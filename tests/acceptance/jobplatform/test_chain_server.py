"""`make up` with its development chain, as a user runs it."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest

from confirmations import keys
from jobplatform import places, processes, runfile
from jobplatform.embedded import Embedded
from jobplatform.runfile import RunInfo

ROOT = Path(__file__).resolve().parents[3]
FUNDED = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(places.anvil_program() is None, reason="anvil is not installed; `make dev` says why"),
]


def rpc(url: str, method: str, *params: Any) -> Any:
    parts = urlsplit(url)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    with contextlib.closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)) as connection:
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        return json.load(connection.getresponse())["result"]


def answers(url: str) -> bool:
    try:
        return bool(rpc(url, "eth_chainId") == "0x7a69")
    except (OSError, http.client.HTTPException):
        return False


def in_whole_file(path: Path, words: str) -> bool:
    """Whether a JSON file is complete and has these words."""
    text = path.read_text()
    with contextlib.suppress(ValueError):
        return json.loads(text) is not None and words in text
    return False


@pytest.fixture(scope="module")
def platform(
    tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str]
) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """A platform with a chain, and its data directory."""
    data_dir = tmp_path_factory.mktemp("chain") / "data"
    command = [sys.executable, "-m", "jobplatform.supervisor", "up", "--data", str(data_dir), "--port", "0"]
    env = clean_environment | {"EMBEDDED_CHAIN": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.DEVNULL)
    try:
        ready = data_dir / "run.json"
        assert processes.wait_until(lambda: ready.exists() or process.poll() is not None, seconds=90)
        assert process.poll() is None
        yield process, data_dir
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)
    Embedded(data_dir).destroy()


def info_of(platform: tuple["subprocess.Popen[bytes]", Path]) -> RunInfo:
    return runfile.read(platform[1])


def test_the_run_file_and_every_process_know_the_chain(platform: tuple["subprocess.Popen[bytes]", Path]) -> None:
    info = info_of(platform)

    assert info.rpc_url
    assert rpc(info.rpc_url, "eth_chainId") == "0x7a69"
    assert psutil.Process(info.pids["anvil"]).name() == "anvil"
    for name in ("web", "worker", "relay"):
        environment = psutil.Process(info.pids[name]).environ()
        assert environment["RPC_URL"] == info.rpc_url
        assert environment["RPC_WS_URL"] == info.rpc_url.replace("http:", "ws:")


def family_of(pid: int | list[int]) -> list[psutil.Process]:
    found = [psutil.Process(one) for one in (pid if isinstance(pid, list) else [pid])]
    return [each for parent in found for each in (parent, *parent.children(recursive=True))]


def test_only_the_process_that_signs_can_open_the_keys(platform: tuple["subprocess.Popen[bytes]", Path]) -> None:
    """Its passphrase and the key itself are nowhere else: in no environment, command line, log or table."""
    info, data_dir = info_of(platform), platform[1]
    (signing,) = [psutil.Process(pid).environ() for name, pid in info.pids.items() if name == "signing"]
    passphrase = signing["KEYSTORE_PASSPHRASE"]
    (keystore,) = Path(signing["KEYSTORE_DIR"]).glob("signer*.json")
    key = keys.open_keystore(keystore, passphrase.encode())._key.to_hex().removeprefix("0x")
    assert keystore.parent.stat().st_mode & 0o077 == 0

    assert {"web", "live", "relay", "worker", "events", "capture", "beat", "flower"} < info.pids.keys()
    for name, pid in info.pids.items():
        for process in family_of(pid):
            told = process.environ() if name != "signing" else {}
            assert not [variable for variable in told if variable.startswith("KEYSTORE")], name
            assert passphrase not in " ".join([*told.values(), *process.cmdline()])
    for path in (data_dir / "logs").rglob("*"):
        text = path.read_text(errors="replace") if path.is_file() else ""
        assert passphrase not in text
        assert key not in text
    with psycopg.connect(info.database_url) as link:
        tables = link.execute("select format('%I', relname) from pg_class where relkind = 'r' and relnamespace ="
                              " 'public'::regnamespace").fetchall()  # fmt: skip
        assert len(tables) > 40
        for (table,) in tables:
            for (row,) in link.execute(f"select t::text from {table} t".encode()):
                assert key not in row
                assert passphrase not in row


def test_a_killed_chain_is_back_within_two_seconds_with_its_blocks(
    platform: tuple["subprocess.Popen[bytes]", Path],
) -> None:
    info = info_of(platform)
    url, before = str(info.rpc_url), info.pids["anvil"]
    sent = rpc(url, "eth_sendTransaction", {"from": FUNDED, "to": FUNDED, "value": "0x1"})
    state = Path(psutil.Process(before).cwd()) / "state.json"
    # Whole again: it is written in place, and a kill must not fall into that.
    assert processes.wait_until(lambda: state.exists() and in_whole_file(state, sent), seconds=20)
    receipt = rpc(url, "eth_getTransactionReceipt", sent)
    os.kill(before, signal.SIGKILL)

    assert processes.wait_until(lambda: info_of(platform).pids.get("anvil", before) != before, seconds=2)
    assert processes.wait_until(lambda: answers(url), seconds=5)
    assert info_of(platform).rpc_url == url
    assert rpc(url, "eth_getTransactionReceipt", sent) == receipt
    assert rpc(url, "eth_getBlockByNumber", receipt["blockNumber"], False)["hash"] == receipt["blockHash"]


def test_a_stop_ends_the_chain_as_well(platform: tuple["subprocess.Popen[bytes]", Path]) -> None:
    """The last of this file: nothing runs after it."""
    process, data_dir = platform
    chain = psutil.Process(info_of(platform).pids["anvil"])
    family = [chain, *psutil.Process(process.pid).children(recursive=True)]
    directory = Path(chain.cwd())
    process.terminate()

    assert process.wait(60) == 0
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in family)
    assert processes.working_in(directory, "anvil") == []
    assert not (data_dir / "run.json").exists()
