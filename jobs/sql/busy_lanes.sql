-- busy_lanes: those of these lanes in which a job has not ended.
select x.project_id, x.lane
from unnest(%(project_id)b::uuid[], %(lane)b::text[]) as x (project_id, lane)
cross join lateral (
    select j.lane_no
    from jobs_job j
    where j.project_id = x.project_id
      and j.lane = x.lane
      and j.status in ('queued', 'processing', 'parked', 'pending_approval', 'confirming', 'blocked')
    order by j.lane_no
    limit 1
) first
