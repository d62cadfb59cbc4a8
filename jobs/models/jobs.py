"""Jobs: one by one, in groups, their attempts, and what is done or decided about them."""

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
    limit_id = models.BigIntegerField(null=True)
    cost = models.SmallIntegerField(null=True)  # as how many jobs it counts; null: one
    batch_id = models.UUIDField(null=True)
    turn = models.BooleanField(null=True)  # queued: let out by its limit; processing: counted there among what runs
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
            models.Index(
                "limit_id",
                "gate",
                models.F("priority").desc(),
                "due_at",
                "id",
                name="jobs_job_limit",
                condition=Q(limit_id__isnull=False, status="queued"),
            ),
            models.Index(
                name="jobs_job_batch", fields=("batch_id", "status", "id"), condition=Q(batch_id__isnull=False)
            ),
        ]
        permissions: ClassVar = [
            ("cancel_job", "May cancel jobs"),
            ("retry_job", "May retry jobs"),
            ("edit_payload", "May edit a payload and retry"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id}"


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


class JobBatch(models.Model):
    """A group of jobs that were created together, and the job that follows when they have ended.

    `follow`: that job as a request (kind, payload, options). `stalled_at`: all have ended, but not all well, and the
    one that follows wants that.
    """

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    name = models.TextField(default="", blank=True)
    total = models.IntegerField()
    follow = models.JSONField(null=True)
    follow_when = models.TextField(default="ended")
    follow_id = models.UUIDField(null=True)
    follow_error = models.TextField(default="", blank=True)
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    stalled_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "batch"
        verbose_name_plural = "batches"
        indexes: ClassVar = [
            models.Index(name="jobs_batch_list", fields=("project_id", "id")),
            models.Index(name="jobs_batch_open", fields=("id",), condition=Q(ended_at=None, stalled_at=None)),
        ]

    def __str__(self) -> str:
        return self.name or str(self.id)


class BulkAct(models.Model):
    """One act on all jobs that a filter names, done slice by slice. `cursor`: the last job that was looked at.

    Jobs that were created after it (`until`) are none of its business.
    """

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    verb = models.TextField()
    filter = models.JSONField()
    priority = models.SmallIntegerField(null=True)
    actor = models.TextField()
    reason = models.TextField()
    status = models.TextField(default="running")
    matched = models.IntegerField(default=0)
    done = models.IntegerField(default=0)
    skipped = models.IntegerField(default=0)
    cursor = models.UUIDField(null=True)
    until = models.UUIDField()
    created_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar = [models.Index(name="jobs_bulkact_list", fields=("project_id", "id"))]

    def __str__(self) -> str:
        return f"{self.verb} {self.id}"


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
    assigned_to = models.TextField(db_default="", blank=True)
    proposal = models.JSONField(null=True)  # what the first of two persons wants: jobs/inbox.py
    approved_by = models.TextField(db_default="", blank=True)

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


class InterventionComment(models.Model):
    """What somebody says about an intervention, for the others."""

    id = models.UUIDField(primary_key=True)
    intervention_id = models.UUIDField()
    at = models.DateTimeField(db_default=Now())
    actor = models.TextField()
    text = models.TextField()

    class Meta:
        verbose_name = "comment"
        indexes: ClassVar = [models.Index(name="jobs_comment_list", fields=("intervention_id", "id"))]

    def __str__(self) -> str:
        return f"{self.actor}: {self.text[:80]}"
