-- woken: how the last waiting of a job ended, as its events tell. Nothing: it has not waited.
select e.type, e.occurred_at, e.data::text
from events_event e
where e.subject_id = %(id)s
  and e.project_id = %(project_id)s
  and e.type in ('job.parked', 'job.woken')
order by e.seq desc
limit 1
