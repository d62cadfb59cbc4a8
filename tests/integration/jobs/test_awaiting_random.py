"""Whatever happens in whatever order: a job that always waits is woken by each event that comes after its creation, once.

What came is known by the test itself; nothing of what the engine remembers is asked for it.
"""

import random
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction

from events.models import Consumer, Event
from events.services import report
from jobs import Park, Retry, Run, handler, registry, services, workers
from jobs.models import Awaited, Job
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.test_awaiting import elsewhere
from tests.integration.jobs.waiting_kinds import PAID, Order, read, submit, waiting

__all__ = ["waiting"]

pytestmark = [pytest.mark.usefixtures("committed_alone", "waiting", "following")]

KIND = "order.follow"
SUBJECTS = ("a", "b")
STEPS = 60


@pytest.fixture
def following(waiting: None) -> None:
    """A kind that waits for ever."""

    @handler(KIND, payload=Order, retry=Retry(max_attempts=100))
    def follow(job: Run[Order]) -> Park:
        return Park(3600, event=PAID, subject=job.payload.subject)


class History:
    """What happened, in the order in which it did."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.expected: dict[UUID, tuple[str, list[int]]] = {}
        self.number = 0

    # -- things that may happen

    def create(self) -> None:
        subject = self.chance.choice(SUBJECTS)
        self.expected[submit(KIND, subject=subject)] = subject, []

    def report(self, subject: str = "") -> None:
        subject = subject or self.chance.choice(SUBJECTS)
        self.number += 1
        report(project_id=PROJECT, event_type=PAID, subject=subject, data={"number": self.number})
        for awaited, numbers in self.expected.values():
            if awaited == subject:
                numbers.append(self.number)

    def run(self) -> None:
        worker = Worker(registry.get(KIND), "one")
        worker.run(worker.claim())

    def late(self) -> None:
        """A worker is thought dead, somebody else runs its job, and then it commits all the same."""
        worker = Worker(registry.get(KIND), "late")
        jobs = worker.claim()
        for job in jobs:
            workers.rescue(worker.id, started=(job.id, job.claim_no), seen=True)
        self.run()
        worker.run(jobs)

    def time_out(self) -> None:
        for job in Job.objects.filter(status="parked"):
            if self.chance.random() < 0.3:
                Job.objects.filter(id=job.id).update(due_at="2020-01-01T00:00Z")
        services.wake_parked()

    def cancel_and_retry(self) -> None:
        job = self.chance.choice(list(self.expected))
        services.cancel(project_id=PROJECT, job_id=job, actor="test")
        services.retry(project_id=PROJECT, job_id=job, actor="test")

    def fall_back(self) -> None:
        """The consumer reads a part of the log again."""
        row = Consumer.objects.get(name="awaited")
        places = list(Event.objects.filter(position__lt=row.position).values_list("position", "id")[:30])
        if places:
            position, last_id = self.chance.choice(places)
            Consumer.objects.filter(name="awaited").update(position=position, last_id=last_id)

    def together(self) -> None:
        """Something is not committed yet while others go on."""
        first, second = self.chance.sample(SUBJECTS, 2)
        others: list[Callable[[], Any]] = [lambda: self.report(second), read, self.create]
        with transaction.atomic():
            if self.chance.random() < 0.5:
                self.run()
            else:
                self.report(first)
            for _ in range(self.chance.randrange(1, 4)):
                elsewhere(self.chance.choice(others))

    def step(self) -> None:
        acts: list[Callable[[], Any]] = [
            self.create,
            self.report,
            self.report,
            self.run,
            self.run,
            self.late,
            self.time_out,
        ]
        acts += [self.cancel_and_retry, self.fall_back, read, read, self.together, self.together]
        self.chance.choice(acts)()

    # -- what must be true at the end

    def settle(self) -> None:
        """Let everything run that can."""
        for _ in range(10_000):
            if not read() and not Job.objects.filter(status="queued").exists():
                return
            while Job.objects.filter(status="queued").exists():
                self.run()
        pytest.fail("It never comes to rest.")


def woken_by(job: UUID) -> list[int]:
    """The numbers of the events that woke a job, in that order."""
    told = Event.objects.filter(subject_id=job, type="job.woken", data__has_key="event").order_by("seq")
    events = {f"{event.position}-{event.id}": event.data for event in Event.objects.filter(type=PAID)}
    return [events[row.data["event"]["id"]]["data"]["number"] for row in told]


@pytest.mark.parametrize("seed", range(12))
def test_a_job_that_always_waits_is_woken_by_each_event_once(seed: int) -> None:
    history = History(random.Random(seed))
    history.create()
    for _ in range(STEPS):
        history.step()
    history.settle()

    assert {job: woken_by(job) for job in history.expected} == {
        job: numbers for job, (_, numbers) in history.expected.items()
    }
    assert set(Awaited.objects.values_list("job_id", flat=True)) == set(history.expected)
    assert history.number > 3
