"""Who signs, who reads and who asks die again and again: every result stands on chain once, and no nonce is left out."""

import random
import secrets
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from confirmations import keys
from confirmations.gateway import chain as gateway
from confirmations.models import Contract, Network
from confirmations.results import job_bytes
from confirmations.services import calling
from jobs import extensions
from jobs.states import Stage
from tests.anvil import Anvil
from tests.processes import Platform, Program, Servers

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

PASSPHRASE = "open sesame"
ROUNDS = 8
QUEUES = ("default,events", "signing", "capture")


@pytest.fixture
def node() -> Iterator[Anvil]:
    with Anvil(block_seconds=1) as anvil:
        yield anvil


@pytest.fixture
def settled(
    servers: Servers, django_db_blocker: pytest.FixtureRequest, node: Anvil, tmp_path: Path, settings: object
) -> Iterator[Platform]:
    """A platform with a chain: the contract is deployed, the signer has funds; its processes are for the test."""
    tmp_path.chmod(0o700)
    keys.write_keystore(tmp_path / "signer.json", secrets.token_bytes(32), PASSPHRASE.encode())
    env = {
        "RPC_URL": node.url,
        "RPC_WS_URL": node.ws_url,
        "KEYSTORE_DIR": str(tmp_path),
        "KEYSTORE_PASSPHRASE": PASSPHRASE,
    }
    settings.RPC_URLS = [node.url]  # type: ignore[attr-defined]
    settings.KEYSTORE_DIR = str(tmp_path)  # type: ignore[attr-defined]
    settings.KEYSTORE_PASSPHRASE = PASSPHRASE  # type: ignore[attr-defined]
    gateway.chain.cache_clear()
    extensions.stages.register(Stage.CONFIRM, lambda _project, _job: None)
    with django_db_blocker.unblock(), Platform(servers.cluster, servers.broker_url, env=env) as platform:  # type: ignore[attr-defined]
        options = {"finality": "depth", "depth": 2, "block_seconds": 1.0, "batch_seconds": 1.0, "anchor_seconds": 1.0}
        call_command("deploy_registry", fund=True, allow=True, verbosity=0, **options)
        Network.objects.update(bump_seconds=20)
        yield platform
    del extensions.stages._things[Stage.CONFIRM]
    gateway.chain.cache_clear()


def another_block(platform: Platform, node: Anvil) -> None:
    head = node.head()
    platform.wait_until(lambda: node.head() > head, "a block")


def test_whoever_dies_each_result_stands_on_chain_once(settled: Platform, node: Anvil) -> None:
    dice = random.Random(1)
    settled.relay()
    running: dict[str, Program] = {queue: settled.worker(queue, concurrency=2, beside=True) for queue in QUEUES}
    ids = []
    for _ in range(ROUNDS):
        for mode in ("single", "batch", "anchor"):
            ids += settled.submit("test.silent", dice.randint(1, 6), confirm=mode)
        another_block(settled, node)
        queue = dice.choice(QUEUES)
        running[queue].kill()
        running[queue] = settled.worker(queue, concurrency=2, beside=True)
        calling.call("confirmation.watch", {})
        calling.call("confirmation.ensure_capture", {})

    def ended() -> bool:
        calling.call("confirmation.watch", {})
        calling.call("confirmation.ensure_capture", {})
        another_block(settled, node)
        return settled.by_status(ids) == {"confirmed": len(ids)}

    settled.wait_until(ended, "all to be confirmed", seconds=120)
    contract = bytes(Contract.objects.get().address)
    on_chain = Counter(log["topics"][1] for log in node.logs(contract) if len(log["data"]) == 66)
    own = settled.rows("select id, mode from confirmations_confirmation")
    for row in own:
        expected = 0 if row["mode"] == "anchor" else 1
        assert on_chain["0x" + job_bytes(row["id"]).hex()] == expected, row
    roots = settled.rows("select root from confirmations_anchor")
    assert all(on_chain["0x" + bytes(row["root"]).hex()] == 1 for row in roots)
    assert on_chain.total() == sum(row["mode"] != "anchor" for row in own) + len(roots)
    nonces = [row["nonce"] for row in settled.rows("select nonce from confirmations_transaction order by nonce")]
    assert nonces == list(range(nonces[0], nonces[0] + len(nonces)))
    assert settled.rows("select * from jobs_intervention where resolved_at is null") == []
