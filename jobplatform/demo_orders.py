"""The jobs of `make demo`: orders whose results go on chain, and invoices that a provider sends while it is up."""

import os
from pathlib import Path

from pydantic import BaseModel, Field

from jobs import Done, Retry, Run, handler

DOWN = "DEMO_PROVIDER_DOWN"
"""The environment variable that names a file; while that is there, the provider is down."""


class SettleOrder(BaseModel):
    """An order that is paid."""

    order: str = Field(min_length=1, max_length=100)
    amount: float = Field(gt=0)


@handler("order.settle", payload=SettleOrder, example={"order": "A-1001", "amount": 19.9})
def settle_order(job: Run[SettleOrder]) -> Done:
    """Settle an order; with `confirm`, for good."""
    return Done({"order": job.payload.order, "settled": job.payload.amount})


class SendInvoice(BaseModel):
    """An invoice."""

    number: int = Field(ge=1)


@handler("invoice.send", payload=SendInvoice, retry=Retry(max_attempts=1), example={"number": 1}, confirm="never")
def send_invoice(job: Run[SendInvoice]) -> Done:
    """Have the provider send an invoice."""
    if Path(os.environ.get(DOWN, "")).is_file():
        message = f"No route to 10.0.0.{job.payload.number}:443"
        raise ConnectionRefusedError(message)
    return Done({"sent": job.payload.number})
