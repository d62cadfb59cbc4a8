"""Reading jobs, for the API. Whatever belongs to a project is asked for with that project's id.

No list reads more than `SCAN_ROWS` rows or shows more than `walks.PAGE_BYTES`, whatever it is asked for: a filter over
one of the common statuses has no index (each would be paid for by every job), so such a page may end early and say
where to go on.
"""

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from django.conf import settings
from django.db.models import QuerySet

from events import log
from jobplatform.api.walks import walk
from jobs.errors import JobNotFound, PauseNotFound
from jobs.models import RARE, BulkAct, JobBatch, LimitKey, Pause
from jobs.states import ENDED, Status

SCAN_ROWS = 10_000
"""So many jobs one page looks at, whatever it finds among them."""
SCAN_RARE_ROWS = 2_000
"""The same for jobs of a rare status: they lie far apart, so each costs the reading of a page of its own."""
LONGEST_QUEUE = 1000
"""Who waits before a job, or behind one, is counted up to here."""
CLOCKS_APART = dt.timedelta(seconds=10)
"""An id tells the time of the host that made it, which may differ from the database's by so much."""

SETTLED = frozenset({*ENDED, Status.BLOCKED, Status.PENDING_APPROVAL})
"""Statuses in which nothing moves a job on by itself: what `?wait=` waits for."""

_HEAD = """id, kind, status, stage, attempt, max_attempts, priority, lane, batch_id, confirm, quality, due_at,
    created_at, started_at, finished_at, cancel_requested"""
_BODY = ("error", "progress", "metadata", "payload", "output", "steps")
_EVENT = """case when j.status = 'parked' then (
    select jsonb_build_object('type', a.type, 'subject', a.subject)::text from jobs_awaited a
    where a.job_id = j.id and a.project_id = j.project_id
) end as event"""
_COLUMNS = f"{_HEAD}, {_EVENT}, {', '.join(f'{name}::text' for name in _BODY)}"

_GET = f"select {_COLUMNS} from jobs_job j where id = %(id)s and project_id = %(project_id)s"  # noqa: S608 - constants of this module

# What several requests wait for, in one statement.
_AWAITED = f"""
select {_COLUMNS}
from unnest(%(id)b::uuid[], %(project_id)b::uuid[], %(last_look)b::boolean[]) as x (job_id, job_project_id, last_look)
join jobs_job j on j.id = x.job_id and j.project_id = x.job_project_id
where x.last_look or j.status = any(%(settled)s)
"""  # noqa: S608 - constants of this module

# The bounded scan by an index that has the order of the list, then the filters.
_LIST = walk(
    head=f"{_HEAD}, event",
    page=f"""
    select {_HEAD}, {_EVENT}
    from (
        select * from jobs_job j where {{within}} order by j.id {{direction}} limit {{scan}}
    ) j
    where {{filters}}
    order by j.id {{direction}}
    limit {{limit}}""",  # noqa: S608 - constants of this module
    bodies=_BODY,
    row="from jobs_job r where r.project_id = %(project_id)s and r.id = page.id",
)

_LAST_SCANNED = """
select j.id from jobs_job j where {within} order by j.id {direction} offset {scan} - 1 limit 1
"""


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job as the API shows it. The last fields are JSON texts; `event` is what else than its due time may wake it."""

    id: UUID
    kind: str
    status: str
    stage: str
    attempt: int
    max_attempts: int | None
    priority: int
    lane: str | None
    batch_id: UUID | None
    confirm: str | None
    quality: float | None
    due_at: dt.datetime
    created_at: dt.datetime
    started_at: dt.datetime | None
    finished_at: dt.datetime | None
    cancel_requested: bool
    event: str | None
    error: str | None
    progress: str | None
    metadata: str | None
    payload: str
    output: str | None
    steps: str | None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs of a project. `metadata`: keys and the texts that their values have."""

    kind: str | None = None
    status: Status | None = None
    stage: str | None = None
    lane: str | None = None
    error_code: str | None = None
    created_after: dt.datetime | None = None
    created_before: dt.datetime | None = None
    batch_id: UUID | None = None
    ids: Sequence[UUID] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scan:
    """What a bounded scan found, and where it gave up (None: it saw everything there is)."""

    rows: list[JobRow] = field(default_factory=list)
    stopped_at: UUID | None = None


def job(project_id: UUID, job_id: UUID) -> JobRow:
    """One job of a project.

    Raises:
        JobNotFound: the project has no such job.
    """
    with log.cursor() as cur:
        row = cur.execute(_GET, {"id": job_id, "project_id": project_id}, prepare=True).fetchone()
    if row is None:
        raise JobNotFound(job_id=job_id)
    return JobRow(*row)


