-- take_key: a key is free when nobody has it, when its time is over, or when its job has ended.
insert into jobs_uniquekey (project_id, kind, key, job_id, until)
values (%(project_id)s, %(kind)s, %(key)s, %(job_id)s,
        (select platform_now()) + %(seconds)s::float8 * interval '1 second')
on conflict (project_id, kind, key) do update
set job_id = excluded.job_id, until = excluded.until
where jobs_uniquekey.until < (select platform_now())
   or (jobs_uniquekey.until is null and coalesce((
       select j.status from jobs_job j
       where j.project_id = jobs_uniquekey.project_id and j.id = jobs_uniquekey.job_id
   ), 'cancelled') in ('processed', 'confirmed', 'failed', 'rejected', 'cancelled'))
returning job_id
