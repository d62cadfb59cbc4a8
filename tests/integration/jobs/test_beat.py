"""Beat: Celery's clock, which fires what is due and lives through the loss of the database."""

import pytest
from celery import Celery
from django.db import OperationalError, connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs import beat
from jobs.models import Schedule
from tests.integration.jobs.conftest import events


def scheduler() -> beat.JobScheduler:
    return beat.JobScheduler(app=Celery(fixups=[]))


@pytest.mark.django_db
def test_celery_s_own_entry_is_no_kind_and_does_not_stay_among_the_schedules() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="celery.backend_cleanup", task="celery.backend_cleanup", interval=every)

    scheduler().tick()

    assert not PeriodicTask.objects.filter(task__startswith="celery.").exists()
    assert not Schedule.objects.exists()


@pytest.mark.django_db
def test_what_names_an_unknown_kind_is_paused_at_the_first_tick() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="nightly", task="no.such", interval=every)
    PeriodicTask.objects.create(name="tidy", task="engine.tidy", interval=every)

    scheduler().tick()

    enabled = PeriodicTask.objects.filter(name__in=("nightly", "tidy")).values_list("name", "enabled")
    assert dict(enabled) == {"nightly": False, "tidy": True}
    assert [event["schedule"] for event in events("schedule.paused")] == ["nightly"]


@pytest.mark.django_db
def test_a_tick_says_when_the_next_one_is_needed() -> None:
    assert scheduler().tick() == 5.0
    every = IntervalSchedule.objects.create(every=1, period="seconds")
    PeriodicTask.objects.create(name="often", task="engine.tidy", interval=every)

    assert 0 < scheduler().tick() <= 1.0


@pytest.mark.usefixtures("committed")
def test_without_its_database_beat_waits_and_goes_on() -> None:
    clock = scheduler()
    assert clock.tick() == 5.0
    with pytest.raises(OperationalError), connection.cursor() as cursor:
        cursor.execute("select pg_terminate_backend(pg_backend_pid())")

    assert clock.tick() == 5.0
    assert clock.tick() == 5.0
    assert connection.is_usable()
