"""What happened, by minute, hour and day: the log counted once, so that no chart ever scans it.

A counter of the log (`jobs/subscribers.py`) adds each batch of events by one statement: the batch becomes a few rows in
the database, and those are added to `jobs_rollup`, in the transaction that moves the cursor. Of a job that was
processed it also keeps how long its handler took (from the event) and how long it waited from due to started (from its
row), as histograms. Once a minute, as long as anything happens, it takes samples: depth and age of what is due, jobs
that run, worker processes and how many of them are busy.
"""

import datetime as dt
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any
from uuid import UUID

from django.db import connection

from events import log
from events.consumers import Counted
from jobs.states import LIVE_SECONDS

EVERYONE = UUID(int=2**128 - 1)
"""The project of what all projects did together. (The platform's own is UUID 0.)"""

MINUTE, HOUR, DAY = 60, 3_600, 86_400
KEPT = {MINUTE: dt.timedelta(hours=48), HOUR: dt.timedelta(days=90), DAY: dt.timedelta(days=400)}
"""How long rows of each length are kept."""

BATCH = 20_000
"""Events counted by one statement."""
PAUSE = 5.0
"""Seconds that the counter rests when it has seen all: how old the charts may be."""

SMALLEST_MS = 0.1
PER_OCTAVE = 4
"""Buckets of a histogram per doubling: each is 19 % wide, so a percentile read from it is true to a few percent."""
LAST_BUCKET = 160
MOST_SAMPLED = 50_000
"""Due jobs are counted up to so many for a sample, shared between the shelves."""


class Measure(IntEnum):
    """What a row measures. Below 10: events. DURATION and WAIT: histograms in milliseconds. From 20: samples."""

    QUEUED = 1
    PROCESSED = 2
    RETRYING = 3
    FAILED = 4
    REJECTED = 5
    CANCELLED = 6
    BLOCKED = 7
    DURATION = 11
    WAIT = 12
    DUE = 21
    AGE = 22
    RUNNING = 23
    SLOTS = 24
    BUSY = 25


EVENTS: Mapping[Measure, str] = {
    Measure.QUEUED: "job.queued",
    Measure.PROCESSED: "job.processed",
    Measure.RETRYING: "job.retrying",
    Measure.FAILED: "job.failed",
    Measure.REJECTED: "job.rejected",
    Measure.CANCELLED: "job.cancelled",
    Measure.BLOCKED: "job.blocked",
}
"""The events that are counted. Their `kind` is a registered one; that of a refused job is a client's text."""

_ORIGIN = "timestamptz '2000-01-01 00:00:00+00'"
_ADD = f"""
spread as (
    select scope.project_id, p.seconds, scope.by_kind, f.measure,
           date_bin(make_interval(secs => p.seconds), f.at, {_ORIGIN}) as at, scope.kind, f.bucket,
           {{combined}}
    from fact f
    cross join (values ({MINUTE}), ({HOUR}), ({DAY})) as p (seconds)
    {{scopes}}
    group by 1, 2, 3, 4, 5, 6, 7
),
added as (
    insert into jobs_rollup as r (project_id, seconds, by_kind, measure, at, kind, bucket, number, total, most)
    select * from spread
    order by 1, 2, 3, 4, 5, 6, 7  -- in one order for all, so that two statements cannot deadlock
    on conflict (project_id, seconds, by_kind, measure, at, kind, bucket) do update
    set number = r.number + excluded.number, total = r.total + excluded.total, most = greatest(r.most, excluded.most)
)"""  # noqa: S608 - constants of this module
_SCOPES = f"""cross join lateral (values
        (f.project_id, true, f.kind), (f.project_id, false, ''),
        ('{EVERYONE}'::uuid, true, f.kind), ('{EVERYONE}'::uuid, false, '')
    ) as scope (project_id, by_kind, kind)"""

