-- match_awaited: which of the next %(batch)s events of the log wakes which parked job; and where they end.
-- A job that was parked before this statement's snapshot is in jobs_awaited, and meets the events as they come. One that
-- is parked after it has its own job.parked behind the horizon of this snapshot: when that comes, the events that came
-- before are looked back for. So while nobody waits, everything below the horizon may be passed over unread.
with bounds as materialized (
    select exists (select from jobs_awaited) as somebody, event_horizon() as horizon
),
scanned as materialized (
    select e.position, e.id, e.occurred_at, e.project_id, e.type, e.subject_id, e.seq
    from events_event e
    where (select somebody from bounds)
      and (e.position, e.id) > (%(position)s, %(last_id)s)
      and e.position < (select horizon from bounds)
    order by e.position, e.id
    limit %(batch)s
),
-- Looking back costs more than looking up, so it is done for so many at a time.
cut as materialized (
    select position, id from scanned where type = 'job.parked' order by position, id offset %(most)s limit 1
),
taken as materialized (
    select s.* from scanned s where not exists (select from cut where (s.position, s.id) > (cut.position, cut.id))
),
met as materialized (
    select a.job_id, s.position, s.id, s.occurred_at, s.seq
    from taken s
    -- `offset 0`: each event is looked up by the index, whatever the statistics say of a table that fills and empties.
    cross join lateral (
        select w.job_id, w.since_position, w.since_id, w.since_at
        from jobs_awaited w
        where w.project_id = s.project_id and w.type = s.type and w.subject_id = s.subject_id
        offset 0
    ) a
    where (s.position, s.id) > (a.since_position, a.since_id) or (a.since_id = 0 and s.occurred_at >= a.since_at)
    union all
    select a.job_id, f.position, f.id, f.occurred_at, f.seq
    from taken s
    join jobs_awaited a on a.job_id = s.subject_id and a.project_id = s.project_id
    cross join lateral jobs_first_awaited(a, (select horizon from bounds)) f
    where s.type = 'job.parked'
),
first as (
    select distinct on (job_id) * from met order by job_id, position, id
),
edge as (
    select position, id, (select count(*) from scanned) as number from taken order by position desc, id desc limit 1
)
select bounds.somebody, bounds.horizon, edge.position, edge.id, coalesce(edge.number, 0),
       a.job_id, a.project_id, a.claim_no, a.type, a.subject, f.position, f.id, f.occurred_at, f.seq
from bounds
left join edge on true
left join (select * from first order by position, id limit %(most)s) f on true
left join jobs_awaited a on a.job_id = f.job_id
order by a.job_id
