"""What results cost on chain: gas, time until they stand there, time to read them, a signature, a proof.

The chain is anvil, started anew for each measurement. Where both sides send, they have the same: blocks of a second,
confirmed at a depth of two, as many transactions in flight, the same library for keys, a funded account each.
"""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from uuid_utils.compat import uuid7

from benchmarks import stage
from confirmations import merkle, registry
from confirmations.results import job_bytes
from jobplatform.supervisor import Stack
from tests.anvil import Anvil

Values = Mapping[str, float]

PEER = "celery_web3"
DEPTH = 2
IN_FLIGHT = 1000
GAS_LIMIT = "60000000"
LOGS, FEW_LOGS = 100_000, 4000
AT_ONCE = registry.MOST_AT_ONCE
CALL_GAS = 16_000_000


@contextmanager
def node(*, block_seconds: float | None = None) -> Iterator[Anvil]:
    """An empty chain. None: its blocks come when they are asked for."""
    with Anvil(block_seconds=block_seconds, options=("--gas-limit", GAS_LIMIT)) as anvil:
        yield anvil


def deploy(anvil: Anvil) -> tuple[str, str]:
    """Put the contract on a chain. Returns its address, and that of the account that may send."""
    (account,) = anvil.call("eth_accounts")
    made = anvil.call("eth_sendTransaction", {"from": account, "data": _hex(registry.bytecode()), "gas": hex(CALL_GAS)})
    anvil.mine()
    contract: str = anvil.call("eth_getTransactionReceipt", made)["contractAddress"]
    return contract, account


def call(anvil: Anvil, contract: str, account: str, data: bytes) -> str:
    """Send a call; returns the hash of its transaction."""
    what = {"from": account, "to": contract, "data": _hex(data), "gas": hex(CALL_GAS)}
    sent: str = anvil.call("eth_sendTransaction", what)
    return sent


def results(number: int) -> list[tuple[UUID, bytes]]:
    """So many jobs, with ids such as jobs have and hashes of results."""
    return [(uuid7(), secrets.token_bytes(32)) for _ in range(number)]


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


# ------------------------------------------------------------------------------------------------ gas
@dataclass(frozen=True)
class Gas:
    """Gas that the chain takes for the result of one job, by mode: 1, 100 and 1,000 jobs in a transaction."""

    side = stage.OURS
    once = True

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement: what stands in the receipts."""
        leaves = [merkle.leaf(job_bytes(job_id), result) for job_id, result in results(1000)]
        calls = {
            "single": (registry.confirm(*results(1)[0]), 1),
            "batch": (registry.confirm_many(results(100)), 100),
            "anchor": (registry.anchor(merkle.tree(leaves).root, 1000), 1000),
        }
        found = {}
        with node() as anvil:
            contract, account = deploy(anvil)
            for mode, (data, jobs) in calls.items():
                sent = call(anvil, contract, account, data)
                anvil.mine()
                receipt = anvil.call("eth_getTransactionReceipt", sent)
                assert receipt["status"] == "0x1", receipt
                found[mode] = int(receipt["gasUsed"], 16) / jobs
        return found


# ------------------------------------------------------------------------------------------------ one process
@dataclass(frozen=True)
class Signing:
    """Signatures a second: EIP-1559 transactions from a call to the bytes that are sent, in one process."""

    side: str
    once = False

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement. The peer's has the backend that it has without further packages."""
        run = on.run(self.side)
        if self.side != stage.OURS:
            run.environment["ECC_BACKEND_CLASS"] = "eth_keys.backends.NativeECCBackend"
        found = run.command("sign", str(int(max(50, (400 if self.side != stage.OURS else 10_000) * seconds / 8))))
        return {"rate": found["jobs"] / found["seconds"]}


@dataclass(frozen=True)
class Replay:
    """Logs a second that are read from a node: by us into PostgreSQL, by the peer into objects of Python."""

    side: str
    once = False

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement, on a chain with that many logs."""
        number = LOGS if full else FEW_LOGS
        run = on.run(self.side)
        with node() as anvil:
            contract, account = deploy(anvil)
            for first in range(0, number, AT_ONCE):
                call(anvil, contract, account, registry.confirm_many(results(AT_ONCE)))
                if first % (50 * AT_ONCE) == 0:
                    anvil.mine()
            while anvil.call("txpool_status")["pending"] != "0x0":
                anvil.mine()
            run.environment |= {"RPC_URL": anvil.url, "BENCH_CONTRACT": contract, "BENCH_ACCOUNT": account}
            found = run.command("replay", str(number))
        assert found["jobs"] == number, found
        return {"rate": found["jobs"] / found["seconds"]}


@dataclass(frozen=True)
class Proof:
    """Milliseconds of processor time for the proof of one job among the 10,000 leaves of an anchor."""

    side = stage.OURS
    once = True

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement: the whole request, from a platform whose anchor is final."""
        run = on.run(self.side)
        with node(block_seconds=0.2) as anvil, platform(run, anvil):
            run.command("confirmed_anchor", "10000" if full else "500")
            found = run.command("proof", "200" if full else "20")
        return {"cpu": found["cpu"]}


# ------------------------------------------------------------------------------------------------ to the end
@contextmanager
def platform(run: stage.Run, anvil: Anvil) -> Iterator[None]:
    """All processes of ours, with a network, a contract and a signer on this chain."""
    keys = Path(run.directory) / "keys"
    keys.mkdir(mode=0o700)
    run.environment |= {
        "RPC_URL": anvil.url,
        "RPC_WS_URL": anvil.ws_url,
        "KEYSTORE_DIR": str(keys),
        "KEYSTORE_PASSPHRASE": secrets.token_urlsafe(20),
    }
    run.command("found")
    with Stack(run.directory, quiet=True, environ=run.environment):
        yield


@dataclass(frozen=True)
class Confirming:
    """Jobs a second from the queue to a final confirmation on chain, one signer, blocks of a second."""

    side: str
    mode: str = "single"
    once = False

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement; a look at the chain itself must find each job there once."""
        run = on.run(self.side)
        jobs = str(int(SIZES[self.side, self.mode] * seconds / 8))
        with node(block_seconds=1) as anvil:
            if self.side == stage.OURS:
                with platform(run, anvil):
                    found = run.command(f"confirmed_{self.mode}", jobs)
            else:
                contract, account = deploy(anvil)
                run.environment |= {"RPC_URL": anvil.url, "BENCH_CONTRACT": contract, "BENCH_ACCOUNT": account}
                found = run.command("confirmed", jobs)
            counted = _counted(anvil)
        assert counted == {1: found["jobs"] + found["warm"]}, counted
        return {"rate": found["jobs"] / found["seconds"]}


SIZES = {(PEER, "single"): 4000, (stage.OURS, "single"): 10_000, (stage.OURS, "batch"): 60_000}
"""Jobs of a measurement of eight seconds or more."""


def _counted(anvil: Anvil) -> dict[int, int]:
    """How many jobs the chain has once, twice ...: as anybody sees it who asks the node and nobody else."""
    times: dict[str, int] = {}
    for number in range(anvil.head() + 1):
        for log in anvil.call("eth_getLogs", {"fromBlock": hex(number), "toBlock": hex(number)}):
            if log["topics"][0] == _hex(registry.JOB_CONFIRMED):
                times[log["topics"][1]] = times.get(log["topics"][1], 0) + 1
    counted: dict[int, int] = {}
    for found in times.values():
        counted[found] = counted.get(found, 0) + 1
    return counted
