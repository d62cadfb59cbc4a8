-- take_lanes: give so many numbers of each lane to jobs about to be inserted. The rows stay locked until the transaction
-- ends: who comes next gets higher numbers, and nobody moves such a lane on meanwhile.
insert into jobs_lane (project_id, lane, last_no)
select x.project_id, x.lane, x.number
from unnest(%(project_id)b::uuid[], %(lane)b::text[], %(number)b::int[]) as x (project_id, lane, number)
order by x.project_id, x.lane
on conflict (project_id, lane) do update set last_no = jobs_lane.last_no + excluded.last_no
returning project_id, lane, last_no
