-- forget_awaited: these jobs wait for no event any more.
delete from jobs_awaited a
using unnest(%(id)b::uuid[], %(project_id)b::uuid[]) as x (job_id, project_id)
where a.job_id = x.job_id and a.project_id = x.project_id
