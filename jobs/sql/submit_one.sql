-- submit_one: one new job and its job.queued event. The same as submit, without arrays: the way of POST /jobs.
-- $1 id, $2 project, $3 kind, $4 shelf, $5 priority, $6 due, $7 payload, $8 metadata, $9 extra, $10 lane, $11 its
-- number in the lane, $12 gate
with job as (
    insert into jobs_job (
        id, project_id, created_at, due_at, position, shelf_id, claim_no, seq, attempt, max_attempts, priority, gate,
        cancel_requested, retry_delay, timeout, kind, stage, status, lane, lane_no, confirm, limit_id, cost,
        batch_id, payload, metadata
    )
    select $1::uuid, $2::uuid, clock.now, greatest($6::timestamptz, clock.now), (select event_position()), $4::int, 0, 1,
           0, ($9::jsonb ->> 'max_attempts')::smallint, $5::smallint, $12::smallint, false,
           ($9::jsonb ->> 'retry_delay')::float8, ($9::jsonb ->> 'timeout')::float8, $3::text, 'process',
           'queued', $10::text, $11::bigint,
           $9::jsonb ->> 'confirm', ($9::jsonb ->> 'limit_id')::bigint, ($9::jsonb ->> 'cost')::smallint,
           ($9::jsonb ->> 'batch_id')::uuid, $7::jsonb, $8::jsonb
    from (select platform_now() as now) clock
    returning id, project_id, kind, position, created_at, due_at
),
event as (
    insert into events_event (position, project_id, type, subject_id, seq, data)
    select position, project_id, 'job.queued', id, 1, jsonb_build_object('kind', kind, 'due_at', due_at)
    from job
)
select created_at, due_at from job
