"""Reading dead letters by cause, and redrives. What belongs to a project is asked for with that project's id."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import orjson
from django.db.models import Count, QuerySet

from events import log
from jobs import extensions
from reconciliation.errors import AlarmNotFound, CauseNotFound, PlanNotFound
from reconciliation.models import Alarm, Finding, Redrive, RedriveRow
from reconciliation.states import ENDED, AlarmState, PlanStatus, Severity

COUNTED = 50_000
"""A dry run counts up to so many dead letters."""
SAMPLES = 5
HOURS = 24
KINDS = 8
"""The place of `CauseRow.kinds`, which comes as JSON."""


# ---------------------------------------------------------------------------------------------- causes


@dataclass(frozen=True, slots=True)
class CauseRow:
    """Dead letters that died of the same. `kinds`: how many of each; `hours`: how often, the last hour last."""

    fingerprint: str
    code: str
    message: str
    sample_id: UUID
    first_at: dt.datetime
    last_at: dt.datetime
    dead: int
    total: int
    kinds: Mapping[str, int]
    projects: Sequence[UUID]
    hours: Sequence[int]


_CAUSES = f"""
with known as materialized (
    select * from reconciliation_cause
    where dead > 0 and {{whose}} and (%(fingerprint)s::text is null or fingerprint = %(fingerprint)s)
),
cause as materialized (
    select fingerprint, max(last_at) as last_at, min(first_at) as first_at, sum(dead)::bigint as dead,
           sum(total)::bigint as total
    from known
    group by fingerprint
),
page as materialized (
    select * from cause c
    where %(at)s::timestamptz is null or (c.last_at, c.fingerprint) {{beyond}} (%(at)s, %(after)s)
    order by c.last_at {{direction}}, c.fingerprint {{direction}}
    limit %(limit)s
)
select p.fingerprint, s.code, s.message, s.sample_id, p.first_at, p.last_at, p.dead, p.total, k.kinds::text, k.projects,
       array(
           select coalesce((
               select sum(h.number)::bigint from reconciliation_causehour h
               where h.fingerprint = p.fingerprint and h.project_id = any(k.projects)
                 and k.kinds ? h.kind and h.at = hour), 0)
           from generate_series(date_trunc('hour', (select platform_now()), 'UTC') - interval '{HOURS - 1} hours',
                                date_trunc('hour', (select platform_now()), 'UTC'), interval '1 hour') hour
           order by hour)
from page p
cross join lateral (
    select jsonb_object_agg(kind, dead) as kinds, (select array_agg(distinct project_id) from known o
        where o.fingerprint = p.fingerprint) as projects
    from (
        select kind, sum(dead)::bigint as dead from known o where o.fingerprint = p.fingerprint group by kind
    ) by_kind
) k
cross join lateral (
    select o.code, o.message, o.sample_id
    from known o where o.fingerprint = p.fingerprint order by o.last_at desc limit 1
) s
order by p.last_at {{direction}}, p.fingerprint {{direction}}
"""  # noqa: S608 - constants of this module


def causes(
    project_id: UUID | None,
    *,
    fingerprint: str | None = None,
    after: tuple[dt.datetime, str] | None = None,
    descending: bool = True,
    limit: int,
) -> list[CauseRow]:
    """Why jobs of a project (None: of all) stand dead, the latest first, behind a place in that order."""
    words = {
        "whose": "true" if project_id is None else "project_id = %(project)s",
        "beyond": "<" if descending else ">",
        "direction": "desc" if descending else "asc",
    }
    at, last = after or (None, None)
    params = {"project": project_id, "fingerprint": fingerprint, "at": at, "after": last, "limit": limit}
    with log.cursor() as cur:
        found = cur.execute(_CAUSES.format(**words), params, prepare=False).fetchall()
    return [CauseRow(*(orjson.loads(value) if at == KINDS else value for at, value in enumerate(row))) for row in found]


def cause(project_id: UUID | None, fingerprint: str) -> CauseRow:
    """One cause. Raises `CauseNotFound`: nothing that died of it stands dead."""
    found = causes(project_id, fingerprint=fingerprint, limit=1)
    if not found:
        raise CauseNotFound(fingerprint=fingerprint)
    return found[0]


_STANDING = """
select count(*), coalesce(sum(dead), 0)::bigint, min(first_at) from reconciliation_cause where dead > 0
"""


def standing() -> tuple[int, int]:
    """How many causes there are, and how many jobs stand dead of them, in all projects."""
    with log.cursor() as cur:
        row = cur.execute(_STANDING, prepare=False).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


def findings() -> dict[str, Finding]:
    """What each invariant found when it was looked for last; nothing yet, where that was never."""
    known = {row.name: row for row in Finding.objects.all()}
    return {name: known.get(name, Finding(name=name, number=0)) for name, _ in extensions.invariants}


def open_redrives() -> dict[str, int]:
    """How many redrives have not ended, by how they stand."""
    found = Redrive.objects.exclude(status__in=ENDED).values_list("status").annotate(number=Count("id"))
    return {status.value: dict(found).get(status.value, 0) for status in PlanStatus if status not in ENDED}


# ---------------------------------------------------------------------------------------------- what a filter names


@dataclass(frozen=True, slots=True)
class Wanted:
    """The conditions of a filter on dead letters `k` and their jobs `j`, with what they are filled with."""

    letters: str
    jobs: str
    params: Mapping[str, Any]


def wanted(project_id: UUID | None, filter_: Mapping[str, Any]) -> Wanted:
    """A stored filter as conditions. None of the texts comes from a request."""
    letters, jobs, params = ["k.dead"], ["j.status in ('failed', 'rejected')"], dict[str, Any]()
    if project_id is not None:
        letters.append("k.project_id = %(project)s")
        params["project"] = project_id
    if codes := filter_.get("errors_allowed_to_retry"):
        letters.append("(k.code = any(%(codes)s::text[]) or k.fingerprint = any(%(codes)s::text[]))")
        params["codes"] = list(codes)
    for name in ("kind", "stage", "status"):
        if (value := filter_.get(name)) is not None:
            letters.append(f"k.{name} = %({name})s")
            params[name] = value
    for name, compare in (("died_after", ">="), ("died_before", "<")):
        if (value := filter_.get(name)) is not None:
            letters.append(f"k.died_at {compare} %({name})s::timestamptz")
            params[name] = value
    if (most := filter_.get("most_deaths")) is not None:
        letters.append("k.deaths <= %(most_deaths)s")
        params["most_deaths"] = most
    if ids := filter_.get("ids"):
        letters.append("k.job_id = any(%(ids)s::uuid[])")
        params["ids"] = list(ids)
    for number, (key, text) in enumerate((filter_.get("metadata") or {}).items()):
        jobs.append(f"j.metadata ->> %(key_{number})s = %(text_{number})s")
        params |= {f"key_{number}": key, f"text_{number}": text}
    return Wanted(" and ".join(letters), " and ".join(jobs), params)


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a redrive would be for; at least so many, if `more`."""

    matched: int
    more: bool
    causes: Sequence[Mapping[str, Any]]
    samples: Sequence[UUID]


