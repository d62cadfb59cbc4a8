"""Reading a contract: what its logs say, block after block, from one reader at a time.

The socket only wakes the reader. The truth is what a range of blocks says over HTTP, from a node that has seen its last
block; the first block's parent must be the last one that was read before, or the chain has changed beneath us.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict
from uuid import UUID

from pydantic import BaseModel

from confirmations import registry, selectors
from confirmations.errors import LeaseLost, NodeError, NodeNonsense, NodeRefused
from confirmations.gateway.chain import Chain, Header, Page, Told, chain
from confirmations.gateway.nodes import Behind, of_the_node
from confirmations.gateway.socket import Doorbell
from confirmations.models import Contract, Network
from confirmations.ranges import Limit, Span, hopeless, refusal_of
from confirmations.services import capturing, settling
from confirmations.services.calling import CAPTURE
from confirmations.services.capturing import Range, Seen
from confirmations.states import Finality
from jobs import Batch, Done, Park, Retry, Run, Unique, exponential, handler, slots

SLICE_SECONDS = 45.0
"""So long a reader goes on; then its job makes a pause of no length, so that the worker hears of stops and deploys."""
PIECE_SECONDS = 0.5
BACK = 64
"""Blocks whose hashes are asked for at once on the way back to one that both sides know."""


class Capture(BaseModel):
    """Which contract. `turn`: the number of the lease that this reader follows; for each there is one reader."""

    contract_id: UUID
    turn: int = 0


@handler(
    CAPTURE,
    payload=Capture,
    # It comes back before its lease is over, or others would be called for.
    retry=Retry(max_attempts=1000, backoff=exponential(1, factor=2, cap=20)),
    timeout=300,
    batch=Batch(1),
    unique=Unique(("contract_id", "turn")),
    queue="capture",
    public=False,
    confirm="never",
    example={"contract_id": UUID(int=0), "turn": 0},
)
def capture(job: Run[Capture]) -> Done | Park:
    """Read on as blocks come, and tell jobs what is final (job-confirmation-capture)."""
    contract_id = job.payload.contract_id
    lease = capturing.take(contract_id, job.id)
    if lease is None:
        return Done({"reads": "another"})
    reader = Reader(contract_id, lease)
    until = time.monotonic() + SLICE_SECONDS
    try:
        with Doorbell(reader.address) as bell:
            while not _over(job, until):
                behind = reader.step()
                if bell.told:
                    capturing.pushed(contract_id, *reader.pushed(bell.take()))
                if not behind:
                    _rest(job, bell, reader.patience, until)
    except LeaseLost:
        return Done({"reads": "another"})
    except NodeError as error:
        failed(contract_id, error)
        raise
    if job.cancelled:
        capturing.release(contract_id, lease)
        return Done({"next_block": reader.next_block})
    return Park(0.0)


def _over(job: Run[Capture], until: float) -> bool:
    return time.monotonic() >= until or job.cancelled or slots.stopping()


def _rest(job: Run[Capture], bell: Doorbell, seconds: float, until: float) -> None:
    """Wait for the next block, in pieces: a worker that is asked to end is not to wait for one."""
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0 and not _over(job, until):
        if bell.wait(min(left, PIECE_SECONDS)):
            return


def failed(contract_id: UUID, error: NodeError) -> None:
    """Publish that a contract could not be read."""
    capturing.failed(contract_id, error.code, str(error))


class Reader:
    """Reads one contract, step by step. Raises `NodeError`, `LeaseLost`."""

    def __init__(self, contract_id: UUID, lease: int) -> None:
        self._id = contract_id
        self._lease = lease
        contract = self._contract()
        self.address = bytes(contract.address)
        self._net = chain(contract.network_id)
        self.next_block = contract.next_block
        self.patience = contract.network.block_seconds

    def _contract(self) -> Contract:
        return Contract.objects.select_related("network").get(id=self._id)

    def step(self) -> bool:
        """Read one range, or see that there is none, and settle what is final. True: there is more to read."""
        contract = self._contract()
        capturing.hold(self._id, self._lease)
        head = self._net.head()
        final = final_block(self._net, contract.network, head)
        try:
            if not self._still_there(contract):
                self._go_back(contract)
                return True
        except Behind:  # no node that answers has seen what was read already: nothing follows from that
            return False
        behind = False
        if contract.next_block <= head:
            self._read(contract, head, final)
            self.next_block = self._contract().next_block
            behind = self.next_block <= head
        else:
            capturing.see(contract.network_id, head, final)
        settling.settle(self._id, min(final, self.next_block - 1))
        return behind

    # -- the chain that was read is still the chain

    def _still_there(self, contract: Contract) -> bool:
        last = contract.next_block - 1
        known = selectors.block_hash(self._id, last)
        if known is None:
            return True
        return self._net.header_seen(last).hash == known

    def _go_back(self, contract: Contract) -> None:
        """Find the highest block that both the chain and we know; read on behind it."""
        ancestor = contract.deploy_block - 1
        below = contract.next_block
        while known := selectors.block_hashes(self._id, below, BACK):
            if (match := self._highest(known)) is not None:
                ancestor = match
                break
            below = min(known)
        capturing.rewind(self._id, self._lease, ancestor)
        self.next_block = ancestor + 1

    def _highest(self, known: Mapping[int, bytes]) -> int | None:
        for number in sorted(known, reverse=True):
            header = self._net.header(number)
            if header is not None and header.hash == known[number]:
                return number
        return None

    # -- a range

    def _read(self, contract: Contract, head: int, final: int) -> None:
        span = Span(**contract.span) if contract.span else Span()
        first, last = span.of(contract.next_block, head)
        while True:
            asked = last - first + 1
            # Blocks that may still go are remembered one by one; of those that stay, the last of a range will do.
            numbers = sorted({first, last} | set(range(max(first, final + 1), last + 1)))
            try:
                page = self._net.page(self.address, first, last, numbers)
            except NodeRefused as error:
                if of_the_node(error):
                    raise
                refusal = refusal_of(error.message, error.data)
                if hopeless(asked):
                    raise
                span = span.refused(refusal, asked, time.time())
                last = (
                    min(last - 1, first + span.blocks - 1)
                    if refusal.limit is Limit.RESULTS
                    else span.of(first, head)[1]
                )
                continue
            break
        check(page, first, selectors.block_hash(self._id, first - 1))
        span = span.answered(len(page.logs), asked, time.time())
        logs, strangers = ours(page.logs, selectors.signers_of(contract.network_id))
        hashes = {header.number: header.hash for header in page.headers}
        found = Range(first, last, logs, hashes, strangers, asdict(span))
        capturing.read(self._id, self._lease, found, head=head, final=final)

    def pushed(self, told: list[tuple[Told, bool]]) -> tuple[list[Seen], list[Seen]]:
        """What a socket told: logs of ours, and those that it took back."""
        known = selectors.signers_of(self._contract().network_id)
        came = ours([log for log, removed in told if not removed], known)[0]
        went = ours([log for log, removed in told if removed], known)[0]
        return came, went


def final_block(net: Chain, network: Network, head: int) -> int:
    """The highest block that counts as final on a network; -1: none."""
    if network.finality == Finality.DEPTH:
        return head - network.depth
    header = net.header(network.finality)
    return -1 if header is None else header.number


def check(page: Page, first: int, before: bytes | None) -> None:
    """Nothing, if a page hangs together. Raises `NodeNonsense`: it is of two chains, or of another than ours."""
    headers: dict[int, Header] = {header.number: header for header in page.headers}
    if before is not None and headers[first].parent != before:
        message = f"block {first} does not follow the one that was read before it"
        raise NodeNonsense(message)
    for number, header in headers.items():
        below = headers.get(number - 1)
        if below is not None and header.parent != below.hash:
            message = f"block {number} does not follow the one before it"
            raise NodeNonsense(message)
    for log in page.logs:
        header_of = headers.get(log.block_number)
        if header_of is not None and header_of.hash != log.block_hash:
            message = f"a log of block {log.block_number} is of another block than that"
            raise NodeNonsense(message)


def ours(logs: list[Told], signers: Mapping[bytes, UUID]) -> tuple[list[Seen], int]:
    """Logs whose sender is one of our signers, and how many others there are."""
    seen, strangers = [], 0
    for log in logs:
        sender = registry.sender_of(log.topics, log.data)
        if sender is None or sender not in signers:
            strangers += 1
            continue
        event = "confirmed" if log.topics[0] == registry.JOB_CONFIRMED else "anchored"
        seen.append(Seen(log.block_number, log.block_hash, log.index, log.tx_hash, event, log.topics[1], log.data))
    return seen, strangers
