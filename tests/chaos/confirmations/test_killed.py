"""Who signs, who reads and who asks die again and again: every result stands on chain once, and no nonce is left out."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytest_django import DjangoDbBlocker

from confirmations.models import Contract
from confirmations.results import job_bytes
from confirmations.services import calling
from tests.anvil import Anvil
from tests.processes import Platform, Program, Servers
from tests.settled import QUEUES
from tests.settled import settled as on_chain

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

ROUNDS = 8


@pytest.fixture
def node() -> Iterator[Anvil]:
    with Anvil(block_seconds=1) as anvil:
        yield anvil


@pytest.fixture
def settled(servers: Servers, django_db_blocker: DjangoDbBlocker, node: Anvil, tmp_path: Path) -> Iterator[Platform]:
    with django_db_blocker.unblock(), on_chain(servers.cluster, servers.broker_url, node, tmp_path) as platform:
        yield platform


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
    counted = Counter(log["topics"][1] for log in node.logs(contract) if len(log["data"]) == 66)
    own = settled.rows("select id, mode from confirmations_confirmation")
    for row in own:
        expected = 0 if row["mode"] == "anchor" else 1
        assert counted["0x" + job_bytes(row["id"]).hex()] == expected, row
    roots = settled.rows("select root from confirmations_anchor")
    assert all(counted["0x" + bytes(row["root"]).hex()] == 1 for row in roots)
    assert counted.total() == sum(row["mode"] != "anchor" for row in own) + len(roots)
    nonces = [row["nonce"] for row in settled.rows("select nonce from confirmations_transaction order by nonce")]
    assert nonces == list(range(nonces[0], nonces[0] + len(nonces)))
    assert settled.rows("select * from jobs_intervention where resolved_at is null") == []
