"""Whoever sends or reads dies at any step, several times in a row: one event per job, no nonce left out, nobody asked."""

import contextlib
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from confirmations.errors import NodeUnreachable
from confirmations.gateway.chain import Chain
from confirmations.gateway.node import Node
from confirmations.handlers import send
from confirmations.models import Attempt, Network, Transaction
from confirmations.services import capturing, sending, settling
from confirmations.states import Step
from jobs.models import Intervention
from tests.integration.jobs.conftest import events
from tests.rpc_faults import ReplyLost
from tests.rpc_proxy import RpcProxy
from tests.world import World, forget

DEATHS = 3
BEFORE, AFTER = False, True
# Where a process dies: before or after a real step. What comes before one is mostly what comes after the one before it.
MOMENTS: dict[str, tuple[Any, str, bool]] = {
    "nothing was done yet": (sending, "reserve", BEFORE),
    "within the commit of a nonce": (sending, "_assign", AFTER),
    "a nonce was given away": (sending, "reserve", AFTER),
    "signed, and the bytes are not kept": (sending, "signed", BEFORE),
    "the bytes are kept, and none has left": (sending, "signed", AFTER),
    "a node has replied, and nobody knows": (sending, "answered", BEFORE),
    "what a node replied is kept": (sending, "answered", AFTER),
    "the job that sends has not ended": (send, "_come_back", AFTER),
    "nothing was read yet": (Chain, "page", BEFORE),
    "a range was read, and is not kept": (capturing, "read", BEFORE),
    "within the commit of a range": (capturing, "_ledger", AFTER),
    "a range is kept, and nothing is settled": (capturing, "read", AFTER),
    "within the commit of what is final": (settling, "_tell", BEFORE),
    "jobs were told, and that is not committed": (settling, "_jobs", AFTER),
    "jobs were told": (settling, "settle", AFTER),
}


class Died(BaseException):
    """The end of a process."""


def mortal(real: Callable[..., Any], *, after: bool, deaths: list[str]) -> Callable[..., Any]:
    """The same, at which a process dies so many times: before it, or when it has been done."""

    def step(*args: Any, **options: Any) -> Any:
        if len(deaths) == DEATHS:
            return real(*args, **options)
        if after:
            real(*args, **options)
        deaths.append(real.__name__)
        raise Died

    return step


def live(world: World) -> None:
    """Let everybody do what there is to do, as far as they live; then all of them are started anew."""
    world.ask()
    world.send_quietly(Died)
    world.node.mine()
    with contextlib.suppress(Died):
        world.read_quietly()
    forget()
    world.reopen()
    world.pass_time(sending.AGAIN_SECONDS + 1)
    world.watch_quietly()


def work(world: World) -> list[UUID]:
    return world.submit(2) + world.submit(3, confirm="batch")


def confirmed_once(world: World, ids: list[UUID]) -> None:
    """Each job has one event on the chain and one in the log, every nonce its use, and nobody was asked anything."""
    assert set(world.statuses(ids)) == {"confirmed"}
    told = [log["topics"][1] for log in world.node.logs(bytes(world.contract.address))]
    assert len(told) == len(set(told)) == len(ids)
    assert len(events("job.confirmed")) == len(ids)
    nonces = list(Transaction.objects.order_by("nonce").values_list("nonce", flat=True))
    assert nonces == list(range(nonces[0], world.node.nonce(bytes(world.signer.address))))
    assert world.signer.next_nonce == nonces[-1] + 1
    assert not Intervention.objects.exists()


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_process_dies_at_a_step(world: World, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    place, name, after = MOMENTS[moment]
    deaths: list[str] = []
    monkeypatch.setattr(place, name, mortal(getattr(place, name), after=after, deaths=deaths))

    ids = []
    for _ in range(DEATHS):
        ids += work(world)
        live(world)
    for _ in range(DEATHS + 2):
        live(world)

    assert deaths == [name] * DEATHS
    confirmed_once(world, ids)


def test_a_process_dies_when_its_bytes_have_left_and_before_it_hears_a_reply(
    world: World, proxy: RpcProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Node._post

    def post(node: Node, body: bytes) -> Any:
        try:
            return real(node, body)
        except NodeUnreachable:
            raise Died from None

    monkeypatch.setattr(Node, "_post", post)
    lost = proxy.on(ReplyLost(methods="eth_sendRawTransaction", times=DEATHS))
    ids = []
    for _ in range(DEATHS):
        ids += work(world)
        live(world)
    for _ in range(3):
        live(world)

    assert lost.hits == DEATHS
    assert not Attempt.objects.filter(number__gt=1).exists()  # the same bytes, again and again
    confirmed_once(world, ids)


@pytest.mark.parametrize(
    ("name", "after"), [("signed", AFTER), ("answered", BEFORE)], ids=["it has not left", "nobody heard of it"]
)
def test_a_process_dies_when_it_has_signed_a_higher_offer(
    world: World, monkeypatch: pytest.MonkeyPatch, name: str, *, after: bool
) -> None:
    ids = world.submit(2)
    world.ask()
    world.send()
    world.node.call("anvil_setNextBlockBaseFeePerGas", hex(50 * 10**9))
    world.node.mine(2)
    world.pass_time(61)
    world.watch()
    with monkeypatch.context() as lost:
        deaths: list[str] = []
        lost.setattr(sending, name, mortal(getattr(sending, name), after=after, deaths=deaths))
        world.send_quietly(Died)
    assert (deaths, Attempt.objects.filter(number=2).count()) == ([name], len(ids))
    world.node.call("anvil_dropAllTransactions")

    for _ in range(3):
        live(world)

    assert not Attempt.objects.filter(number__gt=2).exists()
    confirmed_once(world, ids)


@pytest.mark.parametrize("after", [BEFORE, AFTER], ids=["before", "after"])
def test_a_reader_dies_as_it_takes_blocks_back(world: World, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
    Network.objects.update(depth=4)
    deaths: list[str] = []
    ids = work(world)
    world.pass_time(sending.AGAIN_SECONDS)
    live(world)
    assert set(Transaction.objects.values_list("step", flat=True)) == {Step.INCLUDED}

    monkeypatch.setattr(capturing, "rewind", mortal(capturing.rewind, after=after, deaths=deaths))
    for _ in range(DEATHS):
        world.node.reorganise(1)
        live(world)  # who reads dies as it goes back; the others send once more
        live(world)
    for _ in range(DEATHS + 2):
        live(world)

    assert deaths == ["rewind"] * DEATHS
    assert events("tx.retracted")
    confirmed_once(world, ids)
