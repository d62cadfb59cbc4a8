-- waiting_keys: keys behind whose gates somebody waits, and in how many seconds they may let go (0 or less: now).
select k.id,
       extract(epoch from greatest(
           k.closed_until,
           k.next_at - (k.burst - 1) / k.rate * interval '1 second',
           (select platform_now())
       ) - (select platform_now()))::float8 as seconds
from jobs_limitkey k
where k.waiting
  and (k.concurrency is null or k.in_use < k.concurrency)
  and (k.ramp is null or k.in_use < k.ramp)
order by seconds
limit %(limit)s
