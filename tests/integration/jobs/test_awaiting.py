"""Jobs that are parked until an event: whenever it comes, and whoever dies or is late, it wakes each of them once."""

import datetime as dt
import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID

import orjson
import pytest
from django.db import connection, transaction

from events import consumers, log
from events.models import Consumer, Event
from events.services import report
from jobs import awaiting, registry, services, workers
from jobs.models import Awaited, Job
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.waiting_kinds import PAID, output, parked, read, run, status, submit, waiting

__all__ = ["waiting"]

pytestmark = pytest.mark.usefixtures("committed_alone", "waiting")

ELSEWHERE = UUID(int=8)


def pay(subject: str = "order-7", *, project_id: UUID = PROJECT, event_type: str = PAID, **data: Any) -> None:
    report(project_id=project_id, event_type=event_type, subject=subject, data=data)


def elsewhere(act: Callable[[], Any]) -> None:
    """Do something on another connection, and wait for it."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - told to who waits
            errors.append(error)
        finally:
            connection.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    assert errors == []


def events_of(job: UUID) -> list[str]:
    return list(Event.objects.filter(subject_id=job).order_by("seq").values_list("type", flat=True))


# ------------------------------------------------------------------------------------------------ an event wakes a job
@pytest.mark.parametrize("kind", ["order.ship", "order.ask"])
def test_an_event_wakes_the_job_that_waits_and_is_what_its_handler_reads(kind: str) -> None:
    job = parked(kind)
    read()
    assert status(job) == "parked"

    pay(amount=12.5)
    read()
    assert status(job) == "queued"
    assert not Awaited.objects.exists()
    run(kind)

    assert output(job) == {"type": PAID, "subject": "order-7", "data": {"amount": 12.5}}
    assert events_of(job) == ["job.queued", "job.parked", "job.woken", "job.processed"]
    assert Job.objects.get(id=job).attempt == 1


def test_what_woke_a_job_is_there_for_all_its_attempts() -> None:
    job = parked(failures=2)
    pay(amount=1)
    read()
    for _ in range(3):
        run()

    assert output(job)["data"] == {"amount": 1}
    assert Job.objects.get(id=job).attempt == 3


def test_an_event_of_another_type_or_subject_or_project_wakes_nobody() -> None:
    job = parked()
    pay("order-8")
    pay("")
    pay(event_type="payment.refused")
    pay(project_id=ELSEWHERE)
    read()

    assert status(job) == "parked"


def test_an_event_without_a_subject_wakes_who_names_none() -> None:
    job, other = parked(subject=""), parked(subject="order-7")
    pay("")
    read()

    assert [status(job), status(other)] == ["queued", "parked"]


def test_a_job_waits_for_the_end_of_another() -> None:
    other = submit(subject="something")
    run()
    job = parked(event="job.cancelled", subject=str(other))
    services.cancel(project_id=PROJECT, job_id=other, actor="test", reason="not needed")
    read()
    run()

    assert output(job)["type"] == "job.cancelled"
    assert output(job)["data"]["reason"] == "not needed"


def test_more_jobs_than_one_transaction_wakes_are_all_woken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaiting, "MOST", 2)
    jobs = [parked() for _ in range(5)]
    pay()
    read()

    assert [status(job) for job in jobs] == ["queued"] * 5
    assert [events_of(job).count("job.woken") for job in jobs] == [1] * 5


def test_a_job_in_its_lane_wakes_and_its_follower_waits_for_it() -> None:
    first, second = (
        job.id
        for job in services.submit_many(
            project_id=PROJECT, requests=[services.JobRequest("order.ship", {}, lane="a") for _ in range(2)]
        )
    )
    run()
    run()
    assert [status(first), status(second)] == ["parked", "queued"]
    pay()
    read()
    run()

    assert [status(first), status(second)] == ["processed", "queued"]


# ------------------------------------------------------------------------------------------------ whenever it comes
def test_an_event_that_came_while_the_attempt_ran_wakes_it() -> None:
    job = submit()
    worker = Worker(registry.get("order.ship"), "one")
    claimed = worker.claim()
    pay()
    read()
    worker.run(claimed)
    assert status(job) == "parked"
    read()

    assert status(job) == "queued"


def test_an_event_that_came_between_two_attempts_wakes_it() -> None:
    """The first attempt may have caused it and then failed."""
    job = submit()
    pay()
    read()
    run()
    read()

    assert status(job) == "queued"


def test_an_event_that_came_before_the_job_was_created_does_not() -> None:
    pay()
    early = parked()
    read()
    assert status(early) == "parked"

    Consumer.objects.filter(name="awaited").update(position=0, last_id=0)
    read()  # a consumer that is behind meets it now
    assert status(early) == "parked"


def test_an_event_whose_transaction_began_before_the_job_was_created_wakes_it() -> None:
    jobs: list[UUID] = []
    with transaction.atomic():
        pay("something else")  # takes the number of the transaction
        elsewhere(lambda: jobs.append(submit()))
        pay()
    run()
    read()

    assert status(jobs[0]) == "queued"


def test_an_event_that_is_committed_after_the_consumer_came_by_wakes_the_job() -> None:
    job = parked()
    with transaction.atomic():
        pay()
        elsewhere(read)
        elsewhere(lambda: pay("order-8"))
        elsewhere(read)
        assert status(job) == "parked"
    read()

    assert status(job) == "queued"


def test_an_event_that_the_consumer_passed_over_while_the_job_was_being_parked_wakes_it() -> None:
    job = submit()
    with transaction.atomic():
        run()
        elsewhere(pay)
        elsewhere(read)  # nobody waits, as far as it can see
    assert status(job) == "parked"
    read()

    assert status(job) == "queued"


def test_the_clock_of_the_database_does_not_matter() -> None:
    job = submit()
    with connection.cursor() as cursor:
        cursor.execute("update events_event set occurred_at = occurred_at + interval '1 hour'")
    pay()
    run()
    read()

    assert status(job) == "queued"


def test_of_several_events_the_first_wakes_and_each_wakes_once() -> None:
    job = submit(times=3)
    for number in range(4):
        pay(number=number)
    for expected in ("parked", "parked", "parked", "processed"):
        run()
        assert status(job) == expected
        read()

    assert output(job)["data"] == {"number": 2}
    assert events_of(job).count("job.woken") == 3


def test_events_of_different_types_are_counted_apart() -> None:
    """Who waits for two in turn may get the second first."""
    job = submit(event="payment.announced", times=1)
    pay(number=1)
    pay(event_type="payment.announced", number=2)
    run()
    read()
    assert status(job) == "queued"

    with connection.cursor() as cursor:  # the next run waits for the other one
        cursor.execute(
            "update jobs_job set payload = %s where id = %s",
            (orjson.dumps({"event": PAID, "times": 2}).decode(), job),
        )
    run()
    read()
    run()
    assert output(job)["data"] == {"number": 1}


# ------------------------------------------------------------------------------------------------ nothing counts twice
def test_a_log_that_is_read_twice_wakes_once() -> None:
    job = parked(times=2)
    begin = Consumer.objects.get(name="awaited")
    pay()
    read()
    run()
    assert (status(job), events_of(job).count("job.woken")) == ("parked", 1)

    Consumer.objects.filter(name="awaited").update(position=begin.position, last_id=begin.last_id)
    assert read() > 0
    assert (status(job), events_of(job).count("job.woken")) == ("parked", 1)


def test_a_consumer_that_dies_before_its_commit_wakes_once() -> None:
    job = parked()
    pay()
    place = Consumer.objects.get(name="awaited")
    with transaction.atomic():
        awaiting.match(place.position, place.last_id, 100)
        assert status(job) == "queued"
        transaction.set_rollback(True)
    assert status(job) == "parked"
    read()

    assert events_of(job).count("job.woken") == 1


def test_a_cancelled_job_is_not_woken() -> None:
    job = parked()
    services.cancel(project_id=PROJECT, job_id=job, actor="test")
    assert not Awaited.objects.exists()
    pay()
    read()

    assert status(job) == "cancelled"


def test_a_job_that_was_to_be_stopped_as_it_parked_waits_for_nothing() -> None:
    job = submit()
    worker = Worker(registry.get("order.ship"), "one")
    claimed = worker.claim()
    services.cancel(project_id=PROJECT, job_id=job, actor="test")
    worker.run(claimed)

    assert (status(job), Awaited.objects.exists()) == ("cancelled", False)


def test_a_job_that_was_cancelled_and_retried_is_not_woken_by_what_it_waited_for() -> None:
    job = parked()
    left_over = Awaited.objects.get(job_id=job)
    services.cancel(project_id=PROJECT, job_id=job, actor="test")
    services.retry(project_id=PROJECT, job_id=job, actor="test")
    left_over.save(force_insert=True)
    pay()
    read()
    assert (status(job), events_of(job).count("job.woken")) == ("queued", 0)
    assert not Awaited.objects.exists()

    run()  # parks again: the event came after it was created
    left_over.claim_no = 1
    assert Awaited.objects.get(job_id=job).claim_no == 2
    Awaited.objects.filter(job_id=job).update(claim_no=1)
    read()
    assert (status(job), events_of(job).count("job.woken")) == ("parked", 0)


def test_a_job_whose_time_is_over_wakes_by_that_and_by_nothing_else() -> None:
    job = parked()
    Job.objects.filter(id=job).update(due_at="2020-01-01T00:00Z")
    assert services.wake_parked() == 1
    assert not Awaited.objects.exists()
    pay()
    read()
    run()

    assert output(job) == {"timed_out": True}
    assert events_of(job).count("job.woken") == 1


def test_the_time_and_the_event_together_wake_once() -> None:
    job = parked()
    Job.objects.filter(id=job).update(due_at="2020-01-01T00:00Z")
    pay()
    with transaction.atomic():
        assert services.wake_parked() == 1
        waits = threading.Thread(target=lambda: elsewhere(read))
        waits.start()
        _until_somebody_waits()
    waits.join(60)

    assert (status(job), events_of(job).count("job.woken")) == ("queued", 1)


def _until_somebody_waits() -> None:
    """Return when another session waits for a lock of ours."""
    with connection.cursor() as cursor:
        for _ in range(10_000):
            cursor.execute("select count(*) from pg_locks where not granted")
            if cursor.fetchone()[0]:
                return
    pytest.fail("Nobody waits.")


def test_a_late_worker_parks_nobody() -> None:
    job = submit()
    first, second = (Worker(registry.get("order.ship"), name) for name in ("one", "two"))
    claimed = first.claim()
    first.dies(claimed)
    second.run(second.claim())
    pay()
    read()
    second.run(second.claim())
    assert status(job) == "processed"

    assert first.run(claimed) == {"late": 1}
    assert not Awaited.objects.exists()


def test_a_worker_that_dies_before_the_commit_leaves_nobody_waiting() -> None:
    job = submit()
    worker = Worker(registry.get("order.ship"), "one")
    (claimed,) = worker.claim()
    pay()
    read()
    workers.rescue(worker.id, started=(claimed.id, claimed.claim_no), seen=True)
    assert (status(job), Awaited.objects.exists()) == ("queued", False)
    run()
    read()

    assert status(job) == "queued"
    run()
    assert status(job) == "processed"


# ------------------------------------------------------------------------------------------------ what it costs
def test_while_nobody_waits_the_log_is_passed_over_unread() -> None:
    Consumer.objects.filter(name="awaited").update(position=0, last_id=0)
    for _ in range(20):
        pay()
    Consumer.objects.filter(name="awaited").update(retry_at=None)

    assert consumers.run("awaited") == 0
    place = Consumer.objects.get(name="awaited")
    assert (place.position, place.last_id) > log.head()
    assert place.retry_at is not None
    pay()
    assert "awaited" not in consumers.waiting()


def test_who_begins_to_wait_ends_the_rest_of_the_consumer() -> None:
    pay()
    consumers.run("awaited")
    pay()
    assert "awaited" not in consumers.waiting()
    job = submit()
    run()
    assert "awaited" in consumers.waiting()
    assert consumers.run("awaited") > 0
    assert status(job) == "parked"


def test_a_rest_after_a_failure_is_not_ended_by_who_waits() -> None:
    parked()
    Consumer.objects.filter(name="awaited").update(failures=1, retry_at="2999-01-01T00:00Z")

    assert "awaited" not in consumers.waiting()
    assert consumers.run("awaited") == 0


# ------------------------------------------------------------------------------------------------ read too late
def overdue(job: UUID) -> None:
    """Its time to wait is over."""
    Job.objects.filter(id=job).update(due_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))


@pytest.mark.parametrize("kind", ["order.ship", "order.ask"])
def test_an_event_that_came_in_time_is_told_though_nobody_had_read_it(kind: str) -> None:
    """No worker serves the consumer, and the relay wakes who has waited for long enough."""
    job = parked(kind)
    other = parked(kind, subject="order-8")
    pay(amount=1)
    overdue(job)
    overdue(other)

    assert services.wake_parked() == 2
    for _ in range(2):
        run(kind)
    read()

    assert output(job) == {"type": PAID, "subject": "order-7", "data": {"amount": 1}}
    assert output(other) == {"timed_out": True}
    assert events_of(job).count("job.woken") == 1


def test_an_event_that_a_transaction_holds_up_is_waited_for() -> None:
    """It is committed, and settled only when those that began before have ended."""
    job = parked()
    with transaction.atomic():
        report(project_id=ELSEWHERE, event_type=PAID, subject="another", data={})  # holds back what comes behind it
        elsewhere(lambda: pay(amount=2))
        elsewhere(lambda: overdue(job))
        woken: list[int] = []
        elsewhere(lambda: woken.append(services.wake_parked()))
    assert (woken, status(job)) == ([0], "parked")

    assert services.wake_parked() == 1
    run()

    assert output(job) == {"type": PAID, "subject": "order-7", "data": {"amount": 2}}
