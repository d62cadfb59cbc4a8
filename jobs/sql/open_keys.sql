-- open_keys: let the next jobs of these keys out from behind their gate, as many as may start now. The caller has locked
-- the keys' rows in an earlier statement, so this one sees all who wait.
with clock as materialized (
    select platform_now() as now
),
room as materialized (
    select k.id,
           floor(least(
               512,
               k.concurrency - k.in_use,
               k.ramp - k.in_use,
               extract(epoch from clock.now - greatest(k.next_at, clock.now)) * k.rate + k.burst + 1e-6
           ))::int as free
    from jobs_limitkey k, clock
    where k.id = any(%(id)s::bigint[])
      and coalesce(k.closed_until <= clock.now, true)
),
first as materialized (
    select room.id as limit_id, room.free, j.*, row_number() over () as number
    from room
    cross join lateral (
        select j.ctid as tid, j.project_id, coalesce(j.cost, 1) as cost
        from jobs_job j
        where j.limit_id = room.id
          and j.status = 'queued'
          and j.gate = 2
        order by j.priority desc, j.due_at, j.id
        limit greatest(room.free, 0)
        for update skip locked
    ) j
),
next as materialized (
    select limit_id, project_id, tid
    from (select f.*, sum(cost) over (partition by limit_id order by number) - cost as before from first f) f
    where before < free
),
opened as (
    -- Due from now on, not from long ago: it lies before the mark of its shelf, whatever was claimed from there.
    update jobs_job j
    set gate = 0, turn = true, due_at = greatest(j.due_at, (select now from clock))
    from next
    where j.ctid = next.tid
      and j.project_id = next.project_id
      and j.status = 'queued'
      and j.gate = 2
    returning j.shelf_id
),
nobody_left as (
    update jobs_limitkey k
    set waiting = false
    from room
    where k.id = room.id
      and (select count(*) from next where next.limit_id = room.id) = (
          select count(*)
          from (
              select
              from jobs_job j
              where j.limit_id = room.id and j.status = 'queued' and j.gate = 2
              limit greatest(room.free, 0) + 1
          ) closed
      )
)
select distinct shelf_id from opened
