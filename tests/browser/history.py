"""An hour of work that nobody has to wait for: jobs as they would have ended, their events, and the samples of each minute.

The events go into the log, so that the counter of the platform counts them itself.
"""

from typing import Any
from uuid import UUID

from tests.processes import Platform

JOBS = 9_000
# Ten jobs in a hundred are reports; the provider of the payments is slow for ten minutes, and then refuses some.
_NUMBERED = """
select n, uuidv7(at - clock_timestamp()) as id, at, kind, project, slow,
       case when n % 211 = 0 then 'rejected' when slow and n % 9 = 0 then 'failed' when n % 487 = 0 then 'cancelled'
            else 'processed' end as status,
       case when kind = 'report.render' then 0.35 else 0.012 end * exp(1.1 * sqrt(-2 * ln(u)) * cos(6.2832 * v))
           * case when slow and kind = 'payment.capture' then 14 else 1 end as took,
       case when slow then 2.5 else 0.004 end * (0.3 + u) as waited
from (
    select n, clock_timestamp() - make_interval(secs => 3590 * (1 - share)) as at, share between 0.62 and 0.8 as slow,
           case when n % 10 = 0 then 'report.render' when n % 17 = 0 then 'customer.import' else 'payment.capture' end as kind,
           case when n % 3 = 0 then %(second)s::uuid else %(first)s::uuid end as project,
           greatest(1e-6, random()) as u, random() as v
    from (select n, (n + 120 * sin(37.699 * n / %(jobs)s)) / %(jobs)s as share from generate_series(1, %(jobs)s) n) spread
) drawn
"""
_JOBS = f"""
with numbered as materialized ({_NUMBERED}),
made as (
    insert into jobs_job (id, project_id, created_at, due_at, started_at, finished_at, position, shelf_id, claim_no, seq,
                          attempt, priority, gate, cancel_requested, kind, stage, status, payload)
    select id, project, at, at, at + waited * interval '1 second', at + (waited + took) * interval '1 second',
           event_position(), 0, 1, 2, 1, 0, 0, false, kind, 'process', status, '{{}}'
    from numbered
),
retried as (
    insert into events_event (position, occurred_at, project_id, type, subject_id, seq, data)
    select event_position(), at + waited * interval '1 second', project, 'job.retrying', id, 2,
           jsonb_build_object('kind', kind, 'attempt', 1)
    from numbered where (slow and n % 4 = 0) or n % 97 = 0
)
insert into events_event (position, occurred_at, project_id, type, subject_id, seq, data)
select event_position(), at, project, 'job.queued', id, 1, jsonb_build_object('kind', kind) from numbered
union all
select event_position(), at + (waited + took) * interval '1 second', project, 'job.' || status, id, 3,
       jsonb_build_object('kind', kind, 'attempt', 1, 'duration_ms', took * 1000)
from numbered where at + (waited + took) * interval '1 second' < clock_timestamp()
"""
_SAMPLES = """
insert into jobs_rollup (project_id, seconds, by_kind, measure, at, kind, bucket, number, total, most)
select 'ffffffff-ffff-ffff-ffff-ffffffffffff', 60, false, m.measure, at, '', 0, 1, m.value, m.value
from generate_series(date_bin('1 minute', now() - interval '59 minutes', '2000-01-01'),
                     now() - interval '90 seconds', interval '1 minute') with ordinality as minute (at, n)
cross join lateral (values
    (22, case when n between 38 and 48 then 1500 + 900 * (n - 37) * (49 - n) else 20 + 30 * random() end),
    (24, case when n between 20 and 22 then 6 else 8 end),
    (25, case when n between 37 and 48 then 8 else 1 + floor(3 * random()) end)
) as m (measure, value)
on conflict do nothing
"""


def make_history(platform: Platform, projects: list[UUID]) -> None:
    """Make the hour, and return when the platform has counted it."""
    values: dict[str, Any] = {"first": projects[0], "second": projects[1], "jobs": JOBS}
    platform._connect()
    platform._link.execute(_JOBS.replace("% ", "%% ").encode(), values)
    platform._link.execute(_SAMPLES.encode())
    counted = (
        "select coalesce(sum(number), 0) > %s from jobs_rollup where seconds = 86400 and not by_kind and measure = 1"
    )
    platform.wait_until(lambda: platform.value(counted, JOBS), "the counter")
