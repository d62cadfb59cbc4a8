-- append: rows of one transaction, for subjects that keep their own seq. One row per element of the arrays.
insert into events_event (position, project_id, type, subject_id, seq, data)
select (select event_position()), x.project_id, x.type, x.subject_id, x.seq, x.data::jsonb
from unnest(%(project_id)b::uuid[], %(type)b::text[], %(subject_id)b::uuid[], %(seq)b::int[], %(data)b::text[])
    as x (project_id, type, subject_id, seq, data)
