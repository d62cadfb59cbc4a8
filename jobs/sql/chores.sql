-- chores: what of the relay's work there may be, so that an idle platform asks one question a second.
-- It may say yes where there is nothing: who does the work looks closely.
select exists (select from jobs_job where status = 'parked' and due_at <= (select platform_now())) as parked,
       exists (select from jobs_lane) as lanes,
       exists (select from jobs_jobbatch where ended_at is null and stalled_at is null) as batches,
       exists (select from jobs_pause) or exists (select from jobs_shelf where pause_id is not null) as pauses,
       exists (select from jobs_limitkey where waiting) as limits,
       exists (
           select from jobs_worker
           where stopped_at is null and heartbeat_at < clock_timestamp() - %(live)s * interval '1 second'
       ) or exists (
           select from jobs_job j
           left join jobs_worker w on w.id = j.claimed_by
           where j.status = 'processing' and j.claimed_by is not null
             and (w.id is null or w.stopped_at < clock_timestamp() - %(live)s * interval '1 second')
       ) as silent,
       exists (
           select from events_consumer c
           where c.name = any(%(consumers)s::text[])
             and (c.retry_at is null or c.retry_at <= (select platform_now()) or exists (select from jobs_awaited))
             and exists (
                 select from events_event e
                 where (e.position, e.id) > (c.position, c.last_id) and e.position < (select event_horizon())
             )
       ) as unread,
       exists (  -- in an order, so that the index of what is not sealed serves whatever the statistics say
           select from (select id from events_auditrecord where chain_no is null order by id limit 1) first_unsealed
       ) as unsealed,
       (
           select extract(epoch from min(low_due_at) - (select platform_now()))::float8
           from jobs_shelf
           where not paused
       ) as due_in
