"""Plain Celery whose task sends one transaction for each job with web3, as its documentation shows.

It is spared what it would have to do beside: it keeps no record, it replaces and repeats nothing, it does not look
whether a job is confirmed (the benchmark does), fees and gas are constants, the call is put together by hand.

    python -m benchmarks.peers.celery_web3 confirmed N   N jobs, until all stand in blocks that are deep enough
    python -m benchmarks.peers.celery_web3 sign N        sign N transactions
    python -m benchmarks.peers.celery_web3 replay N      read N logs with contract.events.JobConfirmed.get_logs
"""

import json
import os
import secrets
import time
from functools import cache
from pathlib import Path
from typing import Any

import redis

from benchmarks.peers import celery_app, protocol
from benchmarks.peers.protocol import serve

DEPTH, IN_FLIGHT, WARM_UP = 2, 1000, 20  # as in benchmarks/chain.py
CHAIN_ID = 31337
SECRET = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"  # noqa: S105 - anvil's first account
LOOK_SECONDS = 0.1
ABI = Path(__file__).resolve().parent.parent.parent / "confirmations" / "registry" / "JobRegistry.json"
GWEI = 10**9

app = celery_app.make(worker_prefetch_multiplier=16)


@cache
def node() -> Any:
    from web3 import HTTPProvider, Web3

    return Web3(HTTPProvider(os.environ["RPC_URL"], exception_retry_configuration=None))


@cache
def broker() -> Any:
    return redis.Redis.from_url(os.environ["BROKER_URL"].replace("redis+socket://", "unix://"))


def mined() -> int:
    """How many transactions of the account are in blocks."""
    return int(node().eth.get_transaction_count(node().to_checksum_address(os.environ["BENCH_ACCOUNT"])))


def transaction(nonce: int) -> dict[str, Any]:
    """The call of the contract for one job."""
    return {
        "type": 2, "chainId": CHAIN_ID, "nonce": nonce, "to": contract_address(), "value": 0, "gas": 30_000,
        "maxFeePerGas": 100 * GWEI, "maxPriorityFeePerGas": GWEI,
        "data": selector() + secrets.token_bytes(16) + bytes(16) + secrets.token_bytes(32),
    }  # fmt: skip


@cache
def contract_address() -> str:
    from web3 import Web3

    return str(Web3.to_checksum_address(os.environ["BENCH_CONTRACT"]))


@cache
def selector() -> bytes:
    from web3 import Web3

    return bytes(Web3.keccak(text="confirm(bytes32,bytes32)")[:4])


class Mined:
    """How many transactions of the account are in blocks, looked at not too often."""

    number, at = 0, 0.0

    @classmethod
    def wait_for(cls, nonce: int) -> None:
        """Return when so few are before this one that it may leave."""
        while nonce - cls.number >= IN_FLIGHT:
            if (left := cls.at + LOOK_SECONDS - time.monotonic()) > 0:
                time.sleep(left)
            cls.at, cls.number = time.monotonic(), mined()


def confirm() -> None:
    from eth_account import Account

    nonce = int(broker().incr("nonce")) - 1
    Mined.wait_for(nonce)
    signed = Account.sign_transaction(transaction(nonce), SECRET)
    node().eth.send_raw_transaction(signed.raw_transaction)


app.task(name="confirm", shared=False)(confirm)


class CeleryWeb3(celery_app.CeleryPeer):
    """Celery, prefork pool of two, and web3."""

    packages = ("celery", "kombu", "redis", "web3", "eth-account", "coincurve")
    settings = "prefork -c 2, early acknowledgement, one transaction a task, nonces from Redis, keys with coincurve"
    app = app
    module = "benchmarks.peers.celery_web3"
    pools = (("-P", "prefork", "-c", "2"),)


def confirmed(peer: CeleryWeb3, jobs: int) -> dict[str, object]:
    """The worker is warm; the clock runs from the first message until the last event is deep enough."""
    broker().set("nonce", mined())
    chain = Blocks()
    peer.start()
    try:
        peer.open_gate()
        _send(WARM_UP)
        chain.wait_for(WARM_UP)
        began = time.monotonic()
        _send(jobs)
        chain.wait_for(WARM_UP + jobs)
        seconds = time.monotonic() - began
    finally:
        peer.stop()
    return {"jobs": jobs, "warm": WARM_UP, "seconds": seconds}


def _send(jobs: int) -> None:
    with app.producer_pool.acquire(block=True) as producer:
        for _ in range(jobs):
            app.tasks["confirm"].apply_async((), producer=producer)


class Blocks:
    """Counts the contract's logs, block by block, as they come."""

    def __init__(self) -> None:
        self.next, self.logs = int(node().eth.block_number) + 1, 0

    def wait_for(self, number: int) -> None:
        """Return when so many logs stand under DEPTH blocks."""
        deadline = time.monotonic() + protocol.DRAIN_WITHIN
        while True:
            head = int(node().eth.block_number)
            for block in range(self.next, head + 1):
                asked = {"address": os.environ["BENCH_CONTRACT"], "fromBlock": hex(block), "toBlock": hex(block)}
                self.logs += len(node().provider.make_request("eth_getLogs", [asked])["result"])
            self.next = max(self.next, head + 1)
            if self.logs >= number:
                break
            assert time.monotonic() < deadline, f"{self.logs} of {number} logs"
            time.sleep(0.05)
        last = self.next - 1
        while int(node().eth.block_number) < last + DEPTH:
            time.sleep(0.05)


def sign(_peer: CeleryWeb3, number: int) -> dict[str, object]:
    """Account.sign_transaction, with the backend of eth_keys that the environment names."""
    from eth_account import Account

    os.environ.setdefault("BENCH_CONTRACT", "0x" + "11" * 20)
    calls = [transaction(nonce) for nonce in range(number)]
    account = Account.from_key(SECRET)
    began = time.process_time()
    for one in calls:
        account.sign_transaction(one)
    return {"jobs": number, "seconds": time.process_time() - began}


def replay(_peer: CeleryWeb3, number: int) -> dict[str, object]:
    """Block by block, as small as answers are best read; into Python, no further."""
    contract = node().eth.contract(address=contract_address(), abi=json.loads(ABI.read_text())["abi"])
    head = int(node().eth.block_number)
    began = time.monotonic()
    found = 0
    for block in range(1, head + 1):
        found += len(contract.events.JobConfirmed.get_logs(from_block=block, to_block=block))
    return {"jobs": found, "seconds": time.monotonic() - began}


if __name__ == "__main__":
    serve(CeleryWeb3(), confirmed=confirmed, sign=sign, replay=replay)
