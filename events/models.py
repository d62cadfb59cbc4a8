"""Rows of the log. Hot statements live in `events/sql/`; the ORM serves reading and the admin."""

from django.db import models
from django.db.models.functions import Now

from jobplatform.indexes import UniqueIndex


class Event(models.Model):
    """One thing that happened, never updated. The table is partitioned by `occurred_at`.

    `position` orders the log for its consumers (see docs/events.md); `seq` counts without gaps within one subject.
    """

    id = models.BigIntegerField(primary_key=True)  # in the database the key is (position, id, occurred_at)
    position = models.BigIntegerField()
    occurred_at = models.DateTimeField()
    project_id = models.UUIDField()
    type = models.TextField()
    subject_id = models.UUIDField()
    seq = models.IntegerField()
    data = models.JSONField()

    class Meta:
        ordering = ("-position", "-id")

    def __str__(self) -> str:
        return f"{self.type} {self.subject_id}#{self.seq}"


class Era(models.Model):
    """The one row that ties the log to a database cluster: positions are transaction ids plus `base`."""

    id = models.SmallIntegerField(primary_key=True)
    cluster = models.BigIntegerField()
    base = models.BigIntegerField()
    since = models.DateTimeField()


class Clock(models.Model):
    """The one row by which the virtual clock is moved (tests and demo only)."""

    id = models.SmallIntegerField(primary_key=True)
    ahead = models.DurationField()


class Consumer(models.Model):
    """A reader of the log and how far it came."""

    name = models.TextField(primary_key=True)
    position = models.BigIntegerField(default=0)
    last_id = models.BigIntegerField(default=0)
    moved_at = models.DateTimeField(null=True)
    failures = models.IntegerField(default=0)
    retry_at = models.DateTimeField(null=True)
    error = models.TextField(default="", blank=True)

    def __str__(self) -> str:
        return self.name


class AuditRecord(models.Model):
    """Who did what by hand, and why. Append-only; `project_id` is null for acts on the platform itself.

    The last three columns are its seal (`events/sealing.py`), which it gets once, seconds after it was written.
    """

    id = models.BigAutoField(primary_key=True)
    occurred_at = models.DateTimeField(db_default=Now())
    project_id = models.UUIDField(null=True)
    actor = models.TextField()
    action = models.TextField()
    subject_type = models.TextField()
    subject_id = models.TextField()
    reason = models.TextField()
    data = models.JSONField(default=dict)
    chain_no = models.BigIntegerField(null=True)
    prev_hash = models.TextField(null=True)  # noqa: DJ001 - null is "not sealed yet"
    hash = models.TextField(null=True)  # noqa: DJ001 - (same)

    class Meta:
        indexes = (
            models.Index(fields=("subject_type", "subject_id"), name="events_audit_subject"),
            models.Index(fields=("id",), condition=models.Q(chain_no__isnull=True), name="events_audit_unsealed"),
            UniqueIndex(
                fields=("project_id", "chain_no"),
                condition=models.Q(chain_no__isnull=False),
                name="events_audit_chain",
            ),
        )
        ordering = ("-id",)

    def __str__(self) -> str:
        return f"{self.actor}: {self.action} {self.subject_type} {self.subject_id}"


class ErrorMinute(models.Model):
    """How many lines with an error all processes logged in a minute (events/errorlog.py)."""

    at = models.DateTimeField(primary_key=True)
    number = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}: {self.number}"
