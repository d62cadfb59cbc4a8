-- report: one row for a subject that has no row of its own; who appends for it holds its lock until he has committed.
-- What goes for `append` goes here: not before the subject's previous event in the log.
insert into events_event (position, project_id, type, subject_id, seq, data)
select greatest((select event_position()), last.position), %(project_id)s, %(type)s, %(subject_id)s,
       coalesce(last.seq, 0) + 1, %(data)s::jsonb
from (select) one
left join lateral (
    select e.position, e.seq
    from events_event e
    where e.subject_id = %(subject_id)s
    order by e.seq desc
    limit 1
) last on true
returning position, id, occurred_at, project_id, type, subject_id, seq, data::text
