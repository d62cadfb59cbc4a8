-- move: take jobs that no worker owns from given statuses to another (cancel, resume, redrive, wake, ...), with their
-- events. Whoever waits for a person's decision on one of them need not ask any more.
with chosen as materialized (
    select x.id, x.project_id, x.data::jsonb as data, x.lane_no, x.gate, x.seq
    from unnest(
        %(id)b::uuid[], %(project_id)b::uuid[], %(data)b::text[], %(lane_no)b::bigint[], %(gate)b::smallint[],
        %(seq)b::int[]
    ) as x (id, project_id, data, lane_no, gate, seq)
    where octet_length(x.data) %% 1 = 0  -- always true: one row expected, as in commit
),
moved as (
    update jobs_job j
    set status = %(target)s,
        stage = case when %(target)s = 'confirming' then 'confirm' when %(target)s = 'queued' then 'process' else j.stage end,
        seq = j.seq + 1,
        position = greatest(j.position, (select event_position())),
        due_at = case when %(target)s = 'queued' then (select platform_now()) else j.due_at end,
        attempt = case when %(fresh)s then 0 else j.attempt end,
        cancel_requested = false,
        payload = coalesce(%(payload)s::jsonb, j.payload),
        output = coalesce(%(output)s::jsonb, case when %(payload)s::jsonb is null then j.output end),
        quality = case when %(payload)s::jsonb is null then j.quality end,
        progress = case when %(payload)s::jsonb is null then j.progress end,
        steps = case when %(payload)s::jsonb is null then j.steps end,  -- what was done, was done with another payload
        limit_id = case when %(payload)s::jsonb is null then j.limit_id end,  -- the claim asks for that of the new one
        turn = null,
        error = case when %(fresh)s or %(target)s = 'processed' then null else j.error end,
        lane_no = coalesce(chosen.lane_no, j.lane_no),
        gate = coalesce(chosen.gate, j.gate & ~2),  -- whether it waits behind a limit, the claim finds anew
        finished_at = case when %(ended)s then (select platform_now()) end
    from chosen
    where j.id = chosen.id
      and j.project_id = chosen.project_id
      and j.status = any(%(sources)s::text[])
      and (chosen.seq is null or j.seq = chosen.seq)
      and (%(plain)s::text[] is null or j.kind = any(%(plain)s::text[]) and j.lane is null and j.batch_id is null)
    returning j.id, j.project_id, j.seq, j.position, j.shelf_id, j.kind, j.confirm, chosen.data
),
decided as (
    update jobs_intervention i
    set resolved_at = (select platform_now()),
        resolved_by = coalesce(moved.data ->> 'actor', ''),
        action = coalesce(moved.data ->> 'action', %(verb)s),
        decision_reason = coalesce(moved.data ->> 'reason', '')
    from moved
    cross join lateral (
        select o.ctid as tid
        from jobs_intervention o
        where o.project_id is not distinct from moved.project_id  -- looked at last: the subject has the index
          and o.subject_type = 'job'
          and o.subject_id = moved.id::text
          and o.resolved_at is null
        offset 0
    ) open
    where i.ctid = open.tid
),
event as (
    insert into events_event (position, project_id, type, subject_id, seq, data)
    select position, project_id, %(event)s, id, seq,
           jsonb_build_object('kind', kind) || data
           || case when %(verb)s = 'supply_chain' then jsonb_build_object('confirm', confirm) else '{}' end
    from moved
)
select id, shelf_id from moved
