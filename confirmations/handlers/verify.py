"""A confirmation that came about elsewhere: what a person says is looked up on the chain."""

from uuid import UUID

from pydantic import BaseModel, Field

from confirmations import registry, selectors
from confirmations.errors import NodeError
from confirmations.gateway.chain import chain
from confirmations.handlers.capture import final_block
from confirmations.models import Confirmation
from confirmations.registry import JobConfirmed
from confirmations.services import settling
from jobs import Batch, Done, Reject, Retry, RetryIn, Run, Wait, exponential, handler


class Verify(BaseModel):
    """Which confirmation is said to stand in which transaction, and by whom."""

    confirmation_id: UUID
    transaction: str = Field(pattern=r"^0x[0-9a-f]{64}$")
    actor: str


@handler(
    selectors.VERIFY,
    payload=Verify,
    retry=Retry(max_attempts=100, backoff=exponential(2, cap=60)),
    errors={NodeError: Wait(5)},
    batch=Batch(1),
    public=False,
    confirm="never",
    example={"confirmation_id": UUID(int=0), "transaction": "0x" + 64 * "0", "actor": "user:ada"},
)
def verify(job: Run[Verify]) -> Done | Reject | RetryIn:
    """Confirm a job by a transaction of somebody else, if it says what it should and is final."""
    row = Confirmation.objects.select_related("contract__network").filter(id=job.payload.confirmation_id).first()
    if row is None:
        return Reject("no_such_confirmation")
    net = chain(row.contract.network_id)
    wanted = bytes.fromhex(job.payload.transaction[2:])
    told = net.logs_of(wanted, bytes(row.contract.address))
    if told is None:
        return RetryIn(row.contract.network.block_seconds, "in no block yet")
    block, logs = told
    said = [registry.read(one.topics, one.data) for one in logs]
    fits = [
        one
        for one in said
        if isinstance(one, JobConfirmed) and one.job_id == row.id and one.result_hash == bytes(row.result_hash)
    ]
    if not fits:
        return Reject("not_confirmed_there", "No event of that transaction confirms the job with its result.")
    if block > final_block(net, row.contract.network, net.head()):
        return RetryIn(row.contract.network.block_seconds, "not final yet")
    return Done({"block": block}, within=lambda: settling.confirm_external(row.id, block, wanted))
