"""Empty columns for the seals of the audit record, and triggers that let each record be sealed once and never changed.

Quick on a busy database: no row is touched. The relay seals what is there already, slice by slice.
"""

from django.db import migrations, models

# Who changes a table waits for its transactions, and everybody else waits behind him.
PATIENCE = "set local lock_timeout = '2s'"

# Compared byte by byte (`*=`), with the seal as the one difference, so that no column can be forgotten here.
GUARDS = """
create or replace function events_audit_seals_once() returns trigger language plpgsql as $$
begin
    if old.chain_no is null and old.prev_hash is null and old.hash is null
       and new.chain_no is not null and new.prev_hash is not null and new.hash is not null then
        old.chain_no := new.chain_no;
        old.prev_hash := new.prev_hash;
        old.hash := new.hash;
        if old *= new then
            return new;
        end if;
    end if;
    raise exception 'The audit record is append-only.' using errcode = 'insufficient_privilege';
end $$;
drop trigger if exists events_audit_no_change on events_auditrecord;
create trigger events_audit_no_change before delete or truncate on events_auditrecord
    for each statement execute function events_audit_is_append_only();
create trigger events_audit_seal_once before update on events_auditrecord
    for each row execute function events_audit_seals_once();
create trigger events_audit_unsealed before insert on events_auditrecord
    for each row when (new.chain_no is not null or new.prev_hash is not null or new.hash is not null)
    execute function events_audit_is_append_only();
"""

UNGUARD = """
drop trigger events_audit_unsealed on events_auditrecord;
drop trigger events_audit_seal_once on events_auditrecord;
drop trigger events_audit_no_change on events_auditrecord;
create trigger events_audit_no_change before update or delete or truncate on events_auditrecord
    for each statement execute function events_audit_is_append_only();
drop function events_audit_seals_once();
"""


class Migration(migrations.Migration):
    dependencies = [("events", "0002_partition_functions")]

    operations = [
        migrations.RunSQL(PATIENCE, migrations.RunSQL.noop),
        migrations.AddField(model_name="auditrecord", name="chain_no", field=models.BigIntegerField(null=True)),
        migrations.AddField(model_name="auditrecord", name="prev_hash", field=models.TextField(null=True)),
        migrations.AddField(model_name="auditrecord", name="hash", field=models.TextField(null=True)),
        migrations.RunSQL(GUARDS, UNGUARD),
    ]
