"""The jobs of `make demo` that go on chain."""

from pydantic import BaseModel, Field

from jobs import Done, Run, handler


class SettleOrder(BaseModel):
    """An order that is paid."""

    order: str = Field(min_length=1, max_length=100)
    amount: float = Field(gt=0)


@handler("order.settle", payload=SettleOrder, example={"order": "A-1001", "amount": 19.9})
def settle_order(job: Run[SettleOrder]) -> Done:
    """Settle an order; with `confirm`, for good."""
    return Done({"order": job.payload.order, "settled": job.payload.amount})