def exists(project_id: UUID, job_id: UUID) -> None:
    """Nothing, if the project has this job.

    Raises:
        JobNotFound: it has not.
    """
    with log.cursor() as cur:
        cur.execute("select 1 from jobs_job where id = %s and project_id = %s", (job_id, project_id), prepare=True)
        if cur.fetchone() is None:
            raise JobNotFound(job_id=job_id)


def awaited(jobs: Sequence[tuple[UUID, UUID, bool]], *, on: psycopg.Connection[Any]) -> dict[UUID, JobRow]:
    """Of these jobs (id, project, last look) those that are settled, and those that get their last look, by id."""
    params = {
        "id": [job[0] for job in jobs],
        "project_id": [job[1] for job in jobs],
        "last_look": [job[2] for job in jobs],
        "settled": sorted(SETTLED),
    }
    with psycopg.Cursor(on) as cur:
        return {row[0]: JobRow(*row) for row in cur.execute(_AWAITED, params, prepare=False).fetchall()}


@dataclass(frozen=True, slots=True)
class WatchedRow:
    """What changes of a job while somebody watches it. `position` and `seq`: of its last event. Two JSON texts last."""

    id: UUID
    kind: str
    status: str
    position: int
    seq: int
    attempt: int
    progress: str | None
    error: str | None


_WATCHED = """
select j.id, j.kind, j.status, j.position, j.seq, j.attempt, j.progress::text, j.error::text
from unnest(%(id)b::uuid[], %(project_id)b::uuid[]) as x (job_id, job_project_id)
join jobs_job j on j.id = x.job_id and j.project_id = x.job_project_id
"""


def watched(jobs: Iterable[tuple[UUID, UUID]]) -> dict[UUID, WatchedRow]:
    """How these jobs (id, project) stand, by id."""
    pairs = list(jobs)
    params = {"id": [pair[0] for pair in pairs], "project_id": [pair[1] for pair in pairs]}
    with log.cursor() as cur:
        return {row[0]: WatchedRow(*row) for row in cur.execute(_WATCHED, params, prepare=True).fetchall()}


def jobs(project_id: UUID, wanted: JobFilter, *, edge: UUID | None, descending: bool, limit: int) -> Scan:
    """Jobs of a project by id, which is the order of their creation, beyond `edge`, at most `limit`.

    A page may hold fewer and still not be the last: see `Scan.stopped_at`.
    """
    params: dict[str, Any] = {"project_id": project_id}
    words: dict[str, Any] = {
        "within": _within(wanted, edge, params, descending=descending),
        "direction": "desc" if descending else "asc",
        "scan": SCAN_RARE_ROWS if wanted.status in RARE else SCAN_ROWS,
    }
    filters = _filters(wanted, params)
    with log.cursor() as cur:
        cur.execute(_LIST.format(**words, filters=filters or "true", limit=int(limit)), params, prepare=False)
        found = cur.fetchall()
        rows = [JobRow(*row[:-1]) for row in found]
        if found and len(found) < found[0][-1]:
            return Scan(rows, rows[-1].id)
        if len(rows) == limit or (not filters and len(rows) < words["scan"]):
            return Scan(rows)
        last = cur.execute(_LAST_SCANNED.format(**words), params, prepare=False).fetchone()
    if last is None:
        return Scan(rows)
    # Jobs that came between the two statements moved the end of the second: what was shown must not be shown again.
    stopped_at: UUID = last[0]
    if rows:
        stopped_at = min(stopped_at, rows[-1].id) if descending else max(stopped_at, rows[-1].id)
    return Scan(rows, stopped_at)


def ids(
    project_id: UUID, wanted: JobFilter, *, after: UUID | None, until: UUID, limit: int
) -> tuple[list[UUID], UUID | None]:
    """Ids of jobs in the order of their creation, beyond `after`, not beyond `until`, at most `limit`.

    Also returns where the bounded scan ended (None: there is nothing more).
    """
    params: dict[str, Any] = {"project_id": project_id, "until": until}
    within = _within(wanted, after, params, descending=False) + " and j.id <= %(until)s"
    filters = _filters(wanted, params) or "true"
    scan = SCAN_RARE_ROWS if wanted.status in RARE else SCAN_ROWS
    statement = f"select j.id, {filters} from jobs_job j where {within} order by j.id limit {scan}"  # noqa: S608 - constants
    found: list[UUID] = []
    last: UUID | None = None
    number = 0
    with log.cursor() as cur:
        for last, fits in cur.execute(statement, params, prepare=False).fetchall():
            number += 1
            if fits:
                found.append(last)
            if len(found) == limit:
                return found, last
    return found, last if number == scan else None


