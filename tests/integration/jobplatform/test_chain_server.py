"""The development chain as the third embedded server."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from jobplatform import places, processes
from jobplatform.chain_server import STATE, Anvil

ROOT = Path(__file__).resolve().parents[3]
FUNDED = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"  # the first account of anvil's usual mnemonic
PROGRAM = places.anvil_program()
# Its code writes one log without topics when it is called: PUSH 0, PUSH 0, LOG0.
LOGGING_CONTRACT = "0x6006600c60003960066000f360006000a000"

pytestmark = pytest.mark.skipif(PROGRAM is None, reason="anvil is not installed; `make dev` says why")


def rpc(url: str, method: str, *params: Any) -> Any:
    """The result of a call. Raises AssertionError with the node's words when it refuses."""
    parts = urlsplit(url)
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    with closing(http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)) as connection:
        connection.request("POST", "/", body, {"Content-Type": "application/json"})
        answer = json.load(connection.getresponse())
    assert "error" not in answer, answer
    return answer["result"]


def height(url: str) -> int:
    return int(rpc(url, "eth_blockNumber"), 16)


def mined(url: str, **transaction: str) -> dict[str, Any]:
    """The receipt of a transaction from the funded account."""
    sent = rpc(url, "eth_sendTransaction", {"from": FUNDED, **transaction})
    assert processes.wait_until(lambda: rpc(url, "eth_getTransactionReceipt", sent) is not None, seconds=10)
    receipt: dict[str, Any] = rpc(url, "eth_getTransactionReceipt", sent)
    return receipt


def dumped(anvil: Anvil, block: int) -> bool:
    """Whether the file has this block."""
    try:
        return bool(json.loads((anvil.directory / STATE).read_text())["best_block_number"] >= block)
    except (OSError, ValueError):
        return False


def started(anvil: Anvil) -> Anvil:
    anvil.launch()
    anvil.wait_ready()
    return anvil


@pytest.fixture
def anvil(data_dir: Path) -> Iterator[Anvil]:
    """A chain that runs, on data of its own."""
    server = make(data_dir)
    yield started(server)
    server.stop()


def make(data_dir: Path) -> Anvil:
    place = places.find_place(data_dir)
    program = places.anvil_program(place.user)
    assert program
    return Anvil(place, program)


def test_it_is_a_chain_with_a_funded_account_on_loopback(anvil: Anvil) -> None:
    process = psutil.Process(anvil.pid)

    assert rpc(anvil.url, "eth_chainId") == "0x7a69"
    assert rpc(anvil.url, "eth_accounts") == [FUNDED]
    assert int(rpc(anvil.url, "eth_getBalance", FUNDED, "latest"), 16) > 10**18
    assert {(c.laddr.ip, c.laddr.port) for c in process.net_connections() if c.status == psutil.CONN_LISTEN} == {
        ("127.0.0.1", anvil.port)
    }
    assert anvil.ws_url == anvil.url.replace("http:", "ws:")
    assert process.username() == (anvil.place.user or psutil.Process().username())


def test_blocks_come_by_themselves_and_become_final(anvil: Anvil) -> None:
    def final() -> int:
        return int(rpc(anvil.url, "eth_getBlockByNumber", "finalized", False)["number"], 16)

    assert processes.wait_until(lambda: final() >= 2, seconds=15)
    assert height(anvil.url) - final() <= 5


def test_a_restart_keeps_blocks_receipts_and_logs(anvil: Anvil) -> None:
    contract = mined(anvil.url, data=LOGGING_CONTRACT)["contractAddress"]
    receipt = mined(anvil.url, to=contract)
    before = [rpc(anvil.url, "eth_getBlockByNumber", hex(n), False) for n in range(height(anvil.url) + 1)]
    port = anvil.port
    anvil.stop()

    started(anvil)
    after = [rpc(anvil.url, "eth_getBlockByNumber", hex(n), False) for n in range(len(before))]
    assert anvil.port == port
    assert after == before
    assert rpc(anvil.url, "eth_getTransactionReceipt", receipt["transactionHash"]) == receipt
    assert rpc(anvil.url, "eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest"}) == receipt["logs"] != []
    assert int(mined(anvil.url, to=contract)["blockNumber"], 16) >= len(before)
    newest = rpc(anvil.url, "eth_getBlockByNumber", hex(len(before)), False)
    assert newest["parentHash"] == before[-1]["hash"]


