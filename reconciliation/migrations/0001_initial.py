"""Dead letters by cause, redrives and findings: new tables only, so nothing waits for a lock."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    initial = True

    # The events app brings platform_now(), by which hours and paces are told.
    dependencies = [("events", "0001_log")]

    operations = [
        migrations.CreateModel(
            name="Finding",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
                ("repaired", models.BigIntegerField(default=0)),
                ("samples", models.JSONField(default=list)),
                ("looked_at", models.DateTimeField()),
                ("since", models.DateTimeField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name="Cause",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "project_id",
                        "fingerprint",
                        "kind",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("project_id", models.UUIDField()),
                ("fingerprint", models.TextField()),
                ("kind", models.TextField()),
                ("code", models.TextField()),
                ("message", models.TextField()),
                ("sample_id", models.UUIDField()),
                ("first_at", models.DateTimeField()),
                ("last_at", models.DateTimeField()),
                ("total", models.BigIntegerField()),
                ("dead", models.BigIntegerField()),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("dead__gt", 0)), fields=["last_at"], name="reconciliation_cause_dead"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="CauseHour",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "project_id",
                        "fingerprint",
                        "kind",
                        "at",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("project_id", models.UUIDField()),
                ("fingerprint", models.TextField()),
                ("kind", models.TextField()),
                ("at", models.DateTimeField()),
                ("number", models.BigIntegerField()),
            ],
            options={
                "indexes": [models.Index(fields=["at"], name="reconciliation_hour_age")],
            },
        ),
        migrations.CreateModel(
            name="DeadLetter",
            fields=[
                ("job_id", models.UUIDField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField()),
                ("died_at", models.DateTimeField()),
                ("seq", models.IntegerField()),
                ("deaths", models.IntegerField(default=1)),
                ("dead", models.BooleanField(default=True)),
                ("kind", models.TextField()),
                ("stage", models.TextField()),
                ("status", models.TextField()),
                ("code", models.TextField()),
                ("fingerprint", models.TextField()),
            ],
            options={
                "verbose_name": "dead letter",
                "verbose_name_plural": "dead letters",
                "indexes": [
                    models.Index(
                        condition=models.Q(("dead", True)),
                        fields=["project_id", "fingerprint", "job_id"],
                        name="reconciliation_dead_cause",
                    ),
                    models.Index(
                        condition=models.Q(("dead", True)),
                        fields=["project_id", "job_id"],
                        name="reconciliation_dead_project",
                    ),
                    models.Index(condition=models.Q(("dead", True)), fields=["job_id"], name="reconciliation_dead_all"),
                ],
            },
        ),
        migrations.CreateModel(
            name="Redrive",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField(null=True)),
                ("filter", models.JSONField()),
                ("change", models.JSONField(default=dict)),
                ("pace", models.FloatField(null=True)),
                ("canary", models.IntegerField(default=0)),
                ("stop_above", models.FloatField(null=True)),
                ("spares_one_shots", models.BooleanField(default=False)),
                ("start_when_frozen", models.BooleanField(default=True)),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("freezing", "freezing"),
                            ("ready", "ready"),
                            ("running", "running"),
                            ("paused", "paused"),
                            ("stopped", "stopped"),
                            ("done", "done"),
                            ("aborted", "aborted"),
                        ],
                        default="freezing",
                    ),
                ),
                ("status_reason", models.TextField(blank=True, default="")),
                ("actor", models.TextField()),
                ("reason", models.TextField()),
                ("created_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("started_at", models.DateTimeField(null=True)),
                ("paced_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("cursor", models.UUIDField(null=True)),
                ("frozen", models.BigIntegerField(default=0)),
                ("next_number", models.BigIntegerField(default=1)),
                ("looked_at", models.DateTimeField(null=True)),
                ("settled_to", models.BigIntegerField(default=0)),
                ("judged", models.JSONField(default=dict)),
                ("redriven", models.BigIntegerField(default=0)),
                ("recovered", models.BigIntegerField(default=0)),
                ("failing", models.BigIntegerField(default=0)),
                ("failed", models.BigIntegerField(default=0)),
                ("cancelled", models.BigIntegerField(default=0)),
                ("skipped", models.BigIntegerField(default=0)),
                ("seq", models.IntegerField(default=0)),
            ],
            options={
                "permissions": [("operate_redrive", "May plan, start, pause and abort redrives")],
                "indexes": [
                    models.Index(fields=["project_id", "id"], name="reconciliation_redrive_list"),
                    models.Index(
                        condition=models.Q(("status__in", ["aborted", "done"]), _negated=True),
                        fields=["id"],
                        name="reconciliation_redrive_open",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RedriveRow",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "redrive_id", "number", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("redrive_id", models.UUIDField()),
                ("number", models.BigIntegerField()),
                ("job_id", models.UUIDField()),
                ("intervention_id", models.UUIDField(null=True)),
                ("project_id", models.UUIDField()),
                ("seq", models.IntegerField()),
                (
                    "state",
                    models.TextField(
                        choices=[
                            ("frozen", "frozen"),
                            ("redriven", "redriven"),
                            ("recovered", "recovered"),
                            ("failing", "failing"),
                            ("failed", "failed"),
                            ("cancelled", "cancelled"),
                            ("skipped", "skipped"),
                        ],
                        default="frozen",
                    ),
                ),
                ("why", models.TextField(blank=True, default="")),
                ("changed_at", models.DateTimeField(null=True)),
            ],
            options={
                "indexes": [
                    models.Index(
                        condition=models.Q(("state__in", ["failing", "redriven"])),
                        fields=["redrive_id", "number"],
                        name="reconciliation_row_unsettled",
                    ),
                    models.Index(fields=["redrive_id", "state", "number"], name="reconciliation_row_state"),
                    models.Index(fields=["job_id"], name="reconciliation_row_job"),
                ],
            },
        ),
    ]
