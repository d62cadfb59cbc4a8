"""What each project weighs. Those that there are weigh 1 until `projects` says otherwise."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("jobs", "0004_lane_index"),
    ]

    operations = [
        migrations.CreateModel(
            name="Share",
            fields=[
                ("project_id", models.UUIDField(primary_key=True, serialize=False)),
                ("weight", models.SmallIntegerField(default=1)),
            ],
        ),
    ]
