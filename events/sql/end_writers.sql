-- end_writers: end what holds back the horizon: transactions with an id of their own that are older than %(seconds)s.
with held as materialized (
    select a.pid, a.usename, coalesce(a.datname, '') as datname, a.application_name,
           extract(epoch from clock_timestamp() - a.xact_start)::float8 as seconds
    from pg_stat_activity a
    join pg_roles r on r.oid = a.usesysid
    where a.backend_type = 'client backend'
      and a.backend_xid is not null
      and a.xact_start < clock_timestamp() - %(seconds)s * interval '1 second'
      and a.pid <> pg_backend_pid()
      and not r.rolsuper
      and (pg_has_role(current_user, a.usesysid, 'usage') or pg_has_role(current_user, 'pg_signal_backend', 'usage'))
)
select pid, usename, datname, application_name, seconds
from held
where pg_terminate_backend(pid)
