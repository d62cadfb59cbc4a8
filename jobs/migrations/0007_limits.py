"""Limits: empty columns, and tables for their keys and rules. Quick on a busy database."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0006_pauses"),
    ]

    operations = [
        migrations.AddField(model_name="job", name="limit_id", field=models.BigIntegerField(null=True)),
        migrations.AddField(model_name="job", name="cost", field=models.SmallIntegerField(null=True)),
        migrations.AddField(model_name="job", name="turn", field=models.BooleanField(null=True)),
        migrations.CreateModel(
            name="LimitKey",
            fields=[
                ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField()),
                ("name", models.TextField()),
                ("key", models.TextField()),
                ("concurrency", models.IntegerField(null=True)),
                ("rate", models.FloatField(null=True)),
                ("burst", models.FloatField(null=True)),
                ("in_use", models.IntegerField(default=0)),
                ("waiting", models.BooleanField(default=False)),
                ("next_at", models.DateTimeField(null=True)),
                ("closed_until", models.DateTimeField(blank=True, null=True)),
                ("closed_reason", models.TextField(blank=True, default="")),
                ("ramp", models.IntegerField(null=True)),
                ("touched_at", models.DateTimeField()),
            ],
            options={
                "indexes": [
                    models.Index(fields=["project_id", "name", "key"], name="jobs_limitkey_list"),
                    models.Index(condition=models.Q(("waiting", True)), fields=["id"], name="jobs_limitkey_waiting"),
                ],
            },
        ),
        migrations.RunSQL("alter table jobs_limitkey set (fillfactor = 50)", migrations.RunSQL.noop),
        migrations.CreateModel(
            name="LimitRule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField()),
                ("project_id", models.UUIDField(blank=True, null=True)),
                ("concurrency", models.IntegerField(blank=True, null=True)),
                ("rate", models.FloatField(blank=True, null=True)),
                ("burst", models.FloatField(blank=True, null=True)),
                ("changed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("name", "project_id"), name="jobs_limitrule_key", nulls_distinct=False
                    )
                ],
            },
        ),
    ]
