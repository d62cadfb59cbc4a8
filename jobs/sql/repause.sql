-- repause: hold the shelves that a pause names, and open those that none names any more.
-- What somebody paused by hand on the shelf itself (no `pause_id`) stays as it is. So does what a queue's pause holds
-- where this process does not know the kind, and hence not its queue: another version of the platform does.
with wanted as materialized (
    select o.id, pause.id as pause_id
    from jobs_shelf o
    left join unnest(%(kind)s::text[], %(queue)s::text[]) as known (kind, queue) on known.kind = o.kind
    left join lateral (
        select p.id
        from jobs_pause p
        where (p.project_id is null or p.project_id = o.project_id)
          and (p.kind is null or p.kind = o.kind)
          and (p.queue is null or p.queue = known.queue or (known.kind is null and p.id = o.pause_id))
          and (o.kind <> %(bulk)s or p.kind = o.kind)  -- an act on many jobs is how what is paused is put in order
          and (p.until is null or p.until > (select platform_now()))
        order by p.until desc nulls first, p.id
        limit 1
    ) pause on true
)
update jobs_shelf s
set paused = wanted.pause_id is not null,
    pause_id = wanted.pause_id
from wanted
where s.id = wanted.id
  and s.pause_id is distinct from wanted.pause_id
  and (s.pause_id is not null or not s.paused)
returning s.id, s.paused
