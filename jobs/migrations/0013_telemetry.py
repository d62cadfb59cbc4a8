"""What the monitoring asks for. Quick on a busy database: new tables, and empty columns of a small one."""

from django.db import migrations, models
from django.db.models.functions import Now

# Who changes a table waits for its transactions, and everybody else waits behind him.
PATIENCE = "set local lock_timeout = '2s'"


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0012_rollups"),
    ]

    operations = [
        migrations.RunSQL(PATIENCE, migrations.RunSQL.noop),
        migrations.CreateModel(
            name="Timing",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "kind", "measure", "bucket", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("kind", models.TextField()),
                ("measure", models.TextField()),
                ("bucket", models.SmallIntegerField()),
                ("total", models.BigIntegerField()),
                ("seconds", models.FloatField()),
            ],
        ),
        migrations.CreateModel(
            name="Pulse",
            fields=[
                ("role", models.TextField(primary_key=True, serialize=False)),
                ("host", models.TextField()),
                ("pid", models.IntegerField()),
                ("rounded_at", models.DateTimeField(db_default=Now())),
                ("slowest", models.FloatField()),
                ("skew", models.FloatField()),
                ("stopped_at", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Canary",
            fields=[
                ("queue", models.TextField(primary_key=True, serialize=False)),
                ("job_id", models.UUIDField(null=True)),
                ("submitted_at", models.DateTimeField(db_default=Now())),
                ("passed_at", models.DateTimeField(db_default=Now())),
                ("seconds", models.FloatField(null=True)),
            ],
            options={"verbose_name_plural": "canaries"},
        ),
        migrations.AddField(model_name="worker", name="progress_at", field=models.DateTimeField(null=True)),
        migrations.AddField(model_name="worker", name="skew", field=models.FloatField(null=True)),
    ]
