"""Projects and their API keys."""

from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

MOST_WEIGHT = 100


def new_id() -> UUID:
    """A UUIDv7: later ones sort behind earlier ones."""
    return uuid7()


class Project(models.Model):
    """A tenant. Jobs, messages, events and keys belong to one project and are seen by no other."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=100)
    slug = models.SlugField(max_length=63, unique=True)
    weight = models.PositiveSmallIntegerField(
        default=1,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_WEIGHT)],
        help_text="Share of the workers when several projects wait: 2 gets twice as much as 1.",
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        ordering = ("-id",)
        constraints = [
            models.CheckConstraint(name="projects_project_weight", condition=models.Q(weight__range=(1, MOST_WEIGHT))),
        ]
        permissions = [("operate_project", "Can act for any project through the API")]

    def __str__(self) -> str:
        return self.name


class ApiKey(models.Model):
    """A key to one project. Its text is shown when it is issued; here is only an HMAC of it."""

    key_id = models.CharField(primary_key=True, max_length=12, editable=False)
    project = models.ForeignKey(Project, on_delete=models.PROTECT, related_name="keys", db_index=False)
    name = models.CharField(max_length=100)
    hash = models.BinaryField(max_length=32)
    scopes = ArrayField(models.TextField())
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    created_by = models.TextField(editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)

    class Meta:
        verbose_name = "API key"
        ordering = ("-created_at", "-key_id")
        indexes = [
            models.Index(fields=["project", "created_at", "key_id"], name="projects_apikey_list"),
        ]
        constraints = [
            models.CheckConstraint(name="projects_apikey_key_id", condition=models.Q(key_id__regex="^[a-z2-7]{12}$")),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.key_id})"
