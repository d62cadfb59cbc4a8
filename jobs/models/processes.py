"""Processes and what they show of themselves."""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Worker(models.Model):
    """One worker process (a child of a Celery worker). Live while its heartbeat is fresh."""

    id = models.AutoField(primary_key=True)
    name = models.TextField()
    host = models.TextField()
    pid = models.IntegerField()
    parent_pid = models.IntegerField()
    queues = ArrayField(models.TextField())
    kinds = ArrayField(models.TextField())
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopped_at = models.DateTimeField(null=True)
    progress_at = models.DateTimeField(null=True)  # when its main thread last got on, or had nothing to do
    skew = models.FloatField(null=True)  # seconds that its clock is ahead of the database's

    class Meta:
        indexes: ClassVar = [
            models.Index(name="jobs_worker_live", fields=("heartbeat_at",), condition=Q(stopped_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"


class Doorbell(models.Model):
    """A doorbell in flight: rung by the relay, answered by a worker, gone when its pump ends or it expires."""

    id = models.UUIDField(primary_key=True)
    kind = models.TextField()
    queue = models.TextField()
    rung_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()
    answered_by = models.IntegerField(null=True)

    class Meta:
        indexes: ClassVar = [models.Index(name="jobs_doorbell_kind", fields=("kind",))]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


class Pulse(models.Model):
    """The last round of what runs in rounds and has no other row: one row per role, whoever plays it."""

    role = models.TextField(primary_key=True)
    host = models.TextField()
    pid = models.IntegerField()
    rounded_at = models.DateTimeField(db_default=Now())
    slowest = models.FloatField()  # seconds of the longest round since the pulse before
    skew = models.FloatField()  # seconds that its clock is ahead of the database's
    stopped_at = models.DateTimeField(null=True)  # it was stopped in order, and is not missed

    def __str__(self) -> str:
        return self.role


class Canary(models.Model):
    """The canary of a queue: the job that is on its way, and when one last came through."""

    queue = models.TextField(primary_key=True)
    job_id = models.UUIDField(null=True)
    submitted_at = models.DateTimeField(db_default=Now())
    passed_at = models.DateTimeField(db_default=Now())  # before the first one: when the queue was first seen
    seconds = models.FloatField(null=True)  # that the last one took from its creation to its commit

    class Meta:
        verbose_name_plural = "canaries"

    def __str__(self) -> str:
        return self.queue
