-- due: kinds with something due, most urgent first. Reads each candidate shelf from its mark by one index probe.
select s.kind, max(s.priority)::int as priority,
       extract(epoch from (select platform_now()) - min(first.due_at))::float8 as late
from jobs_shelf s
cross join lateral (
    select j.due_at
    from jobs_job j
    where j.shelf_id = s.id and j.status = 'queued' and j.gate = 0
      and j.due_at >= least(s.low_due_at, (select platform_now()) - interval '1 second')
      and j.due_at <= (select platform_now())
    order by j.shelf_id, j.due_at, j.id
    limit 1
) first
where s.low_due_at <= (select platform_now())
  and not s.paused
group by s.kind
order by priority desc, late desc
