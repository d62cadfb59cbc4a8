"""Who waits behind a limit, in order. Built while the platform works."""

from django.db import migrations, models

from jobplatform.indexes import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("jobs", "0007_limits"),
    ]

    operations = [
        BuildIndex(
            model_name="job",
            index=models.Index(
                models.F("limit_id"),
                models.F("gate"),
                models.OrderBy(models.F("priority"), descending=True),
                models.F("due_at"),
                models.F("id"),
                condition=models.Q(("limit_id__isnull", False), ("status", "queued")),
                name="jobs_job_limit",
            ),
        ),
    ]
