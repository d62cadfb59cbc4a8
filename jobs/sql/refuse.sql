-- refuse: count refused creations of one project by code. At most %(most)s of them a minute become an event; the others
-- are added to the count of the next one. The row of a code is the subject of its events.
with refused as materialized (
    select x.id, x.code, x.kind, x.number
    from unnest(%(id)b::uuid[], %(code)b::text[], %(kind)b::text[], %(number)b::int[]) as x (id, code, kind, number)
    order by x.code  -- in one order for all, so that two statements cannot deadlock
),
counted as (
    insert into jobs_refusal as r (
        id, project_id, code, total, reported, unreported, seq, position, window_began, in_window
    )
    select id, %(project_id)s, code, number, number, 0, 1, (select event_position()), clock_timestamp(), 1
    from refused
    on conflict (project_id, code) do update
    set total = r.total + excluded.total,
        window_began = case when r.window_began < clock_timestamp() - interval '1 minute'
                            then clock_timestamp() else r.window_began end,
        in_window = case when r.window_began < clock_timestamp() - interval '1 minute' then 1
                         when r.in_window < %(most)s then r.in_window + 1 else r.in_window end,
        unreported = case when r.window_began < clock_timestamp() - interval '1 minute' or r.in_window < %(most)s
                          then 0 else r.unreported + excluded.total end,
        reported = case when r.window_began < clock_timestamp() - interval '1 minute' or r.in_window < %(most)s
                        then r.unreported + excluded.total else r.reported end,
        seq = case when r.window_began < clock_timestamp() - interval '1 minute' or r.in_window < %(most)s
                   then r.seq + 1 else r.seq end,
        position = greatest(r.position, (select event_position()))
    returning id, code, reported, unreported, seq, position
)
insert into events_event (position, project_id, type, subject_id, seq, data)
select c.position, %(project_id)s, 'job.refused', c.id, c.seq,
       jsonb_build_object('kind', x.kind, 'code', c.code, 'count', c.reported)
from counted c
join refused x on x.code = c.code
where c.unreported = 0
