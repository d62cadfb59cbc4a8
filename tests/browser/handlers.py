"""Handlers of the shop that the browser tests and the screenshots look at."""

import threading
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

from jobs import Batch, Block, Cancel, Done, Reject, Retry, Run, exponential, handler

_NEVER = threading.Event()


class Payment(BaseModel):
    """A payment; its amount decides how it ends."""

    order_id: str
    amount: float = Field(description="More than 1000 is never answered, less than 0 is refused, 0 needs a person.")
    currency: Literal["EUR", "USD"] = "EUR"


@handler(
    "payment.capture",
    payload=Payment,
    retry=Retry(max_attempts=3, backoff=exponential(0.4, factor=2, cap=5)),
    errors={ConnectionError: Retry(max_attempts=3, backoff=exponential(0.6, factor=2, cap=5))},
    batch=Batch(1),
    example={"order_id": "o-1001", "amount": 12.5},
)
def capture(job: Run[Payment]) -> Done | Reject | Block:
    """Capture a payment."""
    job.log("asking the payment provider", order=job.payload.order_id)
    _NEVER.wait(0.05 * job.attempt)
    if job.payload.amount > 1000:
        message = "The payment provider did not answer within 30 s."
        raise TimeoutError(message)
    if job.payload.amount < 0:
        return Reject("negative_amount", "An amount below zero cannot be captured.")
    if job.payload.amount == 0:
        return Block("Nobody knows what to capture.")
    if job.payload.amount == 500 and job.attempt < 3:
        job.log("no answer, the line is down", level="warning")
        message = "connection reset by peer"
        raise ConnectionError(message)
    job.log("captured", amount=job.payload.amount, currency=job.payload.currency)
    return Done({"captured": job.payload.amount, "receipt": f"r-{job.payload.order_id}"}, metrics={"provider_ms": 41.0})


class Report(BaseModel):
    """A report of some pages."""

    customer: str
    pages: int = 3


@handler(
    "report.render",
    payload=Report,
    expect=1,
    batch=Batch(1),
    retry=Retry(max_attempts=3),
    example={"customer": "acme", "pages": 3},
)
def render(job: Run[Report]) -> Done:
    """Render a report."""
    for page in range(1, job.payload.pages + 1):
        _NEVER.wait(0.1)
        job.progress(page, job.payload.pages, f"page {page}")
        job.log("page rendered", page=page)
    return Done({"file": f"reports/{job.payload.customer}.pdf", "pages": job.payload.pages})


@handler("customer.import", payload=Report, expect=1, batch=Batch(1), retry=Retry(max_attempts=3))
def bring_in(job: Run[Report]) -> Done | Cancel:
    """Bring in the records of a customer, until somebody asks to stop."""
    for record in range(1, 100_000):
        if job.cancelled:
            return Cancel("asked to stop")
        job.progress(record % 400, 400, f"record {record}")
        _NEVER.wait(0.1)
    return Done()


class Said(BaseModel):
    """A text that a handler repeats wherever it can."""

    text: str


@handler("text.repeat", payload=Said, retry=Retry(max_attempts=1))
def repeat(job: Run[Said]) -> Done:
    """Put a text into the log, the progress and the error."""
    job.log(job.payload.text, text=job.payload.text)
    job.progress(1, 2, job.payload.text)
    raise ValueError(job.payload.text)


class Invoice(BaseModel):
    """An invoice that a provider sends. `provider`: a file; while it is there, the provider answers."""

    number: int
    provider: str
    customer: str = "acme"


@handler("invoice.send", payload=Invoice, retry=Retry(max_attempts=1))
def send(job: Run[Invoice]) -> Done | Reject:
    """Send an invoice."""
    told = job.payload
    if told.customer == "unknown":
        return Reject("unknown_customer", f"There is no customer {told.number}.")
    if not told.customer:
        raise KeyError("customer")  # noqa: EM101 - a bug
    if not Path(told.provider).exists():
        message = f"No route to 10.1.2.{told.number % 250}:443"
        raise ConnectionRefusedError(message)
    return Done({"sent": told.number})
