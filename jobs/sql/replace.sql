-- replace: what a newer job with its unique key says takes the place of what a waiting one said, with its event.
with job as (
    update jobs_job j
    set payload = %(payload)s::jsonb,
        metadata = %(metadata)s::jsonb,
        priority = %(priority)s,
        shelf_id = %(shelf_id)s,
        limit_id = (%(extra)s::jsonb ->> 'limit_id')::bigint,
        cost = (%(extra)s::jsonb ->> 'cost')::smallint,
        gate = j.gate & ~2,
        turn = null,
        due_at = least(
            greatest(%(due_at)s::timestamptz, (select platform_now()) + %(wait)s::float8 * interval '1 second'),
            case when %(wait)s > 0 then j.created_at + %(longest)s::float8 * interval '1 second' end
        ),
        attempt = 0,
        max_attempts = (%(extra)s::jsonb ->> 'max_attempts')::smallint,
        retry_delay = (%(extra)s::jsonb ->> 'retry_delay')::float8,
        timeout = (%(extra)s::jsonb ->> 'timeout')::float8,
        error = null,
        steps = null,
        progress = null,
        seq = j.seq + 1,
        position = greatest(j.position, (select event_position()))
    where j.id = %(id)s
      and j.project_id = %(project_id)s
      and j.status = 'queued'
      and j.lane is not distinct from %(lane)s
    returning j.id, j.project_id, j.kind, j.seq, j.position, j.created_at, j.due_at
),
event as (
    insert into events_event (position, project_id, type, subject_id, seq, data)
    select position, project_id, 'job.replaced', id, seq, jsonb_build_object('kind', kind, 'due_at', due_at)
    from job
)
select created_at, due_at from job
