-- append: rows of one transaction, for subjects that keep their own seq. One row per element of the arrays.
-- A transaction that took its id before the subject's previous event was written must not go before it in the log.
insert into events_event (position, project_id, type, subject_id, seq, data)
select greatest(
           (select event_position()),
           (select e.position from events_event e where e.subject_id = x.subject_id order by e.seq desc limit 1)),
       x.project_id, x.type, x.subject_id, x.seq, x.data::jsonb
from unnest(%(project_id)b::uuid[], %(type)b::text[], %(subject_id)b::uuid[], %(seq)b::int[], %(data)b::text[])
    as x (project_id, type, subject_id, seq, data)
