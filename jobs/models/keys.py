"""Keys that make something happen once."""

from django.db import models
from django.db.models.functions import Now


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
