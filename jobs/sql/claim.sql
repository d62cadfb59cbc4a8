-- claim: take up to %(batch)s due jobs of one kind: of each project that has some, by its weight, the highest priority.
-- A shelf is read from its low-water mark by one index, so neither finished jobs nor dead rows behind the mark cost.
-- A shelf named in %(hint)s was just filled: its mark may not know it yet, so it is read from one second back.
-- For kinds with a limit claim/limits.sql takes the place of `taken`.
-- %(lazy)s: the handler does not wait until the claim is on disk. A crash of the server may forget such a claim, never
-- what was committed after it; the job is then due again.
with clock as materialized (
    select platform_now() as now, (random() * 1e15)::bigint as seed,
           case when %(lazy)s then set_config('synchronous_commit', 'off', true) end as commits
),
marked as materialized (
    select s.id, s.project_id, s.priority, s.cap, s.weight, least(s.low_due_at, clock.now - interval '1 second') as low,
           count(*) over () as number
    from jobs_shelf s, clock
    where s.kind = %(kind)s
      and (s.cap > 0) = %(capped)s
      and not s.paused
      and (s.low_due_at <= clock.now or s.id = any(%(hint)s::int[]))
    order by hashtextextended(s.project_id::text, clock.seed), s.priority desc  -- other projects first each time
    limit 256
),
-- A mark may be low on an empty shelf. Where there are several, only those that hold something count.
filled as materialized (
    select m.*
    from marked m
    where m.number = 1
       or (select j.gate
           from jobs_job j
           where j.shelf_id = m.id
             and j.project_id = m.project_id
             and j.status = 'queued'
             and j.gate = 0
             and j.due_at >= m.low
             and j.due_at <= (select now from clock)
           order by j.shelf_id, j.due_at, j.id
           limit 1) is not null
),
best as materialized (
    select distinct on (project_id) *
    from filled
    order by project_id, priority desc
),
-- The projects share the batch by weight. Where it is too small for all, those go first that were served least.
candidate as materialized (
    select b.id, b.project_id, b.weight, b.low,
           case when b.cap > 0 then least(b.cap, %(batch)s)
                else ceil(%(batch)s * b.weight::float8 / sum(b.weight) over ()) end as most
    from best b
    left join unnest(%(served)b::uuid[], %(served_at)b::float8[]) as served (project_id, at)
      on served.project_id = b.project_id
    order by coalesce(served.at, 0), random()
    limit case when %(capped)s then 1 else 256 end
),
picked as materialized (
    select due.tid, c.id as shelf_id, c.weight
    from candidate c
    cross join lateral (
        select j.ctid as tid
        from jobs_job j
        where j.shelf_id = c.id
          and j.project_id = c.project_id
          and j.status = 'queued'
          and j.gate = 0
          and j.due_at >= c.low
          and j.due_at <= (select now from clock)
        order by j.shelf_id, j.due_at, j.id
        limit c.most::bigint
        for update skip locked
    ) due
    limit %(batch)s
),
taken as (select * from picked),
claimed as (
    update jobs_job j
    set status = 'processing',
        claim_no = j.claim_no + 1,
        attempt = j.attempt + 1,
        claimed_by = %(worker)s,
        started_at = (select now from clock),
        turn = case when %(limited)s then true end,  -- it is counted among those of its key that run
        seq = j.seq + %(announce)s::int,
        position = case when %(announce)s::int = 1 then greatest(j.position, (select event_position())) else j.position end
    from taken
    where j.ctid = taken.tid
      and j.status = 'queued'
    returning j.id, j.project_id, j.claim_no, j.attempt, j.max_attempts, j.retry_delay, j.timeout, j.stage, j.lane,
              j.shelf_id, j.due_at, j.payload, j.metadata, j.steps, j.seq, j.position, j.kind, j.cancel_requested,
              j.limit_id, j.cost, j.lane_no, taken.weight
),
announced as (
    insert into events_event (position, project_id, type, subject_id, seq, data)
    select position, project_id, 'job.processing', id, seq, jsonb_build_object('kind', kind, 'attempt', attempt)
    from claimed
    where %(announce)s::int = 1
)
select id, project_id, kind, claim_no, attempt, max_attempts, retry_delay, timeout, stage, lane, shelf_id, due_at,
       payload::text, metadata::text, steps::text, cancel_requested, weight,
       case when %(limited)s then limit_id end, cost, lane_no
from claimed
