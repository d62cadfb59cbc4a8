"""Weights that had no effect so far get it."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [
        ("projects", "0001_initial"),
        ("jobs", "0005_share"),
    ]

    operations = [
        migrations.RunSQL(
            """
            insert into jobs_share (project_id, weight)
            select id, weight from projects_project where weight <> 1
            on conflict (project_id) do update set weight = excluded.weight;
            update jobs_shelf s set weight = p.weight
            from projects_project p where p.id = s.project_id and p.weight <> s.weight;
            """,
            migrations.RunSQL.noop,
        ),
    ]
