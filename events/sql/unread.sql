-- unread: per consumer, the age of the oldest row that it has not read, in seconds (0 when it has read all), failures
-- in a row, and how many rows it has not read, counted up to %(most)s. Rows that are not settled yet count as well.
select c.name,
       coalesce(extract(epoch from clock_timestamp() - (
           select e.occurred_at from events_event e
           where (e.position, e.id) > (c.position, c.last_id)
           order by e.position, e.id limit 1)), 0)::float8 as seconds,
       c.failures,
       (select count(*) from (
           select 1 from events_event e
           where (e.position, e.id) > (c.position, c.last_id)
           order by e.position, e.id limit %(most)s) unread) as number
from events_consumer c
order by c.name
