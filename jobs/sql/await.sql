-- await: what jobs wait for that the same transaction has parked. An event counts if it came after the job was created
-- and, of events that are alike, after the last one that woke the job: so none is missed and none counts twice.
-- After: further on in the log, or, than its creation (`since_id` 0), written later by a transaction that began before.
insert into jobs_awaited (
    job_id, project_id, claim_no, type, subject, subject_id, since_position, since_id, since_at, parked_at
)
select x.job_id, x.project_id, x.claim_no, x.type, x.subject, x.subject_id,
       coalesce(woken.position, created.position, 0), coalesce(woken.id, 0),
       created.occurred_at, (select platform_now())
from unnest(
    %(job_id)b::uuid[], %(project_id)b::uuid[], %(claim_no)b::int[], %(type)b::text[], %(subject)b::text[],
    %(subject_id)b::uuid[]
) as x (job_id, project_id, claim_no, type, subject, subject_id)
left join lateral (
    select split_part(e.data #>> '{event,id}', '-', 1)::bigint as position,
           split_part(e.data #>> '{event,id}', '-', 2)::bigint as id
    from events_event e
    where e.subject_id = x.job_id
      and e.type = 'job.woken'
      and e.data #>> '{event,type}' = x.type
      and e.data #>> '{event,subject}' = x.subject
    order by e.seq desc
    limit 1
) woken on true
left join lateral (
    select e.position, e.occurred_at from events_event e where e.subject_id = x.job_id and e.seq = 1 limit 1
) created on true
on conflict (job_id) do update
    set claim_no = excluded.claim_no, type = excluded.type, subject = excluded.subject,
        subject_id = excluded.subject_id, since_position = excluded.since_position, since_id = excluded.since_id,
        since_at = excluded.since_at, parked_at = excluded.parked_at
