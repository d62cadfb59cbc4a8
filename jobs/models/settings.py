"""What people set beside what the code says."""

from django.db import models
from django.db.models.functions import Now


class KindSettings(models.Model):
    """What one kind is set to while it runs; null: as its code says. A row stays when all of it is reset.

    `version` is the highest of the table after each change; by it the processes learn that something has changed.
    """

    kind = models.TextField(primary_key=True)
    max_attempts = models.SmallIntegerField(null=True)
    first = models.FloatField(null=True)  # seconds
    factor = models.FloatField(null=True)
    cap = models.FloatField(null=True)  # seconds
    timeout = models.FloatField(null=True)  # seconds
    batch = models.SmallIntegerField(null=True)
    expect = models.FloatField(null=True)  # seconds
    priority = models.SmallIntegerField(null=True)
    version = models.BigIntegerField()
    updated_at = models.DateTimeField(db_default=Now())
    updated_by = models.TextField()
    reason = models.TextField()

    class Meta:
        verbose_name = "settings of a kind"
        verbose_name_plural = "settings of kinds"

    def __str__(self) -> str:
        return self.kind
