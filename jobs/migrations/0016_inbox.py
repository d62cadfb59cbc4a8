"""Whose an intervention is, a second person's word, comments. Quick: columns with constant defaults, a new table."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0015_awaited"),
    ]

    operations = [
        migrations.AddField(
            model_name="intervention",
            name="approved_by",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="intervention",
            name="assigned_to",
            field=models.TextField(blank=True, db_default=""),
        ),
        migrations.AddField(
            model_name="intervention",
            name="proposal",
            field=models.JSONField(null=True),
        ),
        migrations.CreateModel(
            name="InterventionComment",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("intervention_id", models.UUIDField()),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("actor", models.TextField()),
                ("text", models.TextField()),
            ],
            options={
                "verbose_name": "comment",
                "indexes": [models.Index(fields=["intervention_id", "id"], name="jobs_comment_list")],
            },
        ),
    ]
