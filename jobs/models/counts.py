"""What was counted from the log and at the door."""

from typing import ClassVar

from django.db import models


class Refusal(models.Model):
    """How often the creation of jobs was refused, by project and code: the subject of `job.refused`.

    `unreported` refusals wait for the next event, of which there are a few a minute at most.
    """

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    code = models.TextField()
    total = models.BigIntegerField()
    reported = models.BigIntegerField()
    unreported = models.BigIntegerField()
    seq = models.IntegerField()
    position = models.BigIntegerField()
    window_began = models.DateTimeField()
    in_window = models.SmallIntegerField()

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="jobs_refusal_key", fields=("project_id", "code")),
        ]

    def __str__(self) -> str:
        return f"{self.code} {self.total}"


class Tally(models.Model):
    """Events counted by kind and type, for the metrics. The row of type "" says how far the log has been counted."""

    pk = models.CompositePrimaryKey("type", "kind")
    type = models.TextField()
    kind = models.TextField()
    total = models.BigIntegerField()
    last_id = models.BigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "tallies"

    def __str__(self) -> str:
        return f"{self.type} {self.kind} {self.total}"


class Rollup(models.Model):
    """What one minute, hour or day saw of one measure (jobs/rollups.py): counts, sizes, samples.

    The project `rollups.EVERYONE` stands for all together, the kind "" (`by_kind` false) for all kinds. `number` counts
    events or samples, `total` and `most` are the sum and the maximum of their values (milliseconds for times).
    """

    pk = models.CompositePrimaryKey("project_id", "seconds", "by_kind", "measure", "at", "kind", "bucket")
    project_id = models.UUIDField()
    seconds = models.IntegerField()  # 60, 3600 or 86400
    by_kind = models.BooleanField()
    measure = models.SmallIntegerField()
    at = models.DateTimeField()  # when the minute, hour or day began
    kind = models.TextField()
    bucket = models.SmallIntegerField()  # of a histogram, else 0
    number = models.BigIntegerField()
    total = models.FloatField()
    most = models.FloatField()

    class Meta:
        indexes: ClassVar = [models.Index(name="jobs_rollup_age", fields=("seconds", "at"))]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.kind} {self.measure}: {self.number}"


class Timing(models.Model):
    """Attempts counted by how long they took, waited or overran; moved on together with the tallies.

    `bucket` n holds what lies below the n-th bound of `jobs.tallies.BOUNDS` and not below the one before.
    """

    pk = models.CompositePrimaryKey("kind", "measure", "bucket")
    kind = models.TextField()
    measure = models.TextField()
    bucket = models.SmallIntegerField()
    total = models.BigIntegerField()
    seconds = models.FloatField()

    def __str__(self) -> str:
        return f"{self.kind} {self.measure} {self.bucket}: {self.total}"
