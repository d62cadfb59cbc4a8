-- adopt: tie the log to the cluster it lives in. In another cluster transaction ids start anew, so the base rises
-- until every row written so far lies below every position to come, and counts as committed.
update events_era
set cluster = (select system_identifier from pg_control_system()),
    base = greatest(
        base,
        -- Of events that were rotated away, the consumers that have read them know the positions.
        coalesce(greatest((select max(position) from events_event), (select max(position) from events_consumer)), 0) + 1
            - pg_snapshot_xmin(pg_current_snapshot())::text::bigint),
    since = clock_timestamp()
where cluster <> (select system_identifier from pg_control_system())
