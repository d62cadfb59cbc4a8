-- announce: publish job.processing for attempts that turned out to run long. Fenced like commit.
with input as materialized (
    select x.id, x.project_id, x.claim_no
    from unnest(%(id)b::uuid[], %(project_id)b::uuid[], %(claim_no)b::int[]) as x (id, project_id, claim_no)
    where x.claim_no %% 1 = 0
),
running as (
    update jobs_job j
    set seq = j.seq + 1, position = greatest(j.position, (select event_position()))
    from input x
    where j.id = x.id and j.project_id = x.project_id and j.claim_no = x.claim_no
      and j.claimed_by = %(worker)s and j.status || '' = 'processing'
    returning j.id, j.project_id, j.seq, j.position, j.kind, j.attempt
)
insert into events_event (position, project_id, type, subject_id, seq, data)
select position, project_id, 'job.processing', id, seq, jsonb_build_object('kind', kind, 'attempt', attempt)
from running
