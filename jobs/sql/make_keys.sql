-- make_keys: rows for keys that have none yet, with the bounds that rule there.
insert into jobs_limitkey (
    id, project_id, name, key, concurrency, rate, burst, in_use, waiting, closed_reason, touched_at
)
select x.id, x.project_id, x.name, x.key, bounds.concurrency, bounds.rate, bounds.burst, 0, false, '',
       clock_timestamp()
from unnest(%(id)b::bigint[], %(project_id)b::uuid[], %(name)b::text[], %(key)b::text[]) as x (id, project_id, name, key)
cross join lateral (
    select b.concurrency, b.rate, b.burst
    from (
        select r.concurrency, r.rate,
               case when r.rate is not null then coalesce(r.burst, greatest(1, r.rate)) end as burst, 1 + (r.project_id is null)::int as place
        from jobs_limitrule r
        where r.name = x.name and (r.project_id is null or r.project_id = x.project_id)
        union all
        select c.concurrency, c.rate, c.burst, 3
        from unnest(%(names)b::text[], %(concurrency)b::int[], %(rate)b::float8[], %(burst)b::float8[])
             as c (name, concurrency, rate, burst)
        where c.name = x.name
    ) b
    order by b.place
    limit 1
) bounds
order by x.id
on conflict (id) do nothing
