"""The list of jobs over millions of rows: which rows a page may look at.

Each choice of filters starts from an index: the rare statuses from their partial index, `processing` from the jobs
that workers own, `queued` from the shelves, all else from the newest rows of each project.
"""

import datetime as dt
import math
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import orjson
from django.db import connection
from django.db.models import BooleanField, F, Func, Q, QuerySet, TextField, Value
from django.db.models.functions import Cast
from django.http import HttpRequest

from jobplatform.backoffice.bounded import MOST_ROWS, WINDOW, BoundedChangeList
from jobplatform.backoffice.filters import uuid_of
from jobs import overview, registry
from jobs.models import RARE, Job, Shelf
from jobs.states import Status

MOST_COUNTED = 10_000

_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)

# The key of a job is (project_id, id), so what asks for no project asks each. Shelves know which have jobs.
_PROJECTS = "select distinct project_id from jobs_shelf"

_EDGE = """
select found.id
from unnest(%s::uuid[]) as wanted (project_id)
cross join lateral (
    select id from jobs_job
    where project_id = wanted.project_id and {rare} and id >= %s and id < %s
    order by id desc offset %s limit 1
) found
order by found.id desc limit 1
"""

_READY = """
(select shelf.project_id, found.id
 from jobs_shelf shelf
 cross join lateral (
     select id from jobs_job where shelf_id = shelf.id and status = 'queued' and gate = 0
     order by shelf_id, due_at, id limit %s
 ) found
 where shelf.project_id = any(%s::uuid[]) and (%s::text[] is null or shelf.kind = any(%s::text[]))
 limit %s)
union
(select wanted.project_id, found.id
 from unnest(%s::uuid[]) as wanted (project_id)
 cross join lateral (
     select id from jobs_job where project_id = wanted.project_id and id >= %s and status = 'queued'
     order by id desc limit %s
 ) found
 limit %s)
"""

_LATE = """
select shelf.project_id, found.id
from jobs_shelf shelf
left join unnest(%s::text[], %s::float8[]) as expected (kind, seconds) on expected.kind = shelf.kind
cross join lateral (
    select id from jobs_job where shelf_id = shelf.id and status = 'queued' and gate = 0
      and due_at < (select platform_now()) - coalesce(expected.seconds, %s) * interval '1 second'
    order by shelf_id, due_at, id limit %s
) found
where shelf.project_id = any(%s::uuid[]) and (%s::text[] is null or shelf.kind = any(%s::text[]))
limit %s
"""

# Ordered by the column of the partial index, so that no plan walks the table for the few rows that workers own.
_OWNED = """
select project_id, id from jobs_job
where status = 'processing' and claimed_by is not null order by claimed_by limit %s
"""


def moment_id(at: dt.datetime) -> UUID:
    """The lowest id of a job made at this moment: ids are UUIDv7, which begin with the time in milliseconds."""
    return UUID(int=max(0, int(at.timestamp() * 1000)) << 80)


_NEITHER = object()


def _number_or_word(text: str) -> Any:
    """A JSON number, true, false or null. What stands in quotes or brackets is looked for as the text that it is."""
    try:
        found = orjson.loads(text)
    except ValueError:
        return _NEITHER
    if isinstance(found, float) and not math.isfinite(found):
        return _NEITHER
    return found if found is None or isinstance(found, bool | int | float) else _NEITHER


def search(rows: QuerySet[Job], term: str) -> QuerySet[Job]:
    """Jobs of a lane, an error code or a value of the metadata; `name=value` asks for one name of the metadata."""
    term = term.strip()
    if not term:
        return rows
    name, equals, value = term.partition("=")
    if equals and name:
        wanted = Q(metadata__contains={name: value})
        if (found := _number_or_word(value)) is not _NEITHER:
            wanted |= Q(metadata__contains={name: found})
        return rows.filter(wanted)
    term_as_text = Cast(Value(term), TextField())
    among_values = Func(
        F("metadata"),
        Value("$.* ? (@ == $term)"),
        Func(Value("term"), term_as_text, function="jsonb_build_object"),
        function="jsonb_path_exists",
        output_field=BooleanField(),
    )
    return rows.filter(Q(lane=term) | Q(error__code=term) | Q(among_values))


def projects() -> list[UUID]:
    """The projects that have, or had, jobs."""
    with connection.cursor() as cursor:
        cursor.execute(_PROJECTS)
        return [row[0] for row in cursor.fetchall()]


def find(job_id: UUID) -> Job | None:
    """A job by its id alone."""
    return Job.objects.filter(project_id__in=projects(), id=job_id).first()


def edge(within: list[UUID], depth: int, *, low: UUID = _FIRST, high: UUID = _LAST, rare: str = "") -> UUID | None:
    """The id from which on every project shows at most its newest `depth` jobs; None when none has so many."""
    # The status is written out, as the index is partial. It is a name of our own enumeration.
    condition = f"status = '{Status(rare).value}'" if rare else "true"
    with connection.cursor() as cursor:
        cursor.execute(_EDGE.format(rare=condition), (within, low, high, depth - 1))
        row = cursor.fetchone()
    return row[0] if row else None