# A job's row is looked up by its key, one by one, whatever the statistics say: `limit 1` in a lateral keeps it so.
# What is not a number in an event is left out: one bad row must not stop the counter for ever.
_COUNT = f"""
with slice as materialized (
    select e.position, e.id, e.occurred_at, e.project_id, e.subject_id, m.measure,
           coalesce(nullif(e.data ->> 'kind', ''), '?') as kind,
           case when m.measure = {Measure.PROCESSED:d} and jsonb_typeof(e.data -> 'duration_ms') = 'number'
                then (e.data ->> 'duration_ms')::float8 end as took
    from (
        select * from events_event
        where (position, id) > (%(position)s, %(last_id)s) and position < (select event_horizon())
        order by position, id
        limit %(batch)s
    ) e
    left join (values {", ".join(f"({measure:d}, '{name}')" for measure, name in EVENTS.items())})
      as m (measure, type) on m.type = e.type
),
fact as materialized (
    select date_bin('1 minute', s.occurred_at, {_ORIGIN}) as at, s.project_id, s.kind, v.measure, size.bucket,
           count(*) as number, coalesce(sum(v.value), 0) as total, coalesce(max(v.value), 0) as most
    from slice s
    left join lateral (
        select extract(epoch from greatest(interval '0', j.started_at - j.due_at))::float8 * 1000 as waited
        from jobs_job j
        where s.took is not null and j.project_id = s.project_id and j.id = s.subject_id and j.status = 'processed'
          and j.started_at is not null
        limit 1
    ) row on true
    cross join lateral (values
        (s.measure, null), ({Measure.DURATION:d}, s.took), ({Measure.WAIT:d}, row.waited)
    ) as v (measure, value)
    cross join lateral (
        select case when v.value is null then 0 else least({LAST_BUCKET}, greatest(0, ceil(
            {PER_OCTAVE} * ln(greatest(v.value, 1e-9) / {SMALLEST_MS}) / ln(2.0::float8)))) end::smallint as bucket
    ) size
    where s.measure is not null and (v.value is not null or v.measure = s.measure)
    group by 1, 2, 3, 4, 5
),
{_ADD.format(combined="sum(f.number) as number, sum(f.total) as total, max(f.most) as most", scopes=_SCOPES)}
select position, id, count(*) over () from slice order by position desc, id desc limit 1
"""  # noqa: S608 - constants of this module

_SAMPLE = f"""
with clock as materialized (
    select platform_now() as now, clock_timestamp() as real
    where not exists (
        select 1 from jobs_rollup
        where project_id = '{EVERYONE}' and seconds = {MINUTE} and not by_kind and measure = {Measure.SLOTS:d}
          and at = date_bin('1 minute', clock_timestamp(), {_ORIGIN}))
),
share as materialized (
    select greatest(100, {MOST_SAMPLED} / greatest(1, count(*))) as most
    from jobs_shelf where low_due_at <= (select now from clock)
),
due as materialized (
    select s.project_id, s.kind, found.number, extract(epoch from clock.now - found.first)::float8 * 1000 as age
    from clock
    cross join jobs_shelf s
    cross join lateral (
        select count(*) as number, min(d.due_at) as first
        from (
            select j.due_at from jobs_job j
            where j.shelf_id = s.id and j.status = 'queued' and j.gate = 0 and j.due_at <= clock.now
            order by j.shelf_id, j.due_at, j.id
            limit (select most from share)
        ) d
    ) found
    where found.number > 0
),
running as materialized (
    select j.project_id, j.kind, j.claimed_by
    from clock cross join lateral (
        select * from jobs_job where status = 'processing' and claimed_by is not null order by claimed_by limit 10000
    ) j
),
live as (
    select count(*) as number from jobs_worker
    where stopped_at is null and heartbeat_at > clock_timestamp() - interval '{LIVE_SECONDS} seconds'
),
taken (project_id, kind, measure, value) as (
    select project_id, kind, {Measure.DUE:d}, number::float8 from due
    union all select project_id, kind, {Measure.RUNNING:d}, count(*) from running group by project_id, kind
),
sampled (project_id, by_kind, kind, measure, value) as (
    select project_id, grouping(kind) = 0, kind, measure, sum(value)
    from taken group by grouping sets ((project_id, kind, measure), (project_id, measure), (kind, measure), (measure))
    union all
    select project_id, grouping(kind) = 0, kind, {Measure.AGE:d}, max(age)
    from due group by grouping sets ((project_id, kind), (project_id), (kind))
    union all select null, false, null, {Measure.AGE:d}, coalesce(max(age), 0) from due
    union all select null, false, null, {Measure.SLOTS:d}, number from live
    union all select null, false, null, {Measure.BUSY:d}, count(distinct claimed_by) from running
),
fact as materialized (
    select clock.real as at, coalesce(s.project_id, '{
    EVERYONE
}') as project_id, s.by_kind, coalesce(s.kind, '') as kind,
           s.measure, 0::smallint as bucket, s.value
    from clock cross join sampled s
),
{
    _ADD.format(
        combined="count(*) as number, sum(f.value) as total, max(f.value) as most",
        scopes="cross join lateral (values (f.project_id, f.by_kind, f.kind)) as scope (project_id, by_kind, kind)",
    )
}
select count(*) from fact
"""  # noqa: S608 - constants of this module