def _within(wanted: JobFilter, edge: UUID | None, params: dict[str, Any], *, descending: bool) -> str:
    """Conditions that the index of the scan answers: `jobs_job_rare` for a rare status, else `jobs_job_listed`."""
    conditions = ["j.project_id = %(project_id)s"]
    if wanted.status in RARE:
        # Written out, as the index is partial. It is a name of our own enumeration.
        conditions.append(f"j.status = '{wanted.status.value}'")
    if wanted.batch_id is not None:
        conditions.append("j.batch_id = %(batch_id)s")
        params["batch_id"] = wanted.batch_id
    if wanted.ids:
        conditions.append("j.id = any(%(ids)s)")
        params["ids"] = list(wanted.ids)
    if edge is not None:
        conditions.append(f"j.id {'<' if descending else '>'} %(edge)s")
        params["edge"] = edge
    # An id tells when it was made, unless somebody has moved the clock that `created_at` is taken from.
    if not settings.VIRTUAL_CLOCK:
        if wanted.created_after is not None:
            conditions.append("j.id >= %(first)s")
            params["first"] = _id_of(wanted.created_after, -CLOCKS_APART)
        if wanted.created_before is not None:
            conditions.append("j.id < %(last)s")
            params["last"] = _id_of(wanted.created_before, CLOCKS_APART)
    return " and ".join(conditions)


def _id_of(moment: dt.datetime, shift: dt.timedelta) -> UUID:
    """The smallest UUIDv7 of a moment."""
    since_epoch = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + shift
    milliseconds = min(max(0, int(since_epoch / dt.timedelta(milliseconds=1))), 2**48 - 1)
    return UUID(int=milliseconds << 80)


def _filters(wanted: JobFilter, params: dict[str, Any]) -> str:
    """Conditions that every scanned row is held against; none of the texts comes from a request."""
    conditions = []
    for column, value in (("kind", wanted.kind), ("stage", wanted.stage), ("lane", wanted.lane)):
        if value is not None:
            conditions.append(f"j.{column} = %({column})s")
            params[column] = value
    if wanted.status is not None and wanted.status not in RARE:
        conditions.append("j.status = %(status)s")
        params["status"] = wanted.status.value
    if wanted.error_code is not None:
        conditions.append("j.error ->> 'code' = %(error_code)s")
        params["error_code"] = wanted.error_code
    if wanted.created_after is not None:
        conditions.append("j.created_at >= %(created_after)s")
        params["created_after"] = wanted.created_after
    if wanted.created_before is not None:
        conditions.append("j.created_at < %(created_before)s")
        params["created_before"] = wanted.created_before
    for number, (key, text) in enumerate(wanted.metadata.items()):
        conditions.append(f"j.metadata ->> %(key_{number})s = %(text_{number})s")
        params |= {f"key_{number}": key, f"text_{number}": text}
    return " and ".join(conditions)


# ---------------------------------------------------------------------------------------------- attempts


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """A finished attempt. `error`, `log` and `metrics` are JSON texts."""

    number: int
    attempt: int
    stage: str
    outcome: str
    started_at: dt.datetime
    ended_at: dt.datetime
    worker: str | None
    error: str | None
    log: str | None
    metrics: str | None


_ATTEMPTS = walk(
    head="claim_no, attempt, stage, outcome, started_at, ended_at, name",
    page="""
    select a.claim_no, a.attempt, a.stage, a.outcome, a.started_at, a.ended_at, w.name
    from jobs_attempt a
    left join jobs_worker w on w.id = a.worker_id
    where a.job_id = %(job_id)s and a.project_id = %(project_id)s
      and (%(after)s::int is null or case when %(forward)s then a.claim_no > %(after)s else a.claim_no < %(after)s end)
    order by case when %(forward)s then a.claim_no else -a.claim_no end
    limit %(limit)s""",
    bodies=("error", "log", "metrics"),
    row="from jobs_attempt r where r.job_id = %(job_id)s and r.claim_no = page.claim_no",
)


@dataclass(frozen=True, slots=True)
class Attempts:
    """A page of attempts. `stopped_at`: its bytes were enough behind this one; there may be more."""

    rows: list[AttemptRow]
    stopped_at: int | None


def attempts(project_id: UUID, job_id: UUID, *, after: int | None, forward: bool = True, limit: int) -> Attempts:
    """Finished attempts at a job in the order of their claims, behind `after`."""
    params = {"project_id": project_id, "job_id": job_id, "after": after, "forward": forward, "limit": limit}
    with log.cursor() as cur:
        found = cur.execute(_ATTEMPTS, params, prepare=False).fetchall()
    rows = [AttemptRow(*row[:-1]) for row in found]
    return Attempts(rows, None if not found or len(found) == found[0][-1] else rows[-1].number)


