"""The rows of shipped schedules: made once, whoever else makes them at the same time."""

import threading
from collections.abc import Callable

import pytest
from django.db import connection, transaction
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobplatform import processes
from jobs import schedule

pytestmark = pytest.mark.usefixtures("committed")

WAITS = "select 1 from pg_locks where locktype = 'advisory' and not granted"


def in_a_thread(work: Callable[[], object]) -> threading.Thread:
    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def lock_is_waited_for() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(WAITS)
        return cursor.fetchone() is not None


def test_the_rows_are_made_once() -> None:
    made = schedule.ensure_rows()

    assert made == PeriodicTask.objects.count() == len(list(schedule.shipped()))
    assert schedule.ensure_rows() == 0


def test_two_relays_that_start_at_once_make_one_interval_for_each_schedule() -> None:
    with transaction.atomic():
        made = schedule.ensure_rows()
        other = in_a_thread(schedule.ensure_rows)
        assert processes.wait_until(lock_is_waited_for, seconds=30)
    other.join()

    assert made == PeriodicTask.objects.count() == IntervalSchedule.objects.count()


def test_an_interval_that_is_there_twice_stops_nobody() -> None:
    """Each start of a relay comes by here: if it raised, nothing would be rung any more."""
    for _ in range(2):
        for item in schedule.shipped():
            IntervalSchedule.objects.create(every=item.seconds, period=IntervalSchedule.SECONDS)

    assert schedule.ensure_rows() == len(list(schedule.shipped()))
    assert schedule.ensure_rows() == 0
