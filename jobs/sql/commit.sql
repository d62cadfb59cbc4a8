-- commit: end attempts with their outcomes, events and attempt rows, in one statement.
-- The fence is (id, claim_no, claimed_by, status): rows of a lost claim do not match, change nothing and are not
-- returned. The number alone is not enough: a crash of the server may forget a claim, and its number is given again.
-- `claim_no %% 1 = 0` is always true; it makes the planner expect one row, so that whatever the statistics say it
-- fetches each job by its key and never hashes the table. `status || ''` keeps it off the partial indexes of status.
with input as materialized (
    select x.id, x.project_id, x.claim_no, x.status, x.event, x.data::jsonb as data, x.output::jsonb as output,
           x.outcome, x.seconds, x.extra::jsonb as extra,
           -- Who wished it to stop cannot say what took effect: a person decides all the same.
           x.status = 'blocked' and x.data::jsonb ->> 'reason' = 'may_have_taken_effect' as asks,
           x.status = 'processed' as well
    from unnest(
        %(id)b::uuid[], %(project_id)b::uuid[], %(claim_no)b::int[], %(status)b::text[], %(event)b::text[],
        %(data)b::text[], %(output)b::text[], %(outcome)b::text[], %(seconds)b::float8[], %(extra)b::text[]
    ) as x (id, project_id, claim_no, status, event, data, output, outcome, seconds, extra)
    where x.claim_no %% 1 = 0
),
done as (
    update jobs_job j
    set status = case when j.cancel_requested and x.status in ('queued', 'parked', 'blocked') and not x.asks
                      then 'cancelled'
                      when x.well and j.confirm is not null then 'confirming'  -- done, and its result goes on chain
                      else x.status end,
        stage = coalesce(x.extra ->> 'stage', case when x.well and j.confirm is not null then 'confirm' end, j.stage),
        seq = j.seq + 1,
        position = greatest(j.position, (select event_position())),
        attempt = coalesce((x.extra ->> 'attempt')::smallint, j.attempt),
        shelf_id = coalesce(
            (x.extra ->> 'shelf_id')::int,
            -- A process that lived to say how the attempt ended clears the job of suspicion: back to where batches are.
            case when x.outcome is not null and x.status = 'queued'
                 then (select plain.id from jobs_shelf capped
                       join jobs_shelf plain on (plain.kind, plain.project_id, plain.priority, plain.cap)
                                                = (capped.kind, capped.project_id, capped.priority, 0)
                       where capped.id = j.shelf_id and capped.cap > 0)
            end,
            j.shelf_id
        ),
        due_at = coalesce((x.extra ->> 'due_at')::timestamptz,
                          (select platform_now()) + (x.extra ->> 'delay')::float8 * interval '1 second', j.due_at),
        finished_at = case when x.well and j.confirm is not null then null
                           when x.status in ('processed', 'failed', 'rejected', 'cancelled')
                                or j.cancel_requested and not x.asks
                           then (select platform_now()) end,
        claimed_by = null,
        turn = null,
        quality = (x.extra ->> 'quality')::float8,
        output = coalesce(x.output, j.output),
        error = case when x.outcome is null then j.error else x.extra -> 'error' end,
        progress = coalesce(x.extra -> 'progress', j.progress)
    from input x
    where j.id = x.id
      and j.project_id = x.project_id
      and j.claim_no = x.claim_no
      and j.claimed_by = %(worker)s
      and j.status || '' = 'processing'
    returning j.id, j.project_id, j.seq, j.position, j.status, j.shelf_id, j.claim_no, j.stage as stage_after,
              case when j.status = 'confirming' then x.data || jsonb_build_object('confirm', j.confirm) else x.data
              end as data,
              case when j.status = 'cancelled' then 'job.cancelled' else x.event end as event,
              x.outcome, x.seconds, x.extra
),
attempt as (
    insert into jobs_attempt (
        job_id, project_id, started_at, ended_at, claim_no, worker_id, attempt, stage, outcome, error, log, metrics
    )
    select id, project_id, clock_timestamp() - seconds * interval '1 second', clock_timestamp(), claim_no, %(worker)s,
           (data ->> 'attempt')::smallint, case when status = 'confirming' then 'process' else stage_after end, outcome,
           extra -> 'error', extra -> 'log', extra -> 'metrics'
    from done
    where outcome is not null
),
intervention as (
    insert into jobs_intervention (
        id, project_id, subject_type, subject_id, reason, evidence, actions, opened_at, resolved_by, action,
        decision_reason
    )
    select (extra ->> 'intervention')::uuid, project_id, 'job', id::text, data ->> 'reason', data - 'reason',
           %(actions)s::text[], (select platform_now()), '', '', ''
    from done
    where status = 'blocked'
    on conflict do nothing
),
event as (
    insert into events_event (position, project_id, type, subject_id, seq, data)
    select position, project_id, event, id, seq, data
    from done
)
select id, status, shelf_id from done