# ---------------------------------------------------------------------------------------------- lanes

SCAN_LANES = 2000
"""So many lanes one page looks at, whatever it finds among them."""


@dataclass(frozen=True, slots=True)
class LaneRow:
    """A lane: its first job, and who waits behind it. `error` is a JSON text."""

    lane: str
    id: UUID
    kind: str
    status: str
    attempt: int
    due_at: dt.datetime
    error: str | None
    intervention: UUID | None
    blocked_since: dt.datetime | None
    waiting: int
    waiting_since: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Lanes:
    """A page of lanes, and where its bounded scan gave up."""

    rows: list[LaneRow]
    stopped_at: str | None


_LIVE = "('queued', 'processing', 'parked', 'pending_approval', 'confirming', 'blocked')"
_LANES = f"""
with scanned as materialized (
    select l.lane
    from jobs_lane l
    where l.project_id = %(project_id)s
      and (%(lane)s::text is null or l.lane = %(lane)s)
      and (%(after)s::text is null or l.lane {{beyond}} %(after)s)
    order by l.lane {{direction}}
    limit {SCAN_LANES}
),
head as materialized (
    select scanned.lane, j.*
    from scanned
    cross join lateral (
        select j.id, j.kind, j.status, j.attempt, j.due_at, j.error::text as error, j.lane_no
        from jobs_job j
        where j.project_id = %(project_id)s and j.lane = scanned.lane and j.status in {_LIVE}
        order by j.lane_no
        limit 1
    ) j
    where %(status)s::text is null or j.status = %(status)s
    order by scanned.lane {{direction}}
    limit %(limit)s
),
edge as (
    select count(*) as number, {{last}}(lane) as lane from scanned
)
select edge.number, edge.lane, head.lane, head.id, head.kind, head.status, head.attempt, head.due_at, head.error, i.id,
       i.opened_at, waiting.number, waiting.since
from edge
left join head on true
left join lateral (
    select i.id, i.opened_at
    from jobs_intervention i
    where i.subject_type = 'job' and i.subject_id = head.id::text and i.resolved_at is null
) i on head.status = 'blocked'
left join lateral (
    select count(*) as number, min(w.created_at) as since
    from (
        select j.created_at
        from jobs_job j
        where j.project_id = %(project_id)s and j.lane = head.lane and j.lane_no > head.lane_no and j.status in {_LIVE}
        order by j.lane_no
        limit {LONGEST_QUEUE}
    ) w
) waiting on true
order by head.lane {{direction}}
"""  # noqa: S608 - constants of this module


def lanes(
    project_id: UUID, *, lane: str | None, status: Status | None, after: str | None, forward: bool, limit: int
) -> Lanes:
    """Lanes of a project in which jobs have not ended, by name, behind `after`. See `Lanes.stopped_at`."""
    words = {"direction": "asc", "beyond": ">", "last": "max"}
    if not forward:
        words = {"direction": "desc", "beyond": "<", "last": "min"}
    params = {"project_id": project_id, "lane": lane, "status": status, "after": after, "limit": limit}
    with log.cursor() as cur:
        found = cur.execute(_LANES.format(**words), params, prepare=False).fetchall()
    rows = [LaneRow(*row[2:]) for row in found if row[2] is not None]
    scanned, last = found[0][:2]
    return Lanes(rows, last if scanned == SCAN_LANES and len(rows) < limit else None)


# ---------------------------------------------------------------------------------------------- pauses, limits


def pauses(project_id: UUID) -> QuerySet[Pause]:
    """The pauses of a project whose time is not over."""
    return Pause.objects.filter(project_id=project_id).extra(where=["until is null or until > (select platform_now())"])


def limits(project_id: UUID, name: str | None) -> QuerySet[LimitKey]:
    """The keys of limits of a project."""
    rows = LimitKey.objects.filter(project_id=project_id)
    return rows if name is None else rows.filter(name=name)


def bulk_acts(project_id: UUID) -> QuerySet[BulkAct]:
    """Acts on many jobs of a project."""
    return BulkAct.objects.filter(project_id=project_id)


def batches(project_id: UUID) -> QuerySet[JobBatch]:
    """Batches of a project, without what follows: its payload may be large."""
    return JobBatch.objects.filter(project_id=project_id).defer("follow")


def pause(project_id: UUID, pause_id: UUID) -> Pause:
    """One pause of a project. Raises `PauseNotFound`."""
    found = Pause.objects.filter(project_id=project_id, id=pause_id).first()
    if found is None:
        raise PauseNotFound(pause_id=pause_id)
    return found
