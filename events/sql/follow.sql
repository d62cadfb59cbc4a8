-- follow: of the next rows that can no longer change those of some projects and subjects, up to a number and so many
-- bytes, and where the last row stands that was looked at. One row without an event when nothing was found among them.
with scanned as materialized (
    select e.position, e.id, e.occurred_at, e.project_id, e.type, e.subject_id, e.seq, e.data
    from events_event e
    where (e.position, e.id) > (%(position)s, %(last_id)s)
      and e.position < (select event_horizon())
    order by e.position, e.id
    limit %(scan)s
),
found as materialized (
    select s.*, sum(octet_length(s.data::text)) over (order by s.position, s.id) as bytes
    from (
        select *
        from scanned
        where project_id in (select unnest(%(projects)b::uuid[])) or subject_id in (select unnest(%(subjects)b::uuid[]))
        order by position, id
        limit %(limit)s
    ) s
),
edge as (
    select position, id, (select count(*) from scanned) as scanned, (select count(*) from found) as found
    from scanned
    order by position desc, id desc
    limit 1
)
select edge.position, edge.id, edge.scanned, edge.found,
       f.position, f.id, f.occurred_at, f.project_id, f.type, f.subject_id, f.seq, f.data::text
from edge
left join found f on f.bytes - octet_length(f.data::text) < %(most_bytes)s
order by f.position, f.id
