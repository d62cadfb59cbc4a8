-- count_keys: put what is in use of these keys to the truth, which is the jobs that run. The caller has locked the keys'
-- rows in an earlier statement, so this one sees all that was claimed and all that ended.
update jobs_limitkey k
set in_use = coalesce((
    select sum(coalesce(j.cost, 1))
    from jobs_job j
    where j.status = 'processing' and j.turn and j.limit_id = k.id
), 0)
where k.id = any(%(id)s::bigint[])
returning k.id
