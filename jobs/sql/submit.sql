-- submit: new jobs and their job.queued events, in one statement.
with input as materialized (
    select x.id, x.project_id, x.kind, x.shelf_id, x.priority, x.payload, x.metadata, x.extra::jsonb as extra, x.lane,
           x.lane_no, x.gate, greatest(x.due_at, (select platform_now())) as due_at
    from unnest(
        %(id)b::uuid[], %(project_id)b::uuid[], %(kind)b::text[], %(shelf_id)b::int[], %(priority)b::smallint[],
        %(due_at)b::timestamptz[], %(payload)b::text[], %(metadata)b::text[], %(extra)b::text[], %(lane)b::text[],
        %(lane_no)b::bigint[], %(gate)b::smallint[]
    ) as x (id, project_id, kind, shelf_id, priority, due_at, payload, metadata, extra, lane, lane_no, gate)
),
job as (
    insert into jobs_job (
        id, project_id, created_at, due_at, position, shelf_id, claim_no, seq, attempt, max_attempts, priority, gate,
        cancel_requested, retry_delay, timeout, kind, stage, status, lane, lane_no, confirm, limit_id, cost,
        batch_id, payload, metadata
    )
    select id, project_id, (select platform_now()), due_at, (select event_position()), shelf_id, 0, 1, 0,
           (extra ->> 'max_attempts')::smallint, priority, gate, false, (extra ->> 'retry_delay')::float8,
           (extra ->> 'timeout')::float8, kind, 'process', 'queued', lane, lane_no, extra ->> 'confirm',
           (extra ->> 'limit_id')::bigint, (extra ->> 'cost')::smallint, (extra ->> 'batch_id')::uuid, payload::jsonb, metadata::jsonb
    from input
    returning id, project_id, kind, position, created_at, due_at
),
event as (
    insert into events_event (position, project_id, type, subject_id, seq, data)
    select position, project_id, 'job.queued', id, 1, jsonb_build_object('kind', kind, 'due_at', due_at)
    from job
)
select id, created_at, due_at from job