class JobChangeList(BoundedChangeList):
    """The list of jobs, within bounds whatever is filtered."""

    def bound(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Cut the rows to those that an index yields for what was chosen."""
        rows = rows.defer("payload", "output", "steps")
        sought = uuid_of(self.query)
        if sought is not None and (job := find(sought)):
            return Job.objects.defer("payload", "output", "steps").filter(project_id=job.project_id, id=job.id)
        chosen = {spec.parameter_name: spec.value() for spec in self.filter_specs}
        project = uuid_of(chosen["project"] or "")
        within = [project] if project else projects()
        status, kinds = chosen["status"], self._kinds(chosen)
        if chosen["late"] == "yes":
            return self._late(rows, within, kinds)
        if status == Status.PROCESSING:
            return self._among(rows, _OWNED, (MOST_COUNTED,))
        if status == Status.QUEUED:
            return self._queued(rows, within, kinds)
        rare = status if status in RARE else ""
        narrowed = bool(self.query or kinds is not None or chosen["stage"] or (status and not rare))
        depth = max(MOST_ROWS + 1, WINDOW // max(1, len(within))) if narrowed else MOST_ROWS + 1
        low, high = self._ids(chosen)
        end = edge(within, depth, low=low, high=high, rare=rare)
        self.end_of_window = (end,) if end else None
        return rows.filter(project_id__in=within, id__gte=end or low, id__lt=high)

    def _kinds(self, chosen: Mapping[str, Any]) -> list[str] | None:
        """The kinds that the filters leave, as far as they name them; None: any."""
        if chosen["kind"]:
            return [chosen["kind"]]
        if not chosen["queue"]:
            return None
        if chosen["queue"] != overview.UNKNOWN_QUEUE:
            return overview.kinds_of(chosen["queue"])
        known = {kind.name for kind in registry.kinds()}
        return sorted(set(Shelf.objects.values_list("kind", flat=True).distinct()) - known)

    def _queued(self, rows: QuerySet[Any], within: list[UUID], kinds: list[str] | None) -> QuerySet[Any]:
        """Those due first of each shelf, and those among the newest."""
        most = MOST_ROWS + 1
        end = edge(within, max(most, WINDOW // max(1, len(within)))) or _FIRST
        return self._among(rows, _READY, (most, within, kinds, kinds, most, within, end, most, most))

    def _late(self, rows: QuerySet[Any], within: list[UUID], kinds: list[str] | None) -> QuerySet[Any]:
        """Those of each shelf that are due for too long."""
        most = MOST_ROWS + 1
        expected = overview.lateness()
        return self._among(rows, _LATE, (*expected, overview.LATE_SECONDS, most, within, kinds, kinds, most))

    def _among(self, rows: QuerySet[Any], candidates: str, params: tuple[Any, ...]) -> QuerySet[Any]:
        self.leafable = False
        return rows.extra(where=[f'("jobs_job"."project_id", "jobs_job"."id") in ({candidates})'], params=params)  # noqa: S610 - our own text; values are bound

    def _ids(self, chosen: Mapping[str, Any]) -> tuple[UUID, UUID]:
        """From the first id of the window up to, and without, the last."""
        since, until = chosen["created"]
        before = self.before
        high = min(moment_id(until) if until else _LAST, before[0] if before else _LAST)
        return moment_id(since) if since else _FIRST, high


# ------------------------------------------------------------------------------------------------ counts
_COUNTS = """
select status, least(sum(rows), %(most)s)::int, sum(rows) > %(most)s
from (
    select wanted.status, count(*) as rows
    from (select distinct project_id from jobs_shelf) shelf
    cross join unnest(%(rare)s::text[]) as wanted (status)
    cross join lateral (
        select 1 from jobs_job
        where project_id = shelf.project_id and status = wanted.status and status = any({rare})
        order by id desc limit %(most)s + 1
    ) found
    group by wanted.status
    union all
    select 'queued', count(*)
    from jobs_shelf shelf
    cross join lateral (
        select 1 from jobs_job where shelf_id = shelf.id and status = 'queued' and gate = 0
        order by shelf_id, due_at, id limit %(most)s + 1
    ) found
    union all
    select 'processing', count(*) from (
        select 1 from jobs_job where status = 'processing' and claimed_by is not null
        order by claimed_by limit %(most)s + 1
    ) found
) counted
group by status
""".format(rare="array[" + ", ".join(f"'{status.value}'" for status in RARE) + "]")  # noqa: S608 - our own enumeration


def counts() -> dict[str, tuple[int, bool]]:
    """How many jobs stand in each status that is not an end in good order: (number, whether there are more)."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"most": MOST_COUNTED, "rare": [status.value for status in RARE]})
        return {status: (number, more) for status, number, more in cursor.fetchall()}


def newest(statuses: tuple[Status, ...], limit: int) -> list[Job]:
    """The newest jobs that stand in one of some rare statuses."""
    within = projects()
    found: list[Job] = []
    for status in statuses:
        rows = Job.objects.defer("payload", "output", "steps").filter(project_id__in=within, status=status)
        end = edge(within, limit, rare=status)
        found += (rows.filter(id__gte=end) if end else rows).order_by("-id")[:limit]
    return sorted(found, key=lambda job: job.id, reverse=True)[:limit]
