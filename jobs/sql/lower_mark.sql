-- lower_mark: shelves that were just filled with jobs due now become candidates.
update jobs_shelf s
set low_due_at = (select platform_now()) - interval '1 second'
where s.id = any(%(shelf_id)s::int[])
  and s.low_due_at > (select platform_now())
