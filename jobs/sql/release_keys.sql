-- release_keys: jobs of these keys run no more. `unused`: what was claimed, but has not started; its rate is given back.
-- `wait`: somebody was told to come back in so many seconds: the key is closed for that long, and its jobs begin anew
-- one by one: each that ends well lets one more run beside the others, until the limit itself rules again.
with given as materialized (
    select x.id, x.cost, x.unused, x.good, x.wait
    from unnest(
        %(id)b::bigint[], %(cost)b::int[], %(unused)b::int[], %(good)b::int[], %(wait)b::float8[]
    ) as x (id, cost, unused, good, wait)
),
held as materialized (
    select k.id from jobs_limitkey k where k.id = any (array(select id from given)) order by k.id for update
)
update jobs_limitkey k
set in_use = greatest(0, k.in_use - given.cost),
    next_at = k.next_at - given.unused / k.rate * interval '1 second',
    closed_until = case when given.wait is null then k.closed_until
                        else greatest(k.closed_until, (select platform_now()) + given.wait * interval '1 second') end,
    ramp = case when given.wait is not null then 1
                when k.ramp + given.good < coalesce(k.concurrency, 512) then k.ramp + given.good end,
    touched_at = clock_timestamp()
from held
join given using (id)
where k.id = held.id
returning k.id, k.waiting
