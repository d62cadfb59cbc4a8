"""Who meets in a lane: submitting, ending, cancelling at the same time, each on a connection of its own."""

import threading
from collections.abc import Callable
from typing import TypeVar

import pytest
from django.db import connections, transaction

from jobplatform.processes import wait_until
from jobs import handlers, lanes, registry, services
from jobs.bell import connect
from jobs.models import Job, Lane
from jobs.testing import run_once
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.booking import booking, open_ones, run, statuses, submit
from tests.integration.jobs.test_services import waiting

__all__ = ["booking", "waiting"]

pytestmark = pytest.mark.usefixtures("committed", "booking")

T = TypeVar("T")


def elsewhere(work: Callable[[], T]) -> Callable[[], T]:
    """Begin a work in another thread, on another connection. Returns what waits for its result."""
    found: list[T] = []

    def begin() -> None:
        try:
            found.append(work())
        finally:
            connections.close_all()

    thread = threading.Thread(target=begin)
    thread.start()

    def result() -> T:
        thread.join(30)
        return found[0]

    return result


def test_who_submits_waits_for_nobody_but_who_submits_to_the_same_lane() -> None:
    """A caller's transaction that stays open holds its lane, and nobody's end of a job in it."""
    first = submit("")
    with transaction.atomic():
        second = submit("")
        with connect("worker") as link:
            claimed = Worker(registry.get("account.book"), "one").claim()
            assert [job.id for job in claimed] == first
            settled = lanes.settle([(PROJECT, "a")], on=link)
            assert settled.locked == {(PROJECT, "a")}
    assert open_ones(first + second) == []  # the first one runs


def test_a_lane_that_was_locked_when_its_first_job_ended_goes_on_with_the_commit() -> None:
    first = submit("")
    with transaction.atomic():
        second = submit("")
        assert elsewhere(run)() == first
        assert open_ones(second) == []
    assert open_ones(second) == second


def test_the_relay_moves_on_what_everybody_left_to_somebody_else() -> None:
    ids = submit("", "")
    Job.objects.filter(id=ids[0]).update(status="cancelled")
    assert open_ones(ids) == []

    assert lanes.sweep() == 1
    assert open_ones(ids) == ids[1:]
    assert lanes.sweep() == 0


def test_a_first_job_that_changes_under_our_eyes_is_looked_at_again(
    waiting: Callable[[], int],
) -> None:
    """Somebody ends the next job while the end of the one before it opens its gate, and does not look at the lane."""
    ids = submit("", "", "")
    worker = Worker(registry.get("account.book"), "one")
    claimed = worker.claim()
    with transaction.atomic():
        Job.objects.filter(id=ids[1]).update(status="cancelled")
        done = elsewhere(lambda: worker.run(claimed))
        assert wait_until(lambda: waiting() == 1, seconds=20)
    assert done() == {"done": 1}

    assert statuses(ids) == ["processed", "cancelled", "queued"]
    assert open_ones(ids) == ids[2:]


def test_two_who_submit_to_one_lane_at_once_come_one_after_the_other(
    waiting: Callable[[], int],
) -> None:
    with transaction.atomic():
        mine = submit("", "")
        theirs = elsewhere(lambda: submit("", ""))
        assert wait_until(lambda: waiting() == 1, seconds=20)
    ids = mine + theirs()

    assert [run() for _ in ids] == [[job_id] for job_id in ids]


def test_a_lane_that_is_entered_while_it_is_tidied_away_stays(waiting: Callable[[], int]) -> None:
    submit("")
    run()
    with transaction.atomic():
        first = submit("")
        tidied = elsewhere(lambda: run_once(handlers.tidy, {}, project_id=PROJECT))
        assert wait_until(lambda: waiting() == 1, seconds=20)
    assert tidied().output["lanes"] == 0

    second = submit("")
    assert [run(), run()] == [first, second]


def test_a_lane_without_jobs_is_tidied_away_and_begins_anew() -> None:
    kept = submit("", lane="b")
    ids = submit("")
    services.cancel(project_id=PROJECT, job_id=ids[0], actor="tests")

    assert run_once(handlers.tidy, {}, project_id=PROJECT).output["lanes"] == 1

    assert list(Lane.objects.values_list("lane", flat=True)) == ["b"]
    more = submit("", "")
    services.retry(project_id=PROJECT, job_id=ids[0], actor="tests")
    assert [run() for _ in range(4)] == [kept, more[:1], more[1:], ids]
