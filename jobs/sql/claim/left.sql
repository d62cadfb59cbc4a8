-- claim/left: the end of claim where the kind has a limit: behind the claimed jobs those that were left out, without a
-- claim. Those whose key has no row yet, or that have no key, come with their payload.
union all
select j.id, j.project_id, j.kind, null, j.attempt, null, null, null, j.stage, j.lane, j.shelf_id, j.due_at,
       case when judged.unknown then j.payload::text end, null, null, false, judged.weight, null, null, null
from judged
join jobs_job j on j.ctid = judged.tid
where not judged.passes
