-- overdue: which of these jobs, whose time to wait is over, have their event in the log all the same.
-- One that is committed but not settled is told too: it will be met as the log goes on, and is no reason to give up.
select a.job_id, a.project_id, a.claim_no, a.type, a.subject, f.position, f.id, f.occurred_at, f.seq,
       f.position < (select event_horizon()) as settled
from jobs_awaited a
cross join lateral jobs_first_awaited(a, 9223372036854775807) f
where a.job_id = any(%(id)b::uuid[])
order by a.job_id
