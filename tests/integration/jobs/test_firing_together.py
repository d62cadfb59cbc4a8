"""Several processes fire at the same time, each with a connection of its own."""

import threading

import pytest
from django.db import connection, transaction

from jobs import schedules
from jobs.models import Job
from tests.integration.jobs.booking import booking
from tests.integration.jobs.timetables import HOUR, Clock, clock, fired, schedule, tick

__all__ = ["booking", "clock"]

pytestmark = pytest.mark.usefixtures("committed", "booking")


def test_processes_that_fire_at_the_same_time_make_each_job_once(clock: Clock) -> None:
    rows = [schedule(missed="all") for _ in range(12)]
    clock.move(5 * HOUR)
    start = threading.Barrier(4)
    made: list[int] = []

    def firer() -> None:
        start.wait()
        made.extend([tick(), tick()])
        connection.close()

    threads = [threading.Thread(target=firer) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    tick()

    assert sum(made) == 60
    assert Job.objects.count() == 60
    assert all(len(fired(row)) == 5 for row in rows)


def test_who_is_held_up_by_one_schedule_fires_the_others(clock: Clock) -> None:
    rows = [schedule(), schedule()]
    clock.move(HOUR)
    held, go = threading.Event(), threading.Event()

    def holder() -> None:
        with transaction.atomic():
            schedules.locked(rows[0].id)
            held.set()
            go.wait()
        connection.close()

    thread = threading.Thread(target=holder)
    thread.start()
    held.wait()
    assert tick() == 1
    go.set()
    thread.join()

    assert tick() == 1
    assert [len(fired(row)) for row in rows] == [1, 1]
