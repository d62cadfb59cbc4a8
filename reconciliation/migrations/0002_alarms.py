"""Alarms, their rules and silences: new tables only, so nothing waits for a lock."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("reconciliation", "0001_initial"),
    ]

    operations = [
        migrations.CreateModel(
            name="AlarmRule",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("name", models.TextField(unique=True)),
                ("measure", models.TextField()),
                ("project_id", models.UUIDField(blank=True, null=True)),
                ("subject", models.TextField(blank=True, default="")),
                ("threshold", models.FloatField()),
                ("clears_at", models.FloatField()),
                ("lasts_seconds", models.FloatField(default=60)),
                ("calm_seconds", models.FloatField(default=120)),
                ("severity", models.TextField(choices=[("page", "page"), ("warn", "warn")], default="warn")),
                (
                    "mail_to",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, default=list, size=None
                    ),
                ),
                (
                    "topics",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.TextField(), blank=True, default=list, size=None
                    ),
                ),
                ("enabled", models.BooleanField(default=True)),
                ("advice", models.TextField(blank=True, default="")),
                ("changed_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "verbose_name": "rule of alarms",
                "verbose_name_plural": "rules of alarms",
            },
        ),
        migrations.CreateModel(
            name="AlarmSample",
            fields=[
                ("at", models.DateTimeField(primary_key=True, serialize=False)),
                ("values", models.JSONField()),
            ],
            options={
                "verbose_name": "sample of measures",
                "verbose_name_plural": "samples of measures",
            },
        ),
        migrations.CreateModel(
            name="Alarm",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("name", models.TextField()),
                ("measure", models.TextField()),
                ("project_id", models.UUIDField(null=True)),
                ("subject", models.TextField(blank=True)),
                ("severity", models.TextField()),
                ("threshold", models.FloatField()),
                (
                    "state",
                    models.TextField(choices=[("pending", "pending"), ("firing", "firing"), ("resolved", "resolved")]),
                ),
                ("value", models.FloatField()),
                ("worst", models.FloatField()),
                ("since", models.DateTimeField()),
                ("fired_at", models.DateTimeField(null=True)),
                ("calm_since", models.DateTimeField(null=True)),
                ("resolved_at", models.DateTimeField(null=True)),
                ("why_resolved", models.TextField(blank=True, default="")),
                ("told_at", models.DateTimeField(null=True)),
                (
                    "messages",
                    django.contrib.postgres.fields.ArrayField(base_field=models.UUIDField(), default=list, size=None),
                ),
                ("seq", models.IntegerField(default=0)),
                (
                    "rule",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="alarms",
                        to="reconciliation.alarmrule",
                    ),
                ),
            ],
            options={
                "indexes": [
                    models.Index(fields=["project_id", "id"], name="reconciliation_alarm_list"),
                    models.Index(fields=["resolved_at"], name="reconciliation_alarm_over"),
                ],
                "constraints": [
                    models.UniqueConstraint(
                        condition=models.Q(("state", "resolved"), _negated=True),
                        fields=("rule", "subject"),
                        name="reconciliation_alarm_one",
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Silence",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("subject", models.TextField(blank=True, default="")),
                ("until", models.DateTimeField()),
                ("actor", models.TextField()),
                ("reason", models.TextField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "rule",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.CASCADE,
                        to="reconciliation.alarmrule",
                    ),
                ),
            ],
            options={
                "indexes": [models.Index(fields=["until"], name="reconciliation_silence_until")],
            },
        ),
    ]
