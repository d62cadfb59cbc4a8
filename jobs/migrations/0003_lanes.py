"""Lanes, and one open intervention per subject. Quick on a busy database: new tables, an empty column, small tables."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0002_api"),
    ]

    operations = [
        migrations.CreateModel(
            name="Lane",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "project_id", "lane", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("project_id", models.UUIDField()),
                ("lane", models.TextField()),
                ("last_no", models.BigIntegerField()),
            ],
        ),
        migrations.RunSQL("alter table jobs_lane set (fillfactor = 50)", migrations.RunSQL.noop),
        migrations.AddField(
            model_name="job",
            name="lane_no",
            field=models.BigIntegerField(null=True),
        ),
        migrations.RemoveIndex(model_name="intervention", name="jobs_intervention_open"),
        migrations.AddIndex(
            model_name="intervention",
            index=models.Index(fields=["project_id", "id"], name="jobs_intervention_list"),
        ),
        migrations.AddConstraint(
            model_name="intervention",
            constraint=models.UniqueConstraint(
                condition=models.Q(("resolved_at", None)),
                fields=("subject_type", "subject_id"),
                name="jobs_intervention_one",
            ),
        ),
    ]
