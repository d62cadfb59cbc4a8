-- key_holder: the job that holds a key.
select job_id from jobs_uniquekey where project_id = %(project_id)s and kind = %(kind)s and key = %(key)s
