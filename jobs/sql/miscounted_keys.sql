-- miscounted_keys: keys whose count of what is in use is not that of the jobs that run.
select id
from (select id, in_use from jobs_limitkey where in_use > 0) k
full join (
    select j.limit_id as id, sum(coalesce(j.cost, 1)) as cost
    from jobs_job j
    where j.status = 'processing' and j.turn
    group by j.limit_id
) running using (id)
where k.in_use is distinct from running.cost
