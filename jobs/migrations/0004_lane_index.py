"""The order of the lanes, built while the platform works."""

from django.db import migrations, models

from jobplatform.indexes import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("jobs", "0003_lanes"),
    ]

    operations = [
        BuildIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(
                    ("lane__isnull", False),
                    ("status__in", ["blocked", "confirming", "parked", "pending_approval", "processing", "queued"]),
                ),
                fields=["project_id", "lane", "lane_no"],
                name="jobs_job_lane",
            ),
        ),
    ]
