"""What the kinds of confirmations find before them: a chain, and work that is half done."""

from collections.abc import Callable
from uuid import UUID

from confirmations import registry, selectors
from confirmations.models import Confirmation
from jobs import services
from jobs.states import PLATFORM
from tests.world import World


def _send(world: World) -> UUID:
    world.submit(3)
    world.ask()
    return world.sender().id


def _ours(world: World, kind: str) -> UUID:
    return services.submit(project_id=PLATFORM, kind=kind, payload={})


def _ensure(world: World) -> UUID:
    return _ours(world, "confirmation.ensure_capture")


def _watch(world: World) -> UUID:
    world.submit(3)
    world.ask()
    world.send()
    return _ours(world, "confirmation.watch")


def _replay(world: World) -> UUID:
    world.submit(3)
    world.settle()
    return _ours(world, "confirmation.replay")


def _verify(world: World) -> UUID:
    (job_id,) = world.submit()
    world.ask()
    asked = Confirmation.objects.get(id=job_id)
    (stranger,) = world.node.call("eth_accounts")
    data = registry.confirm(job_id, bytes(asked.result_hash))
    to = "0x" + bytes(world.contract.address).hex()
    tx_hash = world.node.call("eth_sendTransaction", {"from": stranger, "to": to, "data": "0x" + data.hex()})
    world.node.mine(3)
    said = {"confirmation_id": str(job_id), "transaction": tx_hash, "actor": "user:ada"}
    return services.submit(project_id=PLATFORM, kind=selectors.VERIFY, payload=said)


ON_CHAIN: dict[str, Callable[[World], UUID]] = {
    selectors.SEND: _send,
    selectors.VERIFY: _verify,
    "confirmation.ensure_capture": _ensure,
    "confirmation.watch": _watch,
    "confirmation.replay": _replay,
}
"""By kind: what makes the work, and the job of it. Returns the job's id."""
