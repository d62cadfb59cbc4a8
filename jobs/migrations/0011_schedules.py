"""What the platform knows of schedules, and which instants made jobs. New tables, and an empty column."""

import uuid

import django.db.models.deletion
import django.db.models.functions.datetime
import uuid_utils.compat
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("django_celery_beat", "0019_alter_periodictasks_options"),
        ("jobs", "0010_batch_index"),
    ]

    operations = [
        migrations.AddField(
            model_name="pause",
            name="schedules",
            field=models.TextField(blank=True, choices=[("skip", "skip"), ("one", "one"), ("all", "all")], null=True),
        ),
        migrations.CreateModel(
            name="Firing",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "schedule_id", "instant", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("schedule_id", models.UUIDField()),
                ("instant", models.DateTimeField()),
                ("project_id", models.UUIDField()),
                ("job_id", models.UUIDField()),
                ("fired_at", models.DateTimeField()),
            ],
            options={
                "indexes": [models.Index(fields=["instant"], name="jobs_firing_instant")],
            },
        ),
        migrations.CreateModel(
            name="Schedule",
            fields=[
                ("id", models.UUIDField(default=uuid_utils.compat.uuid7, primary_key=True, serialize=False)),
                ("project_id", models.UUIDField(default=uuid.UUID("00000000-0000-0000-0000-000000000000"))),
                ("missed", models.TextField(choices=[("skip", "skip"), ("one", "one"), ("all", "all")], default="one")),
                (
                    "while_paused",
                    models.TextField(choices=[("skip", "skip"), ("one", "one"), ("all", "all")], default="one"),
                ),
                (
                    "overlap",
                    models.TextField(
                        choices=[("allow", "allow"), ("skip", "skip"), ("queue_one", "queue one")], default="allow"
                    ),
                ),
                ("pause_on_failures", models.PositiveSmallIntegerField(default=0)),
                ("paused_reason", models.TextField(blank=True, default="")),
                ("fingerprint", models.TextField(blank=True, default="")),
                ("fired_until", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("next_at", models.DateTimeField(null=True)),
                ("waiting_at", models.DateTimeField(null=True)),
                ("held", models.TextField(blank=True, default="")),
                ("resumed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("seq", models.IntegerField(default=0)),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "task",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="jobs_schedule",
                        to="django_celery_beat.periodictask",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("held", ""), ("next_at__isnull", False)),
                        fields=["next_at"],
                        name="jobs_schedule_next",
                    ),
                    models.Index(
                        condition=models.Q(
                            models.Q(("held", ""), _negated=True), ("waiting_at__isnull", False), _connector="OR"
                        ),
                        fields=["id"],
                        name="jobs_schedule_watched",
                    ),
                    models.Index(fields=["project_id", "id"], name="jobs_schedule_list"),
                ],
            },
        ),
    ]
