"""What happened per minute, hour and day. A new table: quick on a busy database."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0011_schedules"),
    ]

    operations = [
        migrations.CreateModel(
            name="Rollup",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "project_id",
                        "seconds",
                        "by_kind",
                        "measure",
                        "at",
                        "kind",
                        "bucket",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("project_id", models.UUIDField()),
                ("seconds", models.IntegerField()),
                ("by_kind", models.BooleanField()),
                ("measure", models.SmallIntegerField()),
                ("at", models.DateTimeField()),
                ("kind", models.TextField()),
                ("bucket", models.SmallIntegerField()),
                ("number", models.BigIntegerField()),
                ("total", models.FloatField()),
                ("most", models.FloatField()),
            ],
            options={
                "indexes": [models.Index(fields=["seconds", "at"], name="jobs_rollup_age")],
            },
        ),
        # The rows of this minute, hour and day are written again and again; no index knows what changes in them.
        migrations.RunSQL("alter table jobs_rollup set (fillfactor = 70)", migrations.RunSQL.noop),
    ]
