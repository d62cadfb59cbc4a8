"""Errors that processes log, by minute: a new table only, so nothing waits for a lock."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("events", "0004_audit_chain_indexes"),
    ]

    operations = [
        migrations.CreateModel(
            name="ErrorMinute",
            fields=[
                ("at", models.DateTimeField(primary_key=True, serialize=False)),
                ("number", models.BigIntegerField()),
            ],
        ),
    ]