def test_a_kill_loses_what_was_not_dumped_yet_and_nothing_before(anvil: Anvil) -> None:
    receipt = mined(anvil.url, to=FUNDED, value="0x1")
    block = int(receipt["blockNumber"], 16)
    assert processes.wait_until(lambda: dumped(anvil, block), seconds=15)
    port, before = anvil.port, anvil.pid
    os.kill(before or 0, signal.SIGKILL)
    assert processes.wait_until(lambda: not anvil.alive, seconds=5)

    started(anvil)
    assert (anvil.port, anvil.pid == before) == (port, False)
    assert rpc(anvil.url, "eth_getTransactionReceipt", receipt["transactionHash"]) == receipt


def test_a_damaged_state_is_set_aside(anvil: Anvil) -> None:
    mined(anvil.url, to=FUNDED, value="0x1")
    anvil.stop()
    state = anvil.directory / STATE
    whole = state.read_text()
    state.write_text(whole[: len(whole) // 2])

    started(anvil)
    assert height(anvil.url) < 5
    assert state.with_suffix(".damaged").read_text() == whole[: len(whole) // 2]


def test_a_port_that_somebody_else_took_is_given_up(anvil: Anvil) -> None:
    port = anvil.port
    anvil.stop()

    with socket.create_server(("127.0.0.1", port)):
        started(anvil)
        assert anvil.port != port
        assert rpc(anvil.url, "eth_chainId") == "0x7a69"


def test_a_chain_that_outlived_its_parent_is_taken_over(data_dir: Path, anvil: Anvil) -> None:
    old = psutil.Process(anvil.pid)
    heir = make(data_dir)

    started(heir)
    assert processes.wait_until(lambda: not anvil.alive, seconds=5)
    assert (heir.pid == old.pid, heir.port) == (False, anvil.port)
    heir.stop()
    assert processes.working_in(heir.directory, "anvil") == []


def test_it_says_nothing_while_it_works(anvil: Anvil) -> None:
    mined(anvil.url, to=FUNDED, value="0x1")

    assert anvil.log_path.read_text() == ""


def test_the_foreground_command_has_it_and_can_do_without(data_dir: Path) -> None:
    for wanted in ("1", "0"):
        command = [sys.executable, "-m", "jobplatform.embedded", "--data", str(data_dir)]
        env = os.environ | {"EMBEDDED_CHAIN": wanted}
        with subprocess.Popen(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout
            said = json.loads(process.stdout.readline())
            if wanted == "1":
                assert rpc(said["rpc_url"], "eth_chainId") == "0x7a69"
                assert said["rpc_ws_url"].startswith("ws://127.0.0.1:")
            else:
                assert (said["rpc_url"], said["rpc_ws_url"]) == (None, None)
            process.terminate()
            assert process.wait(30) == 0


def test_what_runs_nowhere_is_no_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert places.anvil_program() is None

    (tmp_path / "anvil").write_text("for another kind of machine")
    (tmp_path / "anvil").chmod(0o755)
    assert places.anvil_program() is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root lends the servers an account of their own")
def test_root_copies_a_program_that_the_account_cannot_run(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places.find_place(data_dir)
    assert PROGRAM
    closed = tmp_path / "closed" / "anvil"
    closed.parent.mkdir(mode=0o700)
    closed.write_bytes(PROGRAM.read_bytes())
    closed.chmod(0o755)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setenv("PATH", str(closed.parent))

    found = places.anvil_program(place.user)
    assert found
    assert found.is_relative_to(places.MACHINE_DIR)
    assert places.anvil_program(place.user) == found
