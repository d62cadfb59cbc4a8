"""Our side of what is measured on chain (chain.py); commands beside those of ours.py.

python -m benchmarks.ours found               network, contract and signer, in the chain of RPC_URL
python -m benchmarks.ours confirmed_MODE N    create and process N jobs, until all are confirmed  -> {"jobs", ...}
python -m benchmarks.ours sign N              sign N transactions
python -m benchmarks.ours replay N            read N logs of a contract that was never read
python -m benchmarks.ours proof N             ask for N proofs over the API  -> {"cpu"}: milliseconds each
"""

import os
import secrets
import time
from functools import partial
from typing import Any
from uuid import UUID

import psycopg

from benchmarks.chain import DEPTH, IN_FLIGHT
from benchmarks.peers import protocol

NOOP = "bench.noop"
CREATED_AT_ONCE = 1000
WARM = {"single": 20, "batch": 100, "anchor": 20}
OPEN = "select count(*) from jobs_job where kind = 'bench.noop' and status <> 'confirmed'"


def found(_ours: Any, _number: int) -> dict[str, object]:
    """As an operator does it, for a chain whose signer may have many transactions in flight."""
    from django.core.management import call_command

    from confirmations.models import Network

    call_command("deploy_registry", finality="depth", depth=DEPTH, block_seconds=1, fund=True, allow=True, verbosity=0)
    Network.objects.update(in_flight=IN_FLIGHT)
    return {}


def confirmed(ours: Any, jobs: int, *, mode: str) -> dict[str, object]:
    """The platform runs; the clock runs from the first creation until the last job is confirmed."""
    _create(ours.project, WARM[mode], mode)
    _wait(120)
    began = time.monotonic()
    _create(ours.project, jobs, mode)
    _wait(protocol.DRAIN_WITHIN)
    return {"jobs": jobs, "warm": WARM[mode], "seconds": time.monotonic() - began}


def _create(project: UUID, jobs: int, mode: str) -> None:
    from jobs.services import JobRequest, submit_many

    for start in range(0, jobs, CREATED_AT_ONCE):
        numbers = range(start, min(start + CREATED_AT_ONCE, jobs))
        submit_many(project_id=project, requests=[JobRequest(NOOP, {"number": n}, confirm=mode) for n in numbers])


def _wait(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    with psycopg.connect(protocol.database_url(), autocommit=True) as link:
        while (left := link.execute(OPEN).fetchone()) != (0,):
            assert time.monotonic() < deadline, f"jobs that are not confirmed: {left}"
            time.sleep(0.1)


def sign(_ours: Any, number: int) -> dict[str, object]:
    """With the check of the bounds, as the worker of the queue `signing` does."""
    from confirmations import registry, signing
    from confirmations.fees import Fees
    from confirmations.keys import Bounds, LocalKey

    key, contract = LocalKey(secrets.token_bytes(32)), secrets.token_bytes(20)
    bounds = Bounds(chain_id=1, contracts=frozenset({contract}), fee=10**12, gas=16_000_000, day=10**21)
    data, fees = registry.confirm(UUID(int=1), secrets.token_bytes(32)), Fees(10**9, 10**11)
    began = time.process_time()
    for nonce in range(number):
        signing.sign(key, bounds, nonce=nonce, to=contract, data=data, gas=30_000, offered=fees, spent=0)
    return {"jobs": number, "seconds": time.process_time() - began}


def replay(_ours: Any, number: int) -> dict[str, object]:
    """Read a contract from its first block to the end of the chain."""
    from confirmations.gateway.chain import chain
    from confirmations.handlers.capture import Reader
    from confirmations.models import Log
    from confirmations.services import capturing, founding
    from tests.anvil import CHAIN_ID

    address, account = (bytes.fromhex(os.environ[name][2:]) for name in ("BENCH_CONTRACT", "BENCH_ACCOUNT"))
    network = founding.network(CHAIN_ID, "bench", {"finality": "depth", "depth": DEPTH, "block_seconds": 1.0})
    contract = founding.contract(network, address, 1)
    founding.signer(network, account, backend="keystore", key="none", nonce=0)
    chain(CHAIN_ID).head()
    began = time.monotonic()
    lease = capturing.take(contract.id, UUID(int=1))
    assert lease is not None
    reader = Reader(contract.id, lease)
    while reader.step():
        pass
    seconds = time.monotonic() - began
    return {"jobs": Log.objects.filter(orphaned=False).count(), "seconds": seconds}


def proof(ours: Any, number: int) -> dict[str, object]:
    """The whole request: authentication, proof, JSON. The platform has confirmed an anchor before."""
    from django.test import Client

    from confirmations.models import Anchor, Confirmation

    anchor = Anchor.objects.order_by("-leaves").first()
    assert anchor is not None
    ids = Confirmation.objects.filter(transaction_id=anchor.transaction_id).values_list("id", flat=True)[:number]
    client, headers = Client(), {"Authorization": f"Bearer {ours.prepare()['api_key']}"}
    urls = [f"/api/v1/jobs/{job_id}/proof" for job_id in ids]
    told = client.get(urls[0], headers=headers)
    assert told.status_code == 200, told.content
    assert told.json()["verdict"]["code"] == "final", told.content
    began = time.process_time()
    for url in urls:
        client.get(url, headers=headers)
    return {"cpu": (time.process_time() - began) / len(urls) * 1000, "leaves": anchor.leaves}


COMMANDS = {
    **{f.__name__: f for f in (found, sign, replay, proof)},
    **{f"confirmed_{mode}": partial(confirmed, mode=mode) for mode in WARM},
}
