"""The second part of `make demo`: results go on chain, in the three modes, through a reorganisation and a fee spike."""

import json
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

from rich.table import Table

VERIFIER = Path(__file__).resolve().parent.parent / "docs" / "verify_proof.py"
PATIENCE_SECONDS = 90.0
LOOK_SECONDS = 0.2
SPIKE = 20 * 10**9  # wei per gas: far beyond what a transaction of a quiet chain offers
MODES = ("single", "batch", "anchor")

Call = Callable[..., tuple[int, dict[str, Any]]]


@dataclass
class Settlement:
    """One job that goes on chain, and what became of it."""

    title: str
    mode: str
    id: str = ""
    status: str = ""
    step: str = ""
    attempts: int = 0
    retracted: bool = False
    transaction: str = ""
    block: str = ""
    proof: str = ""
    began: float = field(default_factory=time.monotonic)
    took: float = 0.0

    @property
    def open(self) -> bool:
        """Whether it is still on its way."""
        return self.status != "confirmed"


class Chain:
    """The development chain, past the platform: what an outsider does to it."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, method: str, *params: Any) -> Any:
        """Ask the node itself."""
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})  # noqa: S310 - our own
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own address
            return json.load(answer)["result"]


def play(call: Call, chain: Chain) -> Iterator[list[Settlement]]:
    """Do it all, and yield after each change."""
    settlements = [Settlement(f"order {n + 1}", mode) for mode in MODES for n in range(2)]
    before = chain.ask("evm_snapshot")
    for one in settlements:
        _post(call, one)
    yield settlements
    yield from _until(call, settlements, lambda: any(one.step == "included" for one in settlements))
    chain.ask("evm_revert", before)  # the blocks since then are gone, and with them what stood in them
    yield from _until(call, settlements, lambda: not any(one.open for one in settlements))
    spike = Settlement("order in a fee spike", "single")
    settlements.append(spike)
    chain.ask("evm_setIntervalMining", 0)  # no block comes before the fees have risen
    try:
        _post(call, spike)
        yield from _until(call, settlements, lambda: spike.step == "sent")
        chain.ask("anvil_setNextBlockBaseFeePerGas", hex(SPIKE))
    finally:
        chain.ask("evm_setIntervalMining", 1)
    yield from _until(call, settlements, lambda: not spike.open)
    for one in settlements:
        one.proof = _verified(call, one, chain.url)
        yield settlements


def _post(call: Call, one: Settlement) -> None:
    one.began = time.monotonic()
    payload = {"order": one.title, "amount": 19.9}
    body = json.dumps({"kind": "order.settle", "payload": payload, "confirm": one.mode}).encode()
    status, answer = call("/jobs", body)
    if status < HTTPStatus.BAD_REQUEST:
        one.id, one.status = answer["id"], answer["status"]


def _until(call: Call, settlements: Sequence[Settlement], done: Callable[[], bool]) -> Iterator[list[Settlement]]:
    ends = time.monotonic() + PATIENCE_SECONDS
    while not done() and time.monotonic() < ends:
        for one in settlements:
            if one.id and one.open:
                _look(call, one)
        yield list(settlements)
        time.sleep(LOOK_SECONDS)


def _look(call: Call, one: Settlement) -> None:
    _, job = call(f"/jobs/{one.id}")
    one.status = job["status"]
    status, confirmation = call(f"/confirmations/{one.id}")
    if status != HTTPStatus.OK or confirmation["transaction"] is None:
        return
    tx = confirmation["transaction"]
    one.retracted = one.retracted or (one.step == "included" and tx["step"] == "sent")
    one.step, one.attempts = tx["step"], len(tx["attempts"])
    one.transaction = tx["hash"] or (tx["attempts"][-1]["hash"] if tx["attempts"] else "")
    one.block = str(tx["block_number"] or "")
    one.took = time.monotonic() - one.began


def _verified(call: Call, one: Settlement, url: str) -> str:
    """What a program that knows nothing of the platform says of the proof."""
    _, proof = call(f"/jobs/{one.id}/proof")
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(proof, file)
        file.flush()
        done = subprocess.run([sys.executable, VERIFIER, file.name, url], capture_output=True, text=True, check=False)
    return "✔ verified" if done.returncode == 0 else "✘ " + done.stderr.strip().rpartition("\n")[2]


def right(settlements: Sequence[Settlement]) -> bool:
    """Whether all went as it should."""
    return bool(settlements) and all(not one.open and one.proof.startswith("✔") for one in settlements)


def table(settlements: Sequence[Settlement]) -> Table:
    """What became of each."""
    shown = Table(title="On chain", title_justify="left")
    for name in ("job", "mode", "status", "attempts", "transaction", "block", "seconds", "proof"):
        shown.add_column(name, no_wrap=name == "transaction")
    for one in settlements:
        shown.add_row(
            one.title + (", its block taken back" if one.retracted else ""),
            one.mode,
            ("✔ " if not one.open else "… ") + (one.status if one.status != "confirming" else one.step or one.status),
            str(one.attempts or ""),
            f"{one.transaction[:10]}…{one.transaction[-6:]}" if one.transaction else "",
            one.block,
            f"{one.took:.1f}" if one.took else "",
            one.proof,
        )
    return shown
