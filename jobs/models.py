"""Rows of the engine. Hot statements live in `jobs/sql/` and `jobs/store.py`; the ORM serves everything else.

`Job.status` is written by `jobs/store.py` alone.
"""

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from jobs.states import LIVE, Stage, Status

RARE = (
    Status.PARKED,
    Status.PENDING_APPROVAL,
    Status.CONFIRMING,
    Status.BLOCKED,
    Status.FAILED,
    Status.REJECTED,
    Status.CANCELLED,
)
"""Statuses in which few of millions of jobs stand: a partial index serves their lists without cost to the others."""


class Job(models.Model):
    """One job. `claim_no` is the fence: it rises with every claim and never falls; `attempt` is only a budget."""

    id = models.UUIDField(primary_key=True)  # in the database the key is (project_id, id): always name the project
    project_id = models.UUIDField()
    created_at = models.DateTimeField()
    due_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    position = models.BigIntegerField()
    shelf_id = models.IntegerField()
    claim_no = models.IntegerField(default=0)
    claimed_by = models.IntegerField(null=True)
    seq = models.IntegerField(default=1)
    attempt = models.SmallIntegerField(default=0)
    max_attempts = models.SmallIntegerField(null=True)
    priority = models.SmallIntegerField(default=0)
    gate = models.SmallIntegerField(default=0)
    cancel_requested = models.BooleanField(default=False)
    retry_delay = models.FloatField(null=True)
    timeout = models.FloatField(null=True)
    quality = models.FloatField(null=True)
    kind = models.TextField()
    stage = models.TextField(default=Stage.PROCESS)
    status = models.TextField(default=Status.QUEUED, choices=[(s.value, s.value) for s in Status])
    lane = models.TextField(null=True)  # noqa: DJ001 - null is "no lane" and costs no byte
    lane_no = models.BigIntegerField(null=True)
    confirm = models.TextField(null=True)  # noqa: DJ001 - null is "not asked for"
    payload = models.JSONField()
    metadata = models.JSONField(null=True)
    output = models.JSONField(null=True)
    error = models.JSONField(null=True)
    progress = models.JSONField(null=True)
    steps = models.JSONField(null=True)

    class Meta:
        ordering = ("-id",)
        constraints: ClassVar = [
            models.CheckConstraint(name="jobs_job_status", condition=Q(status__in=[s.value for s in Status])),
        ]
        indexes: ClassVar = [
            models.Index(
                name="jobs_job_ready", fields=("shelf_id", "due_at", "id"), condition=Q(status="queued", gate=0)
            ),
            models.Index(name="jobs_job_owned", fields=("claimed_by",), condition=Q(status="processing")),
            models.Index(name="jobs_job_parked", fields=("due_at",), condition=Q(status="parked")),
            models.Index(
                name="jobs_job_rare",
                fields=("project_id", "status", "id"),
                condition=Q(status__in=[s.value for s in RARE]),
            ),
            models.Index(
                name="jobs_job_lane",
                fields=("project_id", "lane", "lane_no"),
                condition=Q(lane__isnull=False, status__in=sorted(s.value for s in LIVE)),
            ),
        ]
        permissions: ClassVar = [
            ("cancel_job", "May cancel jobs"),
            ("retry_job", "May retry jobs"),
            ("edit_payload", "May edit a payload and retry"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


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


class Attempt(models.Model):
    """One finished attempt, written by the commit or the rescue that ended it."""

    pk = models.CompositePrimaryKey("job_id", "claim_no")
    job_id = models.UUIDField()
    project_id = models.UUIDField()
    started_at = models.DateTimeField()
    ended_at = models.DateTimeField()
    claim_no = models.IntegerField()
    worker_id = models.IntegerField(null=True)
    attempt = models.SmallIntegerField()
    stage = models.TextField()
    outcome = models.TextField()
    error = models.JSONField(null=True)
    log = models.JSONField(null=True)
    metrics = models.JSONField(null=True)

    class Meta:
        ordering = ("-ended_at",)

    def __str__(self) -> str:
        return f"{self.job_id} attempt {self.attempt}: {self.outcome}"


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


class UniqueKey(models.Model):
    """Who holds a unique key: the job, while it is active (`until` null) or until a time."""

    pk = models.CompositePrimaryKey("project_id", "kind", "key")
    project_id = models.UUIDField()
    kind = models.TextField()
    key = models.TextField()
    job_id = models.UUIDField()
    until = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"


class Intervention(models.Model):
    """Something that only a person may decide: the subject, why, the evidence, and what was decided by whom."""

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField(null=True)
    subject_type = models.TextField()
    subject_id = models.TextField()
    reason = models.TextField()
    evidence = models.JSONField(default=dict)
    actions = ArrayField(models.TextField(), default=list)
    opened_at = models.DateTimeField(db_default=Now())
    resolved_at = models.DateTimeField(null=True)
    resolved_by = models.TextField(default="", blank=True)
    action = models.TextField(default="", blank=True)
    decision_reason = models.TextField(default="", blank=True)

    class Meta:
        indexes: ClassVar = [
            models.Index(name="jobs_intervention_list", fields=("project_id", "id")),
        ]
        constraints: ClassVar = [
            models.UniqueConstraint(
                name="jobs_intervention_one",
                fields=("subject_type", "subject_id"),
                condition=Q(resolved_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.subject_type} {self.subject_id}: {self.reason}"


class StoredResponse(models.Model):
    """The first answer to an `Idempotency-Key`, stored with what it created. `jobplatform.api.idempotency` uses it."""

    pk = models.CompositePrimaryKey("project_id", "route", "key")
    project_id = models.UUIDField()
    route = models.TextField()
    key = models.TextField()
    body_sha256 = models.BinaryField()
    status = models.SmallIntegerField()
    location = models.TextField(null=True)  # noqa: DJ001 - null is "no such header"
    body = models.BinaryField()
    sealed = models.BooleanField(default=False)
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(db_index=True)

    class Meta:
        db_table = "api_idempotency"  # the name that the ground knows: it must not know this app

    def __str__(self) -> str:
        return f"{self.route} {self.key}"


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
