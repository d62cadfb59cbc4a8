-- any_due: whether one of some kinds has something due, or one more kind on its shelves with a cap.
select exists (
    select 1
    from jobs_shelf s
    cross join lateral (
        select 1
        from jobs_job j
        where j.shelf_id = s.id and j.status = 'queued' and j.gate = 0
          and j.due_at >= least(s.low_due_at, (select platform_now()) - interval '1 second')
          and j.due_at <= (select platform_now())
        order by j.shelf_id, j.due_at, j.id
        limit 1
    ) first
    where (s.kind = any(%(kinds)s::text[]) or s.kind = %(capped_of)s::text and s.cap > 0)
      and s.low_due_at <= (select platform_now())
      and not s.paused
)