_FORESEE = f"""
with looked as materialized (
    select k.job_id, k.project_id, k.code, k.fingerprint, k.kind
    from reconciliation_deadletter k where {{letters}} limit {COUNTED}
),
found as materialized (
    select l.* from looked l
    join jobs_job j on j.project_id = l.project_id and j.id = l.job_id
    where {{jobs}}
)
select (select count(*) from found), (select count(*) from looked) >= {COUNTED},
       coalesce((select jsonb_agg(to_jsonb(g) order by g.number desc) from (
           select code, fingerprint, kind, count(*) as number from found group by 1, 2, 3 order by 4 desc limit 50
       ) g), '[]')::text,
       array(select job_id from found order by job_id limit {SAMPLES})
"""  # noqa: S608 - constants of this module


def foresee(project_id: UUID | None, filter_: Mapping[str, Any]) -> Foreseen:
    """What a redrive with this filter would be for now. Nothing is changed."""
    asked = wanted(project_id, filter_)
    statement = _FORESEE.format(letters=asked.letters, jobs=asked.jobs)
    with log.cursor() as cur:
        row = cur.execute(statement, asked.params, prepare=False).fetchone()
    assert row is not None  # noqa: S101 - it always returns one row
    matched, more, found, samples = row
    return Foreseen(matched, more, orjson.loads(found), samples)


# ---------------------------------------------------------------------------------------------- redrives


def redrives(project_id: UUID) -> QuerySet[Redrive]:
    """Redrives of a project."""
    return Redrive.objects.filter(project_id=project_id)


def redrive(project_id: UUID, redrive_id: UUID) -> Redrive:
    """One redrive of a project. Raises `PlanNotFound`."""
    found = Redrive.objects.filter(project_id=project_id, id=redrive_id).first()
    if found is None:
        raise PlanNotFound(redrive_id=redrive_id)
    return found


def rows(redrive_id: UUID, state: str | None) -> QuerySet[RedriveRow]:
    """What a redrive is for, and what came of each."""
    found = RedriveRow.objects.filter(redrive_id=redrive_id)
    return found if state is None else found.filter(state=state)


# ---------------------------------------------------------------------------------------------- alarms


def alarms(project_id: UUID | None) -> QuerySet[Alarm]:
    """Alarms about a project, or about the whole platform (None)."""
    return Alarm.objects.filter(project_id=project_id)


def alarm(project_id: UUID | None, alarm_id: UUID) -> Alarm:
    """One of them. Raises `AlarmNotFound`."""
    row = alarms(project_id).filter(id=alarm_id).first()
    if row is None:
        raise AlarmNotFound(alarm_id=alarm_id)
    return row


def firing(most: int) -> list[Alarm]:
    """What fires now, of all projects, the worst first."""
    return list(Alarm.objects.filter(state=AlarmState.FIRING).order_by("severity", "since", "id")[:most])


def firing_by_severity() -> dict[str, int]:
    """How many fire, by severity."""
    found = Alarm.objects.filter(state=AlarmState.FIRING).values_list("severity").annotate(number=Count("id"))
    return {severity.value: dict(found).get(severity.value, 0) for severity in Severity}
