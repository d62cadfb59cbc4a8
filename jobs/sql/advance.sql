-- advance: open the gate of the first job of each lane that nobody else is moving on at this moment.
-- A lane that is locked is left to who holds it. The shelf is null where the first job's gate stands open already, or
-- the lane is empty; `again` where the first job was changed under our eyes: look once more.
-- `after`: nobody with this number or a lower one is left in the lane. Its index is read from there, not through all who
-- have ended.
with lane as materialized (
    select l.project_id, l.lane, x.after
    from jobs_lane l
    join unnest(%(project_id)b::uuid[], %(lane)b::text[], %(after)b::bigint[]) as x (project_id, lane, after)
      on (l.project_id, l.lane) = (x.project_id, x.lane)
    order by l.project_id, l.lane
    for update of l skip locked
),
first as materialized (
    select l.project_id, l.lane, found.id, found.tid, found.closed, found.shelf_id, found.later
    from lane l
    left join lateral (
        select j.id, j.ctid as tid, j.gate & 1 = 1 as closed, j.shelf_id,
               j.due_at > (select platform_now()) as later
        from jobs_job j
        where j.project_id = l.project_id
          and j.lane = l.lane
          and j.lane_no > l.after
          and j.status in ('queued', 'processing', 'parked', 'pending_approval', 'confirming', 'blocked')
        order by j.lane_no
        limit 1
    ) found on true
),
opened as (
    -- Due from now on, not from long ago: it lies before the mark of its shelf, whatever was claimed from there.
    update jobs_job j
    set gate = j.gate & ~1, due_at = greatest(j.due_at, (select platform_now()))
    from first
    where first.closed
      and j.ctid = first.tid  -- a row that somebody changes meanwhile has another one afterwards: see `again`
      and j.gate & 1 = 1
    returning j.id
)
select project_id, lane, case when closed and id in (select id from opened) then shelf_id end, coalesce(later, false),
       coalesce(closed, false) and id not in (select id from opened) as again
from first
