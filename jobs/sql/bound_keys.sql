-- bound_keys: put the bounds of all keys (or of those of one name) to what rules there: the rule of the project, else the
-- rule of the name, else what the code says.
update jobs_limitkey k
set concurrency = found.concurrency, rate = found.rate, burst = found.burst
from (
    select o.id, bounds.*
    from jobs_limitkey o
    cross join lateral (
        select b.concurrency, b.rate, b.burst
        from (
            select r.concurrency, r.rate,
               case when r.rate is not null then coalesce(r.burst, greatest(1, r.rate)) end as burst, 1 + (r.project_id is null)::int as place
            from jobs_limitrule r
            where r.name = o.name and (r.project_id is null or r.project_id = o.project_id)
            union all
            select c.concurrency, c.rate, c.burst, 3
            from unnest(%(names)b::text[], %(concurrency)b::int[], %(rate)b::float8[], %(burst)b::float8[])
                 as c (name, concurrency, rate, burst)
            where c.name = o.name
        ) b
        order by b.place
        limit 1
    ) bounds
    where %(only)s::text is null or o.name = %(only)s
    order by o.id
    for update of o
) found
where k.id = found.id
  and (k.concurrency, k.rate, k.burst) is distinct from (found.concurrency, found.rate, found.burst)
returning k.id
