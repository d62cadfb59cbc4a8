-- raise_mark: jobs below these due times have been claimed. Skips rows that somebody else is moving.
update jobs_shelf s
set low_due_at = least(x.due_at, (select platform_now()) - interval '0.25 second')
from unnest(%(shelf_id)b::int[], %(due_at)b::timestamptz[]) as x (shelf_id, due_at)
where s.id = x.shelf_id
  and s.low_due_at < least(x.due_at, (select platform_now()) - interval '0.25 second')
  and s.id in (select id from jobs_shelf where id = any(%(shelf_id)b::int[]) for update skip locked)
