"""What decides which job runs next: shelves, pauses, shares, lanes, limits."""

from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs.states import CatchUp


class Shelf(models.Model):
    """Where something may be due: one row per kind, project, priority and cap.

    `low_due_at` is a hint, a lower bound of the due times on the shelf (year 9999: empty); the relay's sweep
    is the truth (docs/decisions/0002). `cap` bounds a claim: jobs whose batch died come back in smaller ones.
    """

    id = models.AutoField(primary_key=True)
    kind = models.TextField()
    project_id = models.UUIDField()
    priority = models.SmallIntegerField(default=0)
    cap = models.SmallIntegerField(default=0)
    weight = models.SmallIntegerField(default=1)
    paused = models.BooleanField(default=False)
    low_due_at = models.DateTimeField(db_default=Now())
    pause_id = models.UUIDField(null=True)  # the pause that holds it; paused without one: by hand

    class Meta:
        verbose_name_plural = "shelves"
        constraints: ClassVar = [
            models.UniqueConstraint(name="jobs_shelf_key", fields=("kind", "project_id", "priority", "cap")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.project_id} p{self.priority} c{self.cap}"


class Pause(models.Model):
    """Nothing starts that it names: jobs of a project, a kind, a queue, or of all that it names together."""

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField(null=True)
    kind = models.TextField(null=True)  # noqa: DJ001 - null is "any"
    queue = models.TextField(null=True)  # noqa: DJ001 - null is "any"
    until = models.DateTimeField(null=True, blank=True)
    reason = models.TextField()
    actor = models.TextField()
    created_at = models.DateTimeField(db_default=Now())
    schedules = models.TextField(  # noqa: DJ001 - null is "as each schedule says"
        null=True, blank=True, choices=[(policy.value, policy.value) for policy in CatchUp]
    )

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                name="jobs_pause_names",
                condition=Q(project_id__isnull=False) | Q(kind__isnull=False) | Q(queue__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return " ".join(str(part) for part in (self.kind, self.queue, self.project_id) if part)


class Share(models.Model):
    """How much of the workers a project gets beside others. One without a row weighs 1.

    The project's shelves have it as well, so that a claim reads one table. Who makes a shelf locks this row first.
    """

    project_id = models.UUIDField(primary_key=True)
    weight = models.SmallIntegerField(default=1)

    def __str__(self) -> str:
        return f"{self.project_id}: {self.weight}"


class Lane(models.Model):
    """A strict order of jobs: the counter that gives each its number. Who moves the lane on, locks its row."""

    pk = models.CompositePrimaryKey("project_id", "lane")
    project_id = models.UUIDField()
    lane = models.TextField()
    last_no = models.BigIntegerField()

    def __str__(self) -> str:
        return self.lane


class LimitKey(models.Model):
    """What of a limit is in use under one key. Who claims jobs with this key, or ends them, locks the row.

    `id` is a hash of project, name and key, so that a job knows it without asking. `next_at`: when the next job could
    start at an even pace (which a `burst` may run ahead of). `waiting`: jobs stand behind their gate.
    """

    id = models.BigIntegerField(primary_key=True)
    project_id = models.UUIDField()
    name = models.TextField()
    key = models.TextField()
    concurrency = models.IntegerField(null=True)
    rate = models.FloatField(null=True)  # a second
    burst = models.FloatField(null=True)
    in_use = models.IntegerField(default=0)
    waiting = models.BooleanField(default=False)
    next_at = models.DateTimeField(null=True)
    closed_until = models.DateTimeField(null=True, blank=True)
    closed_reason = models.TextField(default="", blank=True)
    ramp = models.IntegerField(null=True)  # so many may run at once since it was closed; null: as many as otherwise
    touched_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(name="jobs_limitkey_list", fields=("project_id", "name", "key")),
            models.Index(name="jobs_limitkey_waiting", fields=("id",), condition=Q(waiting=True)),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.key}".strip()


class LimitRule(models.Model):
    """Bounds that rule instead of those in the code: for all keys of a limit, or for those of one project."""

    name = models.TextField()
    project_id = models.UUIDField(null=True, blank=True)
    concurrency = models.IntegerField(null=True, blank=True)
    rate = models.FloatField(null=True, blank=True)  # a second
    burst = models.FloatField(null=True, blank=True)
    changed_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="jobs_limitrule_key", fields=("name", "project_id"), nulls_distinct=False),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.project_id or ''}".strip()


class Awaited(models.Model):
    """The event that a parked job waits for; the row is there as long as it waits.

    `claim_no` is the attempt that parked it. Events count from a place of the log on (jobs/sql/await.sql). `since_at`:
    when the job was created, by the clock of the log.
    """

    job_id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    claim_no = models.IntegerField()
    type = models.TextField()
    subject = models.TextField(blank=True)
    subject_id = models.UUIDField()
    since_position = models.BigIntegerField()
    since_id = models.BigIntegerField()
    since_at = models.DateTimeField(null=True)
    parked_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "awaited"
        indexes: ClassVar = [
            models.Index(name="jobs_awaited_by_event", fields=("project_id", "type", "subject_id")),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.subject}"
