"""What parked jobs wait for. Quick on a busy database: a new table and a function."""

from django.db import migrations, models

# Of the events about one subject the newest are looked at first, so that only those cost that came since. Days before
# the job are not looked into, with a day to spare for a clock that was put back.
FUNCTION = """
create function jobs_first_awaited(waits jobs_awaited, horizon bigint)
returns table ("position" bigint, id bigint, occurred_at timestamptz, seq integer) language plpgsql stable as $$
declare
    e record;
begin
    for e in
        select o.position, o.id, o.occurred_at, o.seq, o.type, o.project_id
        from events_event o
        where o.subject_id = waits.subject_id
          and o.occurred_at >= coalesce(waits.since_at, '-infinity') - interval '1 day'
        order by o.seq desc
    loop
        exit when not ((e.position, e.id) > (waits.since_position, waits.since_id)
                       or (waits.since_id = 0 and coalesce(e.occurred_at >= waits.since_at, false)));
        if e.type = waits.type and e.project_id = waits.project_id and e.position < horizon then
            "position" := e.position;
            id := e.id;
            occurred_at := e.occurred_at;
            seq := e.seq;
        end if;
    end loop;
    if id is not null then
        return next;
    end if;
end $$;
comment on function jobs_first_awaited(jobs_awaited, bigint) is 'The first event that a parked job waits for.';
"""


class Migration(migrations.Migration):
    dependencies = [
        ("events", "0002_partition_functions"),
        ("jobs", "0014_kind_settings"),
    ]

    operations = [
        migrations.CreateModel(
            name="Awaited",
            fields=[
                ("job_id", models.UUIDField(primary_key=True, serialize=False)),
                ("project_id", models.UUIDField()),
                ("claim_no", models.IntegerField()),
                ("type", models.TextField()),
                ("subject", models.TextField(blank=True)),
                ("subject_id", models.UUIDField()),
                ("since_position", models.BigIntegerField()),
                ("since_id", models.BigIntegerField()),
                ("since_at", models.DateTimeField(null=True)),
                ("parked_at", models.DateTimeField()),
            ],
            options={
                "verbose_name_plural": "awaited",
                "indexes": [models.Index(fields=["project_id", "type", "subject_id"], name="jobs_awaited_by_event")],
            },
        ),
        migrations.RunSQL(FUNCTION, "drop function jobs_first_awaited(jobs_awaited, bigint)"),
    ]
