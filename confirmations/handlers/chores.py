"""What is done by the clock: a reader for each contract, a look at each signer's nonces, and all read once more."""

from uuid import UUID

from pydantic import BaseModel, Field

from confirmations import selectors
from confirmations.errors import NodeError
from confirmations.gateway.chain import Chain, Receipt, chain, second
from confirmations.handlers.capture import final_block, ours
from confirmations.models import Contract, Network, Signer
from confirmations.services import calling, capturing, sending, watching
from confirmations.services.capturing import Range
from confirmations.services.watching import Silent
from jobs import Batch, Done, Retry, Run, Wait, exponential, handler

SWEEP = 2000
"""Blocks that are read once more by one question."""


class Nothing(BaseModel):
    """Nothing to say."""


@handler(
    "confirmation.ensure_capture",
    payload=Nothing,
    retry=Retry(max_attempts=5, backoff=exponential(1, cap=30)),
    expect=1,
    batch=Batch(1),
    public=False,
    confirm="never",
    example={},
)
def ensure_capture(_job: Run[Nothing]) -> Done:
    """See that exactly one reader per contract is at it (job-confirmation-capture-orchestrator)."""
    called = [calling.call_reader(contract_id, turn) for contract_id, turn in capturing.unread()]
    return Done({"called": len(called)})


@handler(
    "confirmation.watch",
    payload=Nothing,
    retry=Retry(max_attempts=5, backoff=exponential(1, cap=30)),
    errors={NodeError: Wait(5)},
    timeout=120,
    batch=Batch(1),
    public=False,
    confirm="never",
    example={},
)
def watch(_job: Run[Nothing]) -> Done:
    """Look at the nonces of all signers: what is silent is explained, what is stuck leaves once more or is raised."""
    for signer in Signer.objects.select_related("network").order_by("id"):
        _watch(signer)
    return Done({})


def _watch(signer: Signer) -> None:
    net = chain(signer.network_id)
    told = net.account(bytes(signer.address))
    watching.account(signer.id, nonce=told.nonce, balance=told.balance)
    head = net.head()
    final = final_block(net, signer.network, head)
    if told.nonce > signer.next_nonce:
        watching.halt(signer, signer.next_nonce)
    found = watching.silent(signer.id, told.nonce)
    hashes = [item for one in found for item in one.hashes]
    receipts = dict(zip(hashes, net.receipts(hashes), strict=True)) if hashes else {}
    for one in found:
        _explain(signer, one, receipts, told.head, final)
    _measure(signer, net)
    if watching.stale(signer.id, min(sending.AGAIN_SECONDS, signer.network.bump_seconds)):
        calling.call_sender(signer.id)


def _measure(signer: Signer, net: Chain) -> None:
    wanted = watching.unmeasured(signer.id)
    told = net.receipts([tx_hash for _, tx_hash in wanted])
    watching.measured(
        [(*one, receipt.gas_used) for one, receipt in zip(wanted, told, strict=True) if receipt is not None]
    )


def _explain(signer: Signer, one: Silent, receipts: dict[bytes, Receipt | None], head: int, final: int) -> None:
    for tx_hash, frees in zip(one.hashes, one.frees, strict=True):
        receipt = receipts[tx_hash]
        if receipt is None:
            continue
        if receipt.block_number <= final and (frees or not receipt.worked):
            end = watching.freed if frees else watching.reverted
            end(signer, one, tx_hash=tx_hash, block_number=receipt.block_number, gas_used=receipt.gas_used)
        return  # in a block: its logs are read, or it is not final
    watching.unexplained(signer, one, head=head, final=final)


class Replay(BaseModel):
    """Which contract; none: all. `blocks`: how many final blocks at most are read once more."""

    contract_id: UUID | None = None
    blocks: int = Field(100_000, ge=1)


@handler(
    "confirmation.replay",
    payload=Replay,
    retry=Retry(max_attempts=5, backoff=exponential(5, cap=300)),
    timeout=1800,
    batch=Batch(1),
    public=False,
    confirm="never",
    example={"blocks": 1000},
)
def replay(job: Run[Replay]) -> Done:
    """Read final blocks once more, and take in what had been missed."""
    contracts = Contract.objects.select_related("network").filter(active=True).order_by("id")
    if job.payload.contract_id is not None:
        contracts = contracts.filter(id=job.payload.contract_id)
    read = missed = 0
    for contract in contracts:
        for blocks, found in _sweep(job, contract):
            read, missed = read + blocks, missed + found
            job.progress(read, read, f"{missed} missed")
    return Done(metrics={"blocks": read, "missed": missed})


def _sweep(job: Run[Replay], contract: Contract) -> list[tuple[int, int]]:
    net = second(contract.network_id)
    network = Network.objects.get(chain_id=contract.network_id)
    final = min(final_block(net, network, net.head()), contract.next_block - 1)
    first = contract.deploy_block if contract.swept_to is None else contract.swept_to + 1
    known = selectors.signers_of(contract.network_id)
    done: list[tuple[int, int]] = []
    while first <= final and not job.cancelled and sum(blocks for blocks, _ in done) < job.payload.blocks:
        last = min(final, first + SWEEP - 1)
        page = net.page(bytes(contract.address), first, last, [last])
        logs, _ = ours(page.logs, known)
        done.append((last - first + 1, capturing.swept(contract.id, Range(first, last, logs, {}))))
        first = last + 1
    return done
