"""Whatever happens in whatever order: each job has exactly one event on the chain, and no nonce is left out.

One chain and one database for all examples: each begins where the one before has ended, and all that was ever submitted
is looked at in the end of each.
"""

from collections import Counter
from collections.abc import Iterator
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from confirmations.models import Attempt, Log, Network, Transaction
from confirmations.results import job_bytes
from confirmations.services import sending
from jobs.models import Intervention
from tests.integration.confirmations.conftest import World, forget
from tests.rpc_faults import ReplyLost, RequestLost, too_many
from tests.rpc_proxy import RpcProxy

DEPTH = 14  # no reorganisation of these tests is deeper
SPIKE = 10**10  # wei per gas


class Died(BaseException):
    """The process ends here."""


@pytest.fixture
def proxy(world: World, settings: object) -> Iterator[RpcProxy]:
    """The node, as the platform reaches it."""
    with RpcProxy(world.node.url) as proxy:
        settings.RPC_URLS = [proxy.url]  # type: ignore[attr-defined]
        forget()
        yield proxy


def test_every_job_has_one_event_and_every_nonce_its_use(  # noqa: C901 - the rules of one machine
    world: World, proxy: RpcProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    Network.objects.update(depth=DEPTH, batch_seconds=0, bump_seconds=40)
    ids: list[UUID] = []

    class Machine(RuleBasedStateMachine):
        @rule(number=st.integers(1, 4), mode=st.sampled_from(["single", "batch"]), sent=st.booleans())
        def submit(self, number: int, mode: str, sent: bool) -> None:
            ids.extend(world.submit(number, confirm=mode))
            world.ask()
            if sent:
                world.send_quietly()

        @rule(blocks=st.integers(1, 5), seen=st.booleans())
        def mine(self, blocks: int, seen: bool) -> None:
            world.node.mine(blocks)
            if seen:
                world.read_quietly()

        @rule(depth=st.integers(1, 12))
        def reorganise(self, depth: int) -> None:
            if world.node.head() - world.contract.deploy_block > depth:
                world.node.reorganise(depth)
                world.node.mine()

        @rule()
        def drop_the_pool(self) -> None:
            world.node.call("anvil_dropAllTransactions")

        @rule()
        def raise_the_fees(self) -> None:
            world.node.call("anvil_setNextBlockBaseFeePerGas", hex(SPIKE))

        @rule()
        def send(self) -> None:
            world.send_quietly()

        @rule(step=st.sampled_from(["signed", "answered"]), before=st.booleans())
        def die_while_sending(self, step: str, before: bool) -> None:
            real = getattr(sending, step)

            def dying(*arguments: object) -> None:
                if not before:
                    real(*arguments)
                raise Died

            with monkeypatch.context() as patch:
                patch.setattr(sending, step, dying)
                world.send_quietly(Died)

        @rule(fault=st.sampled_from(["reply", "request", "limit"]))
        def lose(self, fault: str) -> None:
            faults = {"reply": ReplyLost(times=1), "request": RequestLost(times=1), "limit": too_many(None)}
            with proxy.having(faults[fault]):
                world.send_quietly()
            forget()

        @rule()
        def read(self) -> None:
            world.read_quietly()

        @rule()
        def watch(self) -> None:
            world.pass_time(sending.AGAIN_SECONDS + 1)
            world.watch()

        def teardown(self) -> None:
            for _ in range(60):
                if set(world.statuses(ids)) <= {"confirmed"}:
                    break
                world.ask()
                self.watch()
                world.send()
                world.node.mine(4)
                world.read()
            world.node.mine(DEPTH + 1)
            world.read()
            check()

    def check() -> None:
        assert set(world.statuses(ids)) <= {"confirmed"}
        told = Counter(log["topics"][1] for log in world.node.logs(bytes(world.contract.address)))
        assert told == {"0x" + job_bytes(job).hex(): 1 for job in ids}
        nonces = sorted(Transaction.objects.values_list("nonce", flat=True))
        assert nonces == list(range(nonces[0], nonces[0] + len(nonces))) if nonces else True
        assert not Intervention.objects.filter(resolved_at=None).exists()

    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25,
            derandomize=True,  # else some run might take nothing back
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )
    assert len(ids) > 50, "little was submitted"
    assert Attempt.objects.filter(number__gt=1).exists(), "nothing was replaced"
    assert Log.objects.filter(orphaned=True).exists(), "nothing was taken back"
