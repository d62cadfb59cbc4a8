-- claim/limits: what of the picked jobs the limits of their keys let pass. The part of claim that stands in the place of
-- `taken` where the kind has a limit; behind it the claimed jobs are joined by those that were left out.
-- The rows of the keys are locked in one order, so what is in use is exact. A job that does not pass goes behind its
-- gate and is opened when it is its turn (open_keys); while some wait there, only who has been opened passes.
limit_key as materialized (
    select k.*
    from jobs_limitkey k
    where k.id = any (array(select j.limit_id from picked join jobs_job j on j.ctid = picked.tid))
    order by k.id
    for update
),
asked as materialized (
    select p.tid, p.shelf_id, p.weight, j.id, j.limit_id, coalesce(j.cost, 1) as cost, k.id is null as unknown,
           coalesce(j.turn, false) as turn, coalesce(k.waiting, false) as waiting, k.concurrency, k.ramp, k.in_use,
           k.rate, k.burst, greatest(k.next_at, (select now from clock)) as next_at,
           coalesce(k.closed_until <= (select now from clock), true) as open,
           sum(coalesce(j.cost, 1)) over earlier - coalesce(j.cost, 1) as before
    from picked p
    join jobs_job j on j.ctid = p.tid
    left join limit_key k on k.id = j.limit_id
    window earlier as (
        partition by j.limit_id
        order by coalesce(j.turn, false) desc, j.priority desc, j.due_at, j.id
        rows unbounded preceding
    )
),
judged as materialized (
    select a.*,
           not a.unknown and a.open and (a.turn or not a.waiting)
           and (a.concurrency is null or a.in_use + a.before + a.cost <= a.concurrency
                or (a.in_use + a.before = 0 and a.concurrency > 0))  -- one that is too heavy runs alone
           and (a.ramp is null or a.in_use + a.before < a.ramp)
           and (a.rate is null
                or a.next_at + (a.before - a.burst + 1) / a.rate * interval '1 second' <= (select now from clock)
               ) as passes
    from asked a
),
chosen as materialized (
    select *, passes and row_number() over (partition by passes order by before, tid) <= %(most)s as taken
    from judged
),
used as (
    update jobs_limitkey k
    set in_use = k.in_use + x.cost,
        next_at = greatest(k.next_at, (select now from clock)) + x.cost / k.rate * interval '1 second',
        waiting = k.waiting or x.waits,
        touched_at = clock_timestamp()
    from (
        select limit_id, not bool_and(passes) as waits, coalesce(sum(cost) filter (where taken), 0)::int as cost
        from chosen
        where not unknown
        group by limit_id
    ) x
    where k.id = x.limit_id
),
left_out as (
    update jobs_job j
    set gate = j.gate | 2, turn = null
    from judged
    where j.ctid = judged.tid
      and not judged.passes
      and not judged.unknown
    returning j.id
),
taken as (select tid, shelf_id, weight from chosen where taken),
