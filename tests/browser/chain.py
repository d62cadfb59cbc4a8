"""A stage whose platform puts results on a chain: a real node, and a way to it on which a test may have it refuse."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from confirmations.services import calling
from jobs import interventions
from jobs.extensions import Decision
from jobs.models import Intervention
from tests.anvil import Anvil
from tests.browser.stage import HANDLERS, Stage, beside_a_browser, furnish
from tests.databases import Cluster
from tests.rpc_faults import Refuses
from tests.rpc_proxy import RpcProxy
from tests.rpc_refusals import Error
from tests.settled import QUEUES, settled

UNDERPRICED = Error(-32000, "transaction underpriced: gas tip cap 1000000000, minimum needed 25000000000")
SEND = "eth_sendRawTransaction"


@dataclass
class Chain:
    """The stage, the node, and the way to it."""

    stage: Stage
    node: Anvil
    proxy: RpcProxy

    # -- jobs

    def submit(self, mode: str, number: int = 1) -> list[UUID]:
        """Payments whose results go on chain."""
        return [
            self.stage.submit("payment.capture", {"order_id": f"o-{3000 + n}", "amount": 49.9}, confirm=mode)
            for n in range(number)
        ]

    def confirm(self, mode: str, number: int = 1) -> list[UUID]:
        """The same, and they are confirmed."""
        jobs = self.submit(mode, number)
        for job in jobs:
            self.stage.wait_for(job, "confirmed")
        return jobs

    def stick(self) -> UUID:
        """A payment whose transaction no node takes, however much is offered, so that a person is asked."""
        with self.proxy.having(Refuses(UNDERPRICED, methods=SEND)):
            (job,) = self.submit("single")
            self.wait_for_step(job, "stuck")
        return job

    # -- where they stand

    def step(self, job: UUID) -> str:
        """How the transaction of a job stands; nothing where it has none."""
        found = self.stage.platform.rows(
            "select t.step from confirmations_confirmation c"
            " join confirmations_transaction t on t.id = c.transaction_id where c.id = %s",
            job,
        )
        return str(found[0]["step"]) if found else ""

    def wait_for_step(self, job: UUID, step: str) -> None:
        """Wait until the transaction of a job stands so."""
        self.stage.platform.wait_until(lambda: self.step(job) == step, f"{job}: {step}")

    def transaction_of(self, job: UUID) -> UUID:
        """The transaction of a job."""
        found = self.stage.platform.value("select transaction_id from confirmations_confirmation where id = %s", job)
        assert isinstance(found, UUID)
        return found

    def question_about(self, job: UUID) -> UUID:
        """The intervention about the transaction of a job."""
        found = self.stage.platform.value(
            "select id from jobs_intervention where subject_id = %s and resolved_at is null",
            str(self.transaction_of(job)),
        )
        assert isinstance(found, UUID)
        return found

    def decide(self, job: UUID) -> None:
        """Have what is stuck sent once more, unless somebody has decided already."""
        self.stage.look_again()
        asked = Intervention.objects.filter(subject_id=str(self.transaction_of(job)), resolved_at=None).first()
        if asked is not None:
            interventions.resolve(asked, Decision("retry", "system", "the node takes it now"))

    @property
    def signer(self) -> UUID:
        """Who signs."""
        return UUID(str(self.stage.platform.value("select id from confirmations_signer")))

    @property
    def contract(self) -> UUID:
        """What is read."""
        return UUID(str(self.stage.platform.value("select id from confirmations_contract")))

    # -- blocks

    def hold(self) -> None:
        """No block comes any more, unless it is made."""
        self.node.call("evm_setIntervalMining", 0)

    def go_on(self) -> None:
        """Blocks come by themselves again."""
        self.node.call("evm_setIntervalMining", 1)

    def watch(self) -> None:
        """Have the signers looked at now, and not when the clock says so."""
        self.stage.look_again()
        calling.call("confirmation.watch", {})


@contextlib.contextmanager
def open_chain(
    cluster: Cluster, broker_url: str, directory: Path, *, env: Mapping[str, str] | None = None
) -> Iterator[Chain]:
    """The platform with workers that sign and read. `directory` will have the key; `env` is for the web process."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(beside_a_browser())
        node = stack.enter_context(Anvil(block_seconds=1))
        proxy = stack.enter_context(RpcProxy(node.url))
        way = {"RPC_URL": proxy.url}
        platform = stack.enter_context(settled(cluster, broker_url, node, directory, handlers=HANDLERS, env=way))
        stage = furnish(platform, env=env)
        for queues in (QUEUES[0], ",".join(QUEUES[1:])):
            platform.worker(queues, beside=True)
        yield Chain(stage, node, proxy)
