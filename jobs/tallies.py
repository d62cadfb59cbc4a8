"""The log counted: events by type and kind, and attempts by how long they took, waited and overran.

Whoever asks counts on from where it was counted to: one statement a slice, which moves the place in the log along with
the totals. So the totals are exact, survive every restart, are the same from every process, and cost nothing while
nobody asks. A job of the schedule counts now and then (`engine.count`), so that there is never much left to do.
"""

import itertools
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from events import log
from jobs import registry

SLICE = 5_000
"""Events counted by one statement: some tens of milliseconds."""
MOST_SLICES = 8
"""Of one scrape. What is left is counted the next time."""

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
"""Bounds of the histograms in seconds. Changing them mixes what was counted before with what comes."""

Measure = Literal["duration", "wait", "late"]

# The kind of a refused job is a client's text: it must not become a label. The row of type "" is the place in the log.
# How long a job waited stands in its row: from when it was due to when it was claimed. LIMIT makes each row be fetched
# by its key, whatever the statistics say.
_COUNT = f"""
with mark as materialized (
    select total as position, last_id from jobs_tally where type = '' and kind = '' for update skip locked
),
slice as materialized (
    select e.position, e.id, e.type, e.project_id, e.subject_id,
           case when e.type = 'job.refused' then '' else coalesce(e.data ->> 'kind', '') end as kind,
           case when e.type like 'job.%%' and jsonb_typeof(e.data -> 'duration_ms') = 'number'
                then (e.data ->> 'duration_ms')::float8 / 1000 end as seconds
    from mark
    cross join lateral (
        select * from events_event e
        where (e.position, e.id) > (mark.position, mark.last_id) and e.position < (select event_horizon())
        order by e.position, e.id
        limit {SLICE}
    ) e
),
counted as (
    insert into jobs_tally as t (type, kind, total, last_id)
    select type, kind, count(*), 0 from slice group by type, kind
    on conflict (type, kind) do update set total = t.total + excluded.total
),
timed as materialized (
    select kind, 'duration' as measure, seconds from slice where seconds is not null
    union all
    select s.kind, 'late', s.seconds
    from slice s
    join unnest(%(kinds)s::text[], %(expected)s::float8[]) as x (kind, seconds) on x.kind = s.kind
    where s.seconds > x.seconds
    union all
    select s.kind, 'wait', greatest(0, extract(epoch from j.started_at - j.due_at)::float8)
    from slice s
    cross join lateral (
        select j.started_at, j.due_at from jobs_job j where j.project_id = s.project_id and j.id = s.subject_id limit 1
    ) j
    where s.seconds is not null and s.type in ('job.processed', 'job.failed', 'job.rejected')
      and j.started_at is not null
),
bucketed as (
    insert into jobs_timing as t (kind, measure, bucket, total, seconds)
    select kind, measure, width_bucket(seconds, %(bounds)s::float8[]), count(*), sum(seconds)
    from timed
    group by 1, 2, 3
    on conflict (kind, measure, bucket) do update
    set total = t.total + excluded.total, seconds = t.seconds + excluded.seconds
),
moved as (
    update jobs_tally t
    set total = edge.position, last_id = edge.id
    from (select position, id from slice order by position desc, id desc limit 1) edge
    where t.type = '' and t.kind = ''
)
select (select count(*) from mark), (select count(*) from slice)
"""  # noqa: S608 - constants of this module
_START = "insert into jobs_tally (type, kind, total, last_id) values ('', '', 0, 0) on conflict do nothing"


@dataclass(frozen=True, slots=True)
class Histogram:
    """Attempts at a kind by duration or wait. `cumulative`: how many up to each bound, then all of them."""

    kind: str
    cumulative: tuple[tuple[float, int], ...]
    total: int
    seconds: float


def count(*, most_slices: int = MOST_SLICES, seconds: float | None = None) -> bool:
    """Count the log on from where it was counted to. False when it stopped before the end.

    Where another process is at it, this one leaves it to that.
    """
    began = time.monotonic()
    expected = [(kind.name, kind.expect) for kind in registry.kinds() if kind.expect is not None]
    values = {
        "kinds": [name for name, _ in expected],
        "expected": [float(seconds) for _, seconds in expected],
        "bounds": [float(bound) for bound in BOUNDS],
    }
    for _ in range(most_slices):
        marks, events = _rows(_COUNT, values)[0]
        if not marks:
            _execute(_START)
            if not _rows("select 1 from jobs_tally where type = '' and kind = '' for update skip locked"):
                return True
        elif events < SLICE:
            return True
        if seconds is not None and time.monotonic() - began > seconds:
            break
    return False


def events() -> Mapping[tuple[str, str], int]:
    """Events by type and kind, as far as the log has been counted."""
    return {(row[0], row[1]): row[2] for row in _rows("select type, kind, total from jobs_tally where type <> ''")}


def timings() -> Mapping[Measure, list[Histogram]]:
    """What has been timed, by measure: `duration` of each attempt, `wait` of each job, `late` beyond `expect=`."""
    found: dict[tuple[Measure, str], dict[int, tuple[int, float]]] = defaultdict(dict)
    for measure, kind, bucket, total, seconds in _rows(
        "select measure, kind, bucket, total, seconds from jobs_timing order by measure, kind"
    ):
        found[measure, kind][bucket] = (total, seconds)
    by_measure: dict[Measure, list[Histogram]] = defaultdict(list)
    for (measure, kind), buckets in found.items():
        running = itertools.accumulate(buckets.get(n, (0, 0.0))[0] for n in range(len(BOUNDS) + 1))
        bounds = (*BOUNDS, float("inf"))
        total, seconds = (sum(column) for column in zip(*buckets.values(), strict=True))
        by_measure[measure].append(Histogram(kind, tuple(zip(bounds, running, strict=True)), int(total), seconds))
    return by_measure


def _rows(sql: str, values: Mapping[str, Any] | None = None) -> list[Any]:
    with log.cursor() as cur:
        return cur.execute(sql.encode(), values, prepare=False).fetchall()


def _execute(sql: str) -> None:
    with log.cursor() as cur:
        cur.execute(sql.encode())
