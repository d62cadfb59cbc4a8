-- owned: what a worker still holds, a slice at a time, in the order of its claim.
select j.id, j.project_id, j.kind, j.claim_no, j.attempt, j.max_attempts, j.retry_delay, j.stage, j.shelf_id, j.priority,
       j.lane,
       case when j.turn then j.limit_id end as limit_id, coalesce(j.cost, 1) as cost, j.lane_no,
       extract(epoch from (select platform_now()) - j.started_at)::float8 as held
from jobs_job j
where j.claimed_by = %(worker)s
  and j.status = 'processing'
order by j.due_at, j.id
limit %(limit)s
