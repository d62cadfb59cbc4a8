"""Whose a company_id is. A new table, filled from the messages that are there: nothing waits for a lock.

One look into an index per company, not per message, finds the owner: the project of the company's first key in object
storage. Messages that processes of the version before store meanwhile bind their company with its next message.
"""

from django.db import migrations, models

BIND = """
with recursive company as (
    (select company_id, project_id from ingestion_message order by company_id, message_id limit 1)
    union all
    select following.* from company cross join lateral (
        select m.company_id, m.project_id from ingestion_message m
        where m.company_id > company.company_id order by m.company_id, m.message_id limit 1
    ) following
)
insert into ingestion_company (company_id, project_id) select company_id, project_id from company
on conflict (company_id) do nothing
"""


class Migration(migrations.Migration):
    dependencies = [("ingestion", "0001_initial")]

    operations = [
        migrations.CreateModel(
            name="Company",
            fields=[
                ("company_id", models.UUIDField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField()),
            ],
            options={"verbose_name_plural": "companies"},
        ),
        migrations.RunSQL(BIND, migrations.RunSQL.noop),
    ]
