"""Whatever happens in whatever order: each job has exactly one event on the chain, and no nonce is left out.

One chain and one database for all examples: each begins where the one before has ended, and all that was ever submitted
is looked at in the end of each.
"""

from collections import Counter
from typing import ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from confirmations.models import Attempt, Confirmation, Log, Network, Transaction
from confirmations.results import job_bytes
from confirmations.services import sending
from jobs.models import Intervention, Job
from tests.rpc_faults import ReplyLost, RequestLost, too_many
from tests.rpc_proxy import RpcProxy
from tests.world import World, forget

DEPTH = 14  # no reorganisation of these tests is deeper
SPIKE = 10**10  # wei per gas


class Died(BaseException):
    """The process ends here."""


class Machine(RuleBasedStateMachine):
    """What may happen. The test sets the attributes of the class: one world for all examples."""

    world: World
    proxy: RpcProxy
    patch: pytest.MonkeyPatch
    ids: ClassVar[list[UUID]] = []

    @initialize()
    def begin(self) -> None:
        """With blocks that are read, and gone."""
        self.submit(4, "single", sent=True)
        self.mine(2, seen=True)
        self.reorganise(2)

    @rule(number=st.integers(1, 4), mode=st.sampled_from(["single", "batch"]), sent=st.booleans())
    def submit(self, number: int, mode: str, sent: bool) -> None:
        self.ids.extend(self.world.submit(number, confirm=mode))
        self.world.ask()
        if sent:
            self.world.send_quietly()

    @rule(blocks=st.integers(1, 5), seen=st.booleans())
    def mine(self, blocks: int, seen: bool) -> None:
        self.world.node.mine(blocks)
        if seen:
            self.world.read_quietly()

    @rule(depth=st.integers(1, 12))
    def reorganise(self, depth: int) -> None:
        if self.world.node.head() - self.world.contract.deploy_block > depth:
            self.world.node.reorganise(depth)
            self.world.node.mine()

    @rule()
    def drop_the_pool(self) -> None:
        self.world.node.call("anvil_dropAllTransactions")

    @rule()
    def raise_the_fees(self) -> None:
        self.world.node.call("anvil_setNextBlockBaseFeePerGas", hex(SPIKE))

    @rule()
    def send(self) -> None:
        self.world.send_quietly()

    @rule(step=st.sampled_from(["signed", "answered"]), before=st.booleans())
    def die_while_sending(self, step: str, before: bool) -> None:
        real = getattr(sending, step)

        def dying(*arguments: object) -> None:
            if not before:
                real(*arguments)
            raise Died

        with self.patch.context() as patch:
            patch.setattr(sending, step, dying)
            self.world.send_quietly(Died)

    @rule(fault=st.sampled_from(["reply", "request", "limit"]))
    def lose(self, fault: str) -> None:
        faults = {"reply": ReplyLost(times=1), "request": RequestLost(times=1), "limit": too_many(None)}
        with self.proxy.having(faults[fault]):
            self.world.send_quietly()
        forget()

    @rule()
    def read(self) -> None:
        self.world.read_quietly()

    @rule()
    def watch(self) -> None:
        self.world.pass_time(sending.AGAIN_SECONDS + 1)
        self.world.watch()

    def teardown(self) -> None:
        for _ in range(60):
            if set(self.world.statuses(self.ids)) <= {"confirmed"}:
                break
            self.world.ask()
            self.watch()
            self.world.send()
            self.world.node.mine(4)
            self.world.read()
        self.world.node.mine(DEPTH + 1)
        self.world.read()
        self.check()

    def check(self) -> None:
        assert set(self.world.statuses(self.ids)) <= {"confirmed"}, self.story()
        told = Counter(log["topics"][1] for log in self.world.node.logs(bytes(self.world.contract.address)))
        assert told == {"0x" + job_bytes(job).hex(): 1 for job in self.ids}
        nonces = sorted(Transaction.objects.values_list("nonce", flat=True))
        assert nonces == list(range(nonces[0], nonces[0] + len(nonces))) if nonces else True
        assert not Intervention.objects.filter(resolved_at=None).exists()

    def story(self) -> str:
        open_ = Transaction.objects.exclude(step="final").values("nonce", "step", "reason", "offer", "frees", "count")
        tries = Attempt.objects.exclude(transaction__step="final").values(
            "number", "state", "fee", "reply", "said", "sends"
        )
        jobs = (
            Job.objects.filter(kind="confirmation.send").exclude(status="processed").values("status", "error", "gate")
        )
        left = Confirmation.objects.exclude(standing="confirmed").values("standing", "mode")
        return f"{self.world.signer.__dict__}\n{list(open_)}\n{list(tries)}\n{list(jobs)}\n{list(left)}"


def test_every_job_has_one_event_and_every_nonce_its_use(
    world: World, proxy: RpcProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    Network.objects.update(depth=DEPTH, batch_seconds=0, bump_seconds=40)
    Machine.world, Machine.proxy, Machine.patch, Machine.ids = world, proxy, monkeypatch, []

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=10,  # anvil forgets what it knew when it takes back blocks of a chain that is long
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
            phases=[Phase.generate],  # what is found is not tried once more: the world is another one by then
        ),
    )

    assert len(Machine.ids) > 50, "little was submitted"
    assert Attempt.objects.filter(number__gt=1).exists(), "nothing was replaced"
    assert Log.objects.filter(orphaned=True).exists(), "nothing was taken back"
