-- sweep: put the marks of all shelves (or of some) to the truth: the earliest due time that stands on each.
update jobs_shelf s
set low_due_at = found.due_at
from (
    select o.id, coalesce(first.due_at, '9999-01-01 00:00:00+00'::timestamptz) as due_at
    from jobs_shelf o
    left join lateral (
        select j.due_at
        from jobs_job j
        where j.shelf_id = o.id and j.status = 'queued' and j.gate = 0
        order by j.shelf_id, j.due_at, j.id
        limit 1
    ) first on true
    where %(only)s::int[] is null or o.id = any(%(only)s::int[])
) found
where s.id = found.id
  and s.low_due_at <> found.due_at
