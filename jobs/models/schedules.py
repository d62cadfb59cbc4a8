"""Schedules, and what they have fired."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from jobs.states import PLATFORM, CatchUp, Overlap


class Schedule(models.Model):
    """What the platform knows of a schedule, beside the row of django-celery-beat that people edit (`task`).

    `fired_until` is the cursor: the instants up to it have been handled. `next_at` is the first one behind it, null
    where there is none; it only says when to look. `fingerprint` is the definition that both belong to.
    """

    id = models.UUIDField(primary_key=True, default=uuid7)
    task = models.OneToOneField("django_celery_beat.PeriodicTask", models.CASCADE, related_name="jobs_schedule")
    project_id = models.UUIDField(default=PLATFORM)
    missed = models.TextField(choices=[(p.value, p.value) for p in CatchUp], default=CatchUp.ONE.value)
    while_paused = models.TextField(choices=[(p.value, p.value) for p in CatchUp], default=CatchUp.ONE.value)
    overlap = models.TextField(
        choices=[(p.value, p.value.replace("_", " ")) for p in Overlap], default=Overlap.ALLOW.value
    )
    pause_on_failures = models.PositiveSmallIntegerField(default=0)
    paused_reason = models.TextField(default="", blank=True)
    fingerprint = models.TextField(default="", blank=True)
    fired_until = models.DateTimeField(db_default=Now())
    next_at = models.DateTimeField(null=True)
    waiting_at = models.DateTimeField(null=True)  # the instant that waits for the end of the job before
    held = models.TextField(default="", blank=True)  # by a pause: what becomes of its instants afterwards
    resumed_at = models.DateTimeField(db_default=Now())  # failures before it do not count
    seq = models.IntegerField(default=0)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes: ClassVar = [
            models.Index(name="jobs_schedule_next", fields=("next_at",), condition=Q(next_at__isnull=False, held="")),
            models.Index(
                name="jobs_schedule_watched", fields=("id",), condition=~Q(held="") | Q(waiting_at__isnull=False)
            ),
            models.Index(name="jobs_schedule_list", fields=("project_id", "id")),
        ]

    def __str__(self) -> str:
        return str(self.task)


class Firing(models.Model):
    """That a schedule made a job for an instant: at most one, for as long as anybody can ask for that instant."""

    pk = models.CompositePrimaryKey("schedule_id", "instant")
    schedule_id = models.UUIDField()
    instant = models.DateTimeField()
    project_id = models.UUIDField()
    job_id = models.UUIDField()
    fired_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [models.Index(name="jobs_firing_instant", fields=("instant",))]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.instant}"
