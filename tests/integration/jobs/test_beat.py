"""Schedules that cannot fire."""

from types import SimpleNamespace

import pytest
from celery import Celery
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from jobs import beat
from tests.integration.jobs.conftest import events


@pytest.mark.django_db
def test_each_pause_of_a_schedule_can_be_read_by_its_subject_and_seq() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    for name in ("a", "b"):
        PeriodicTask.objects.create(name=name, task="no.such", interval=every)

    for name in ("a", "b", "b"):  # paused once only
        beat._pause(SimpleNamespace(name=name), "no handler")
    PeriodicTask.objects.filter(name="a").update(enabled=True)
    beat._pause(SimpleNamespace(name="a"), "still none")

    found = events("schedule.paused")
    assert [(event["schedule"], event["seq"]) for event in found] == [("a", 1), ("b", 1), ("a", 1)]
    assert len({event["subject_id"] for event in found}) == 3


@pytest.mark.django_db
def test_celery_s_own_entry_is_no_kind_and_does_not_stay_among_the_schedules() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="celery.backend_cleanup", task="celery.backend_cleanup", interval=every)

    beat.JobScheduler(app=Celery(fixups=[]), lazy=True).install_default_entries({})

    assert not PeriodicTask.objects.filter(task__startswith="celery.").exists()


@pytest.mark.usefixtures("committed")  # beat closes connections
def test_what_names_an_unknown_kind_is_paused_when_beat_starts() -> None:
    every = IntervalSchedule.objects.create(every=1, period="days")
    PeriodicTask.objects.create(name="nightly", task="no.such", interval=every)
    PeriodicTask.objects.create(name="tidy", task="engine.tidy", interval=every)

    beat.JobScheduler(app=Celery(fixups=[]), lazy=True).setup_schedule()

    assert dict(PeriodicTask.objects.filter(name__in=("nightly", "tidy")).values_list("name", "enabled")) == {
        "nightly": False,
        "tidy": True,
    }
    assert [event["schedule"] for event in events("schedule.paused")] == ["nightly"]
