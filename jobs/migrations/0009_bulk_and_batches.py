"""Acts on many jobs, and batches. Quick on a busy database: new tables and an empty column."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0008_limit_index"),
    ]

    operations = [
        migrations.AddField(model_name="job", name="batch_id", field=models.UUIDField(null=True)),
        migrations.CreateModel(
            name="BulkAct",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField()),
                ("verb", models.TextField()),
                ("filter", models.JSONField()),
                ("priority", models.SmallIntegerField(null=True)),
                ("actor", models.TextField()),
                ("reason", models.TextField()),
                ("status", models.TextField(default="running")),
                ("matched", models.IntegerField(default=0)),
                ("done", models.IntegerField(default=0)),
                ("skipped", models.IntegerField(default=0)),
                ("cursor", models.UUIDField(null=True)),
                ("until", models.UUIDField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("finished_at", models.DateTimeField(null=True)),
            ],
            options={"indexes": [models.Index(fields=["project_id", "id"], name="jobs_bulkact_list")]},
        ),
        migrations.CreateModel(
            name="JobBatch",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField()),
                ("name", models.TextField(blank=True, default="")),
                ("total", models.IntegerField()),
                ("follow", models.JSONField(null=True)),
                ("follow_when", models.TextField(default="ended")),
                ("follow_id", models.UUIDField(null=True)),
                ("follow_error", models.TextField(blank=True, default="")),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("ended_at", models.DateTimeField(null=True)),
                ("stalled_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "batch",
                "verbose_name_plural": "batches",
                "indexes": [
                    models.Index(fields=["project_id", "id"], name="jobs_batch_list"),
                    models.Index(
                        condition=models.Q(("ended_at", None), ("stalled_at", None)),
                        fields=["id"],
                        name="jobs_batch_open",
                    ),
                ],
            },
        ),
    ]
