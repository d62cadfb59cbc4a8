-- read: what can no longer change, behind a cursor, in the order of the log.
select e.position, e.id, e.occurred_at, e.project_id, e.type, e.subject_id, e.seq, e.data::text
from events_event e
where (e.position, e.id) > (%(position)s, %(last_id)s)
  and e.position < (select event_horizon())
order by e.position, e.id
limit %(limit)s
