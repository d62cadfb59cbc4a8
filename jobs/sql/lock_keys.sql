-- lock_keys: lock these keys, in the order of all who do.
select k.id from jobs_limitkey k where k.id = any(%(id)s::bigint[]) order by k.id for update
