"""Messages: new tables only, so nothing waits for a lock."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    # The events app brings platform_now(), by which messages are stored and graces end.
    dependencies = [("events", "0001_log")]

    operations = [
        migrations.CreateModel(
            name="Comparison",
            fields=[
                ("id", models.SmallIntegerField(default=1, primary_key=True, serialize=False)),
                ("after", models.TextField(blank=True, default="")),
                ("passes", models.IntegerField(default=0)),
                ("moved_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("passed_at", models.DateTimeField(null=True)),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(condition=models.Q(("id", 1)), name="ingestion_comparison_one_row")
                ],
            },
        ),
        migrations.CreateModel(
            name="DeadLetterCount",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField()),
                ("kind", models.TextField()),
                ("minutes", models.JSONField(default=dict)),
                ("raised_at", models.DateTimeField(null=True)),
                ("seq", models.IntegerField(default=0)),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(fields=("project_id", "kind"), name="ingestion_dead_letter_count_key")
                ],
            },
        ),
        migrations.CreateModel(
            name="Message",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField()),
                ("company_id", models.UUIDField()),
                ("message_id", models.UUIDField()),
                ("message_time", models.DateTimeField()),
                ("stored_at", models.DateTimeField(null=True)),
                ("size", models.IntegerField()),
                ("body_sha256", models.BinaryField()),
                ("body", models.BinaryField()),
                ("error", models.JSONField(null=True)),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("stored_at__isnull", True)),
                        fields=["project_id", "id"],
                        name="ingestion_message_unstored",
                    ),
                    models.Index(
                        condition=models.Q(("stored_at__isnull", False)),
                        fields=["project_id", "id"],
                        name="ingestion_message_stored",
                    ),
                    models.Index(
                        condition=models.Q(("stored_at__isnull", True)),
                        fields=["project_id", "company_id", "id"],
                        name="ingestion_company_unstored",
                    ),
                    models.Index(
                        condition=models.Q(("stored_at__isnull", False)),
                        fields=["project_id", "company_id", "id"],
                        name="ingestion_company_stored",
                    ),
                    models.Index(fields=["company_id", "message_id"], name="ingestion_message_object"),
                ],
                "constraints": [
                    models.UniqueConstraint(fields=("message_id", "project_id"), name="ingestion_message_key")
                ],
            },
        ),
    ]
