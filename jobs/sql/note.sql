-- note: keep progress or a finished step of a running attempt. Fenced like commit; no event.
update jobs_job j
set progress = coalesce(%(progress)s::jsonb, j.progress),
    steps = case when %(steps)s::jsonb is null then j.steps else coalesce(j.steps, '{}') || %(steps)s::jsonb end
where j.id = %(id)s and j.project_id = %(project_id)s and j.claim_no = %(claim_no)s
  and j.claimed_by = %(worker)s and j.status || '' = 'processing'
