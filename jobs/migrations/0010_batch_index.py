"""The jobs of a batch by status. Built while the platform works."""

from django.db import migrations, models

from jobplatform.indexes import BuildIndex


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("jobs", "0009_bulk_and_batches"),
    ]

    operations = [
        BuildIndex(
            model_name="job",
            index=models.Index(
                condition=models.Q(("batch_id__isnull", False)),
                fields=["batch_id", "status", "id"],
                name="jobs_job_batch",
            ),
        ),
    ]
