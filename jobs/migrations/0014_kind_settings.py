"""Settings of kinds that people change live: a new, small table."""

from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0013_telemetry"),
    ]

    operations = [
        migrations.CreateModel(
            name="KindSettings",
            fields=[
                ("kind", models.TextField(primary_key=True, serialize=False)),
                ("max_attempts", models.SmallIntegerField(null=True)),
                ("first", models.FloatField(null=True)),
                ("factor", models.FloatField(null=True)),
                ("cap", models.FloatField(null=True)),
                ("timeout", models.FloatField(null=True)),
                ("batch", models.SmallIntegerField(null=True)),
                ("expect", models.FloatField(null=True)),
                ("priority", models.SmallIntegerField(null=True)),
                ("version", models.BigIntegerField()),
                ("updated_at", models.DateTimeField(db_default=Now())),
                ("updated_by", models.TextField()),
                ("reason", models.TextField()),
            ],
            options={"verbose_name": "settings of a kind", "verbose_name_plural": "settings of kinds"},
        ),
    ]