def count(position: int, last_id: int, batch: int) -> Counted | None:
    """Count the events behind a place in the log; None when there are none. The caller keeps the place."""
    with log.cursor() as cur:
        params = {"position": position, "last_id": last_id, "batch": batch}
        row = cur.execute(_COUNT, params, prepare=False).fetchone()
    return Counted(*row) if row else None


def sample() -> bool:
    """Take the samples of this minute. False when somebody has taken them."""
    with log.cursor() as cur:
        row = cur.execute(_SAMPLE, prepare=False).fetchone()
    return bool(row and row[0])


TIDY = f"""
delete from jobs_rollup where ctid = any (array(
    select ctid from jobs_rollup
    where (seconds = {MINUTE} and at < clock_timestamp() - interval '{KEPT[MINUTE].total_seconds():.0f} seconds')
       or (seconds = {HOUR} and at < clock_timestamp() - interval '{KEPT[HOUR].total_seconds():.0f} seconds')
       or (seconds = {DAY} and at < clock_timestamp() - interval '{KEPT[DAY].total_seconds():.0f} seconds')
    limit %(slice)s))
"""  # noqa: S608 - constants of this module


# ------------------------------------------------------------------------------------------------ histograms


@dataclass(frozen=True, slots=True)
class Histogram:
    """Sizes by bucket, and the largest one (milliseconds)."""

    buckets: Mapping[int, int]
    most: float = math.inf

    @property
    def number(self) -> int:
        """How many sizes."""
        return sum(self.buckets.values())

    def percentile(self, percent: float) -> float | None:
        """The size (ms) that so many percent do not exceed, true to half the width of a bucket; None of nothing."""
        wanted = self.number * percent / 100
        if not wanted:
            return None
        passed = 0.0
        for bucket, number in sorted(self.buckets.items()):
            if passed + number >= wanted:
                high = min(upper_edge(bucket), self.most)
                low = min(upper_edge(bucket - 1) if bucket else 0.0, high)
                return low + (high - low) * (wanted - passed) / number
            passed += number
        return self.most


def upper_edge(bucket: int) -> float:
    """The largest size (ms) of a bucket."""
    return float(SMALLEST_MS * 2 ** (bucket / PER_OCTAVE))


# ------------------------------------------------------------------------------------------------ reading


@dataclass(frozen=True, slots=True)
class Cell:
    """Rows of one measure taken together."""

    number: int
    total: float
    most: float

    @property
    def mean(self) -> float:
        """The mean value; 0 of nothing."""
        return self.total / self.number if self.number else 0.0


@dataclass(slots=True)
class Sums:
    """What a span of time saw: a cell per measure, the histograms beside them."""

    cells: dict[Measure, Cell]
    histograms: dict[Measure, Histogram]

    def count(self, measure: Measure) -> int:
        """How many events (or samples) of a measure."""
        return self.cells[measure].number if measure in self.cells else 0

    def percentile(self, measure: Measure, percent: float) -> float | None:
        """A percentile of DURATION or WAIT in milliseconds; None where nothing was measured."""
        return self.histograms[measure].percentile(percent) if measure in self.histograms else None


