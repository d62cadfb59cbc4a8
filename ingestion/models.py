"""Messages as they came, how far the comparison with object storage has got, and counts of dead letters."""

import datetime as dt
from typing import ClassVar
from uuid import UUID

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

_MILLISECOND = dt.timedelta(milliseconds=1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


def moment_of(message: UUID) -> dt.datetime:
    """When a message was received: a UUIDv7 begins with the time in milliseconds."""
    return _EPOCH + (message.int >> 80) * _MILLISECOND


def first_id_at(moment: dt.datetime) -> UUID:
    """The lower bound of the ids of messages received at or after a moment."""
    milliseconds = -((_EPOCH - moment) // _MILLISECOND)  # rounded up
    return UUID(int=max(0, milliseconds) << 80)


def object_key(company_id: UUID, message_id: UUID) -> str:
    """The key in object storage. Nothing but the processing of this message, and its repair, writes it."""
    return f"{company_id}/{message_id}.json"


class Company(models.Model):
    """Whose a company_id is: that of the project that used it first. Keys in object storage begin with it.

    So no project writes, or learns of, an object of another one (docs/decisions/0006).
    """

    company_id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()

    class Meta:
        verbose_name_plural = "companies"

    def __str__(self) -> str:
        return str(self.company_id)


class Message(models.Model):
    """One message, its body byte for byte.

    The id is that of its job, made when the message was received: one id finds both rows, in both tables the order of
    ids is the order of arrival, and a range of time is a range of ids. `error` is a known permanent error that was
    found while it was processed.
    """

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    company_id = models.UUIDField()
    message_id = models.UUIDField()
    message_time = models.DateTimeField()
    stored_at = models.DateTimeField(null=True)
    size = models.IntegerField()
    body_sha256 = models.BinaryField()
    body = models.BinaryField()
    error = models.JSONField(null=True)

    class Meta:
        ordering = ("-id",)
        # The project comes second, so that no list of a project is ever read from this index.
        constraints: ClassVar = [
            models.UniqueConstraint(name="ingestion_message_key", fields=("message_id", "project_id")),
        ]
        # Each row stands in two of the first four. What is not stored is little (a backlog, dead letters), so a list of
        # it never looks at the millions that are.
        indexes: ClassVar = [
            models.Index(
                name="ingestion_message_unstored", fields=("project_id", "id"), condition=Q(stored_at__isnull=True)
            ),
            models.Index(
                name="ingestion_message_stored", fields=("project_id", "id"), condition=Q(stored_at__isnull=False)
            ),
            models.Index(
                name="ingestion_company_unstored",
                fields=("project_id", "company_id", "id"),
                condition=Q(stored_at__isnull=True),
            ),
            models.Index(
                name="ingestion_company_stored",
                fields=("project_id", "company_id", "id"),
                condition=Q(stored_at__isnull=False),
            ),
            # The order of keys in object storage, for the comparison with it.
            models.Index(name="ingestion_message_object", fields=("company_id", "message_id")),
        ]

    def __str__(self) -> str:
        return str(self.message_id)

    @property
    def received_at(self) -> dt.datetime:
        """When it was received, in milliseconds."""
        return moment_of(self.id)

    @property
    def job_id(self) -> UUID:
        """The job that processes it."""
        return self.id

    @property
    def object_key(self) -> str:
        """Its key in object storage."""
        return object_key(self.company_id, self.message_id)


class Comparison(models.Model):
    """The one row that says how far object storage has been compared with the messages: behind which key to go on."""

    id = models.SmallIntegerField(primary_key=True, default=1)
    after = models.TextField(default="", blank=True)
    passes = models.IntegerField(default=0)
    moved_at = models.DateTimeField(db_default=Now())
    passed_at = models.DateTimeField(null=True)

    class Meta:
        constraints: ClassVar = [models.CheckConstraint(name="ingestion_comparison_one_row", condition=Q(id=1))]

    def __str__(self) -> str:
        return f"behind {self.after}" if self.after else "at the beginning"


class DeadLetterCount(models.Model):
    """Dead letters of one kind in one project by minute, for the alarm. It is the subject of the alarm's events.

    `minutes` maps minutes since 1970 (as text) to counts; `raised_at` is the time of the last alarm, `seq` how many
    there were.
    """

    id = models.UUIDField(primary_key=True)
    project_id = models.UUIDField()
    kind = models.TextField()
    minutes = models.JSONField(default=dict)
    raised_at = models.DateTimeField(null=True)
    seq = models.IntegerField(default=0)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(name="ingestion_dead_letter_count_key", fields=("project_id", "kind")),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.project_id}"
