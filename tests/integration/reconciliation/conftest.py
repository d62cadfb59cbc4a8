"""Payments that die of what a test wants them to, counted and redriven by the platform's own steps in this process."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from events import consumers, log
from events.models import Consumer
from jobplatform import processes
from jobs import Done, Reject, Retry, Run, Unique, handler, registry, services, shelves
from jobs.bell import bell
from jobs.models import Job
from jobs.services import JobRequest
from reconciliation.models import Redrive
from reconciliation.services import driving, plans
from reconciliation.services.plans import Plan
from tests.contracts.deliveries import PROJECT, Worker
from tests.smtp import Mailbox


class Pay(BaseModel):
    """How it ends: well, or with this error. `number`: what else is in its payload."""

    error: str = ""
    message: str = ""
    number: int = 0


class ProviderDown(Exception):
    """The provider does not answer."""

    code = "provider_down"


class Shop:
    """What happens in a test, step by step."""

    def __init__(self) -> None:
        self.up = False
        """Whether what failed would go well now."""

    def submit(self, number: int = 1, *, project_id: UUID = PROJECT, kind: str = "payment.make", **payload: Any) -> Any:
        """Create payments, which are due."""
        requests = [JobRequest(kind, {"number": n, **payload}, metadata={"order": str(n % 2)}) for n in range(number)]
        return [job.id for job in services.submit_many(project_id=project_id, requests=requests)]

    def work(self, kind: str = "payment.make") -> int:
        """Run all that are due. Returns how many."""
        worker, done = Worker(registry.get(kind), "one"), 0
        while claimed := worker.claim():
            worker.run(list(claimed))
            done += len(claimed)
        return done

    def dead(self, number: int = 1, **options: Any) -> list[UUID]:
        """Payments that have failed, and are counted."""
        ids: list[UUID] = self.submit(number, **{"error": "down", **options})
        self.work(options.get("kind", "payment.make"))
        self.count()
        return ids

    @staticmethod
    def count() -> None:
        """Have the dead letters counted, up to what has happened."""
        mine = Consumer.objects.filter(name="dead_letters")

        def caught_up() -> bool:
            mine.update(retry_at=None)
            while consumers.run("dead_letters"):
                mine.update(retry_at=None)
            return "dead_letters" not in consumers.waiting()

        assert processes.wait_until(caught_up, seconds=20), mine.get().error

    @staticmethod
    def plan(*, project_id: UUID | None = PROJECT, **options: Any) -> Redrive:
        """Store a redrive."""
        filter_ = options.pop("filter", {"errors_allowed_to_retry": ["provider_down"]})
        return plans.begin(
            project_id=project_id, plan=Plan(filter=filter_, **options), actor="tests", reason="it is up again"
        )

    @staticmethod
    def drive(row: Redrive, most: int = 200) -> Redrive:
        """Do steps until the next one is wanted later, or never."""
        for _ in range(most):
            wait = driving.step(row.id)
            if wait is None or wait > 0:
                break
        row.refresh_from_db()
        return row

    @staticmethod
    def statuses(ids: Sequence[UUID]) -> list[str]:
        """How jobs stand."""
        found = dict(Job.objects.filter(id__in=ids).values_list("id", "status"))
        return [found[job_id] for job_id in ids]


@pytest.fixture
def payments() -> Iterator[Callable[[], Shop]]:
    """Kinds of these tests alone; makes the shop that says how they end."""
    before = dict(registry._kinds)
    shop = Shop()

    def pay(job: Run[Pay]) -> Done | Reject:
        told = job.payload
        if told.error == "down" and not shop.up:
            raise ProviderDown(told.message or f"No answer from 10.0.0.{told.number} for order {job.id}")
        if told.error == "reject":
            return Reject("card_expired", f"The card {told.number} has expired.")
        if told.error == "bug":
            raise KeyError(told.message)
        return Done({"paid": told.number})

    handler("payment.make", payload=Pay, retry=Retry(max_attempts=1))(pay)
    handler("payment.refund", payload=Pay, retry=Retry(max_attempts=1))(pay)
    handler("payment.wire", payload=Pay, retry=Retry.never())(pay)
    handler("payment.once", payload=Pay, retry=Retry(max_attempts=1), unique=Unique(by=("number",)))(pay)
    shelves.forget()
    yield lambda: shop
    bell.hang_up()
    shelves.forget()
    registry._kinds.clear()
    registry._kinds.update(before)


@pytest.fixture
def shop(committed_alone: None, payments: Callable[[], Shop]) -> Shop:
    """A platform on which transactions are committed, and whose counter starts at what is there."""
    consumers.ensure_rows()
    return payments()


@pytest.fixture
def pass_time() -> Iterator[Callable[[float], None]]:
    """Move the platform's clock on, by so many seconds each time."""
    ahead = 0.0

    def move(seconds: float) -> None:
        nonlocal ahead
        ahead += seconds
        log.move_clock(dt.timedelta(seconds=ahead))

    yield move
    log.move_clock(dt.timedelta())


@pytest.fixture
def smtp() -> Iterator[Mailbox]:
    """A server of mail."""
    mailbox = Mailbox()
    mailbox.start()
    try:
        yield mailbox
    finally:
        mailbox.stop()
