-- stuck_lanes: lanes whose first job still stands behind its gate: whoever should have opened it died, or found the lane
-- locked.
select l.project_id, l.lane
from jobs_lane l
cross join lateral (
    select j.gate
    from jobs_job j
    where j.project_id = l.project_id
      and j.lane = l.lane
      and j.status in ('queued', 'processing', 'parked', 'pending_approval', 'confirming', 'blocked')
    order by j.lane_no
    limit 1
) first
where first.gate & 1 = 1
limit %(limit)s