_SERIES = f"""
select floor(extract(epoch from at - %(since)s) / %(bin)s)::int, measure, bucket,
       sum(number)::bigint, sum(total), max(most)
from jobs_rollup
where project_id = %(project)s and seconds = %(seconds)s and not by_kind
  and measure between {min(Measure):d} and {max(Measure):d} and at >= %(since)s
group by 1, 2, 3
"""  # noqa: S608 - constants of this module

_BY_KIND = f"""
select kind, measure, bucket, sum(number)::bigint, sum(total), max(most)
from jobs_rollup
where project_id = %(project)s and seconds = %(seconds)s and by_kind
  and measure between {min(Measure):d} and {Measure.DURATION:d} and at >= %(since)s
group by 1, 2, 3
"""  # noqa: S608 - constants of this module

_BY_PROJECT = f"""
select p.project_id, m.measure, 0, found.number, found.total, found.most
from unnest(%(projects)s::uuid[]) as p (project_id)
cross join generate_series({min(EVENTS):d}, {max(EVENTS):d}) as m (measure)
cross join lateral (
    select sum(number)::bigint as number, sum(total) as total, max(most) as most
    from jobs_rollup
    where project_id = p.project_id and seconds = %(seconds)s and not by_kind and measure = m.measure
      and at >= %(since)s
) found
where found.number > 0
"""  # noqa: S608 - constants of this module


def series(project: UUID | None, *, seconds: int, since: dt.datetime, bin_seconds: int) -> dict[int, Sums]:
    """What happened in each bin from `since` on, by its number; a bin without anything is left out.

    `seconds`: the length of the rows that are read, which divides that of a bin. `project` None: all together.
    """
    params = {"project": project or EVERYONE, "seconds": seconds, "since": since, "bin": bin_seconds}
    return _summed(_rows(_SERIES, params))


def by_kind(project: UUID | None, *, seconds: int, since: dt.datetime) -> dict[str, Sums]:
    """What happened since a moment, by kind: the events, and DURATION."""
    return _summed(_rows(_BY_KIND, {"project": project or EVERYONE, "seconds": seconds, "since": since}))


def by_project(projects: Sequence[UUID], *, seconds: int, since: dt.datetime) -> dict[UUID, Sums]:
    """What happened since a moment, by project: the events."""
    return _summed(_rows(_BY_PROJECT, {"projects": list(projects), "seconds": seconds, "since": since}))


def _rows(statement: str, params: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return list(cursor.fetchall())


def _summed(rows: Iterable[tuple[Any, ...]]) -> dict[Any, Sums]:
    """Rows of (key, measure, bucket, number, total, most) as sums by key."""
    buckets: dict[tuple[Any, Measure], dict[int, int]] = {}
    found: dict[Any, Sums] = {}
    for key, code, bucket, number, total, most in rows:
        measure = Measure(code)
        sums = found.setdefault(key, Sums({}, {}))
        old = sums.cells.get(measure, Cell(0, 0.0, 0.0))
        sums.cells[measure] = Cell(old.number + number, old.total + total, max(old.most, most))
        buckets.setdefault((key, measure), {})[bucket] = number
    for (key, measure), sizes in buckets.items():
        if measure in (Measure.DURATION, Measure.WAIT):
            found[key].histograms[measure] = Histogram(sizes, found[key].cells[measure].most)
    return found


def together(parts: Iterable[Sums]) -> Sums:
    """Sums of several bins as one."""
    cells: dict[Measure, Cell] = {}
    sizes: dict[Measure, dict[int, int]] = {}
    for part in parts:
        for measure, cell in part.cells.items():
            old = cells.get(measure, Cell(0, 0.0, 0.0))
            cells[measure] = Cell(old.number + cell.number, old.total + cell.total, max(old.most, cell.most))
        for measure, histogram in part.histograms.items():
            merged = sizes.setdefault(measure, {})
            for bucket, number in histogram.buckets.items():
                merged[bucket] = merged.get(bucket, 0) + number
    return Sums(cells, {measure: Histogram(found, cells[measure].most) for measure, found in sizes.items()})
