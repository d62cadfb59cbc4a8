-- raise_mark: jobs below these due times have been claimed. Skips rows that somebody else is moving.
-- A mark is a hint, so nobody waits until it is on disk. It is raised outside of any transaction of a caller.
with hint as materialized (select set_config('synchronous_commit', 'off', true) as commits)
update jobs_shelf s
set low_due_at = least(x.due_at, (select platform_now()) - interval '0.25 second')
from hint, unnest(%(shelf_id)b::int[], %(due_at)b::timestamptz[]) as x (shelf_id, due_at)
where s.id = x.shelf_id
  and hint.commits is not null
  and s.low_due_at < least(x.due_at, (select platform_now()) - interval '0.25 second')
  and s.id in (select id from jobs_shelf where id = any(%(shelf_id)b::int[]) for update skip locked)
