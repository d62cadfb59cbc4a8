"""Pauses of a project, a kind or a queue."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0005_share"),
    ]

    operations = [
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField(null=True)),
                ("kind", models.TextField(null=True)),
                ("queue", models.TextField(null=True)),
                ("until", models.DateTimeField(blank=True, null=True)),
                ("reason", models.TextField()),
                ("actor", models.TextField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("project_id__isnull", False),
                            ("kind__isnull", False),
                            ("queue__isnull", False),
                            _connector="OR",
                        ),
                        name="jobs_pause_names",
                    )
                ],
            },
        ),
        migrations.AddField(
            model_name="shelf",
            name="pause_id",
            field=models.UUIDField(null=True),
        ),
    ]
