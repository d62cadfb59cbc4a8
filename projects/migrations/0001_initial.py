"""Projects and API keys: new tables only, so nothing waits for a lock."""

import django.contrib.postgres.fields
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import projects.models


class Migration(migrations.Migration):
    initial = True

    # The events app brings platform_now(), by which keys expire, and the audit record.
    dependencies = [("events", "0001_log")]

    operations = [
        migrations.CreateModel(
            name="Project",
            fields=[
                (
                    "id",
                    models.UUIDField(default=projects.models.new_id, editable=False, primary_key=True, serialize=False),
                ),
                ("name", models.CharField(max_length=100)),
                ("slug", models.SlugField(max_length=63, unique=True)),
                (
                    "weight",
                    models.PositiveSmallIntegerField(
                        default=1,
                        help_text="Share of the workers when several projects wait: 2 gets twice as much as 1.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(100),
                        ],
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
            ],
            options={
                "ordering": ("-id",),
                "permissions": [("operate_project", "Can act for any project through the API")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("weight__range", (1, 100))), name="projects_project_weight"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="ApiKey",
            fields=[
                ("key_id", models.CharField(editable=False, max_length=12, primary_key=True, serialize=False)),
                ("name", models.CharField(max_length=100)),
                ("hash", models.BinaryField(max_length=32)),
                (
                    "scopes",
                    django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("created_by", models.TextField(editable=False)),
                ("expires_at", models.DateTimeField(blank=True, null=True)),
                ("revoked_at", models.DateTimeField(blank=True, editable=False, null=True)),
                ("last_used_at", models.DateTimeField(blank=True, editable=False, null=True)),
                (
                    "project",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="keys",
                        to="projects.project",
                    ),
                ),
            ],
            options={
                "verbose_name": "API key",
                "ordering": ("-created_at", "-key_id"),
                "indexes": [
                    models.Index(fields=["project", "created_at", "key_id"], name="projects_apikey_list"),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("key_id__regex", "^[a-z2-7]{12}$")), name="projects_apikey_key_id"
                    )
                ],
            },
        ),
    ]
