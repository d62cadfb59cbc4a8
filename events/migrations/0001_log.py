"""The log: its partitioned table, positions, eras, the clock, consumers and the audit record."""

from django.db import migrations, models
from django.db.models.functions import Now

FUNCTIONS = """
create function platform_now() returns timestamptz language sql stable parallel safe
    as $$ select statement_timestamp() + (select ahead from events_clock) $$;
comment on function platform_now() is 'Rules due times and expiries. Call it as (select platform_now()).';

create function event_position() returns bigint language sql stable
    as $$ select pg_current_xact_id()::text::bigint + (select base from events_era) $$;
comment on function event_position() is 'Position in the log of rows that this transaction writes.';

create function event_horizon() returns bigint language sql stable
    as $$ select pg_snapshot_xmin(pg_current_snapshot())::text::bigint + (select base from events_era) $$;
comment on function event_horizon() is 'Rows of the log below this position can no longer change.';
"""

DROP_FUNCTIONS = "drop function event_horizon(); drop function event_position(); drop function platform_now();"

EVENT_TABLE = """
create sequence events_event_id_seq;
create table events_event (
    position    bigint      not null,
    id          bigint      not null default nextval('events_event_id_seq'),
    occurred_at timestamptz not null default clock_timestamp(),
    project_id  uuid        not null,
    type        text        not null,
    subject_id  uuid        not null,
    seq         integer     not null,
    data        jsonb       not null,
    primary key (position, id, occurred_at)
) partition by range (occurred_at);
create index events_event_subject on events_event (subject_id, seq);

create function events_ensure_partitions(first date, last date) returns integer language plpgsql as $$
declare
    day date := first;
    made integer := 0;
    part text;
begin
    while day <= last loop
        part := 'events_event_' || to_char(day, 'YYYYMMDD');
        if to_regclass(part) is null then
            execute format(
                'create table %I (like events_event including defaults including constraints)', part);
            execute format(
                'alter table %I add constraint %I check (occurred_at >= %L and occurred_at < %L)',
                part, part || '_day', day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
            execute format(
                'alter table events_event attach partition %I for values from (%L) to (%L)',
                part, day::timestamp at time zone 'UTC', (day + 1)::timestamp at time zone 'UTC');
            execute format('alter table %I drop constraint %I', part, part || '_day');
            made := made + 1;
        end if;
        day := day + 1;
    end loop;
    return made;
end $$;
select events_ensure_partitions((now() at time zone 'UTC')::date - 1, (now() at time zone 'UTC')::date + 14);
"""

DROP_EVENT_TABLE = """
drop table events_event;
drop function events_ensure_partitions(date, date);
drop sequence events_event_id_seq;
"""

SEED = """
insert into events_era (id, cluster, base, since)
    values (1, (select system_identifier from pg_control_system()), 0, now());
insert into events_clock (id, ahead) values (1, interval '0');
alter table events_era add constraint events_era_one_row check (id = 1);
alter table events_clock add constraint events_clock_one_row check (id = 1);
"""

AUDIT = """
create function events_audit_is_append_only() returns trigger language plpgsql as $$
begin
    raise exception 'The audit record is append-only.' using errcode = 'insufficient_privilege';
end $$;
create trigger events_audit_no_change before update or delete or truncate on events_auditrecord
    for each statement execute function events_audit_is_append_only();
"""


class Migration(migrations.Migration):
    initial = True
    dependencies: list[tuple[str, str]] = []

    operations = [
        migrations.CreateModel(
            name="Era",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("cluster", models.BigIntegerField()),
                ("base", models.BigIntegerField()),
                ("since", models.DateTimeField()),
            ],
        ),
        migrations.CreateModel(
            name="Clock",
            fields=[
                ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
                ("ahead", models.DurationField()),
            ],
        ),
        migrations.RunSQL(SEED, migrations.RunSQL.noop),
        migrations.RunSQL(FUNCTIONS, DROP_FUNCTIONS),
        migrations.SeparateDatabaseAndState(
            database_operations=[migrations.RunSQL(EVENT_TABLE, DROP_EVENT_TABLE)],
            state_operations=[
                migrations.CreateModel(
                    name="Event",
                    fields=[
                        ("id", models.BigIntegerField(primary_key=True, serialize=False)),
                        ("position", models.BigIntegerField()),
                        ("occurred_at", models.DateTimeField()),
                        ("project_id", models.UUIDField()),
                        ("type", models.TextField()),
                        ("subject_id", models.UUIDField()),
                        ("seq", models.IntegerField()),
                        ("data", models.JSONField()),
                    ],
                    options={"ordering": ("-position", "-id")},
                ),
            ],
        ),
        migrations.CreateModel(
            name="Consumer",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("position", models.BigIntegerField(default=0)),
                ("last_id", models.BigIntegerField(default=0)),
                ("moved_at", models.DateTimeField(null=True)),
                ("failures", models.IntegerField(default=0)),
                ("retry_at", models.DateTimeField(null=True)),
                ("error", models.TextField(blank=True, default="")),
            ],
        ),
        migrations.CreateModel(
            name="AuditRecord",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("occurred_at", models.DateTimeField(db_default=Now())),
                ("project_id", models.UUIDField(null=True)),
                ("actor", models.TextField()),
                ("action", models.TextField()),
                ("subject_type", models.TextField()),
                ("subject_id", models.TextField()),
                ("reason", models.TextField()),
                ("data", models.JSONField(default=dict)),
            ],
            options={
                "ordering": ("-id",),
                "indexes": [models.Index(fields=("subject_type", "subject_id"), name="events_audit_subject")],
            },
        ),
        migrations.RunSQL(AUDIT, migrations.RunSQL.noop),
    ]
