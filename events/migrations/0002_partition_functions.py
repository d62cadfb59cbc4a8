"""Partitions come and go through two functions of the owner, so that processes need not own the log.

Each runs with its owner's rights, on a search_path of its own; who may call them is decided by `manage.py setup_roles`.
A partition has row-level security and no policy: rows are reached through the log itself, or not at all.
"""

from django.db import migrations

ENSURE = """
create or replace function events_ensure_partitions(first date, last date) returns integer
language plpgsql security definer as $$
declare
    day date := first;
    made integer := 0;
    part text;
    other text;
begin
    while day <= last loop
        part := 'events_event_' || to_char(day, 'YYYYMMDD');
        if to_regclass(part) is null then
            execute format(
                'create table %I (like events_event including defaults including constraints)', part);
            execute format('alter table %I enable row level security', part);
            for other in  -- what default privileges have given away
                select distinct case when a.grantee = 0 then 'public' else a.grantee::regrole::text end
                from pg_class c, aclexplode(c.relacl) a
                where c.oid = to_regclass(part) and a.grantee <> c.relowner
            loop
                execute format('revoke all on %I from %s', part, other);
            end loop;
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
"""

# A function cannot detach concurrently. Writers wait while it waits for the lock, so it waits for a moment only.
DROP = """
create function events_drop_partition(part text) returns boolean
language plpgsql security definer set lock_timeout = '50ms' as $$
declare
    found_part regclass;
    unread boolean;
begin
    select c.oid::regclass into found_part
    from pg_inherits i join pg_class c on c.oid = i.inhrelid
    where i.inhparent = 'events_event'::regclass and c.relname = part;
    if found_part is null then
        raise exception '% is no partition of the log.', part using errcode = 'undefined_table';
    end if;
    if right(part, 8) >= to_char((now() at time zone 'UTC')::date - 1, 'YYYYMMDD') then
        raise exception 'Days that may still be written stay.' using errcode = 'insufficient_privilege';
    end if;
    execute format(
        'select exists (select 1 from %s e, events_consumer c where (e.position, e.id) > (c.position, c.last_id))',
        found_part) into unread;
    if unread then
        return false;
    end if;
    execute format('alter table events_event detach partition %s', found_part);
    execute format('drop table %s', found_part);
    return true;
end $$;
comment on function events_drop_partition(text) is 'Drops a day of the log. False: a consumer has yet to read it.';
"""

PIN = """
do $$
declare
    signature text;
begin
    foreach signature in array array['events_ensure_partitions(date, date)', 'events_drop_partition(text)'] loop
        execute format('alter function %s set search_path = %I, pg_temp', signature, current_schema());
        execute format('revoke execute on function %s from public', signature);
    end loop;
end $$;
"""

DROP_FUNCTION = """
drop function events_drop_partition(text);
alter function events_ensure_partitions(date, date) security invoker;
"""


class Migration(migrations.Migration):
    dependencies = [("events", "0001_log")]

    operations = [
        migrations.RunSQL(ENSURE + DROP + PIN, DROP_FUNCTION),
    ]
