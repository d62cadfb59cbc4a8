"""The list of jobs over millions of rows: which rows a page may look at.

Each choice of filters starts from an index: an id from the key, the rare statuses from their partial index per
project, `processing` from the jobs that workers own, `queued` from the shelves; all else from the newest rows.
"""

import datetime as dt
import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from django.db import connection
from django.db.models import BooleanField, F, Func, Q, QuerySet, TextField, Value
from django.db.models.expressions import RawSQL
from django.db.models.functions import Cast
from django.http import HttpRequest

from jobplatform.backoffice.bounded import BEFORE, MOST_ROWS, BoundedChangeList
from jobplatform.backoffice.filters import uuid_of
from jobs.models import RARE, Job
from jobs.states import Status

MOST_CANDIDATES = 20_000
"""Rows of an index that further filters may look through."""

MOST_COUNTED = 10_000

_FIRST, _LAST = UUID(int=0), UUID(int=2**128 - 1)

_RARE = """
select found.id
from (select distinct project_id from jobs_shelf where %s::uuid is null or project_id = %s) shelf
cross join lateral (
    select id from jobs_job
    where project_id = shelf.project_id and status = %s and id >= %s and id < %s
    order by id desc limit %s
) found
order by found.id desc limit %s
"""

_READY = """
select found.id
from jobs_shelf shelf
cross join lateral (
    select id from jobs_job where shelf_id = shelf.id and status = 'queued' and gate = 0
    order by shelf_id, due_at, id limit %s
) found
where (%s::uuid is null or shelf.project_id = %s) and (%s::text is null or shelf.kind = %s)
union
(select id from jobs_job where status = 'queued' and id > %s order by id desc limit %s)
"""

# Ordered by the column of the partial index, so that no plan walks the table for the few rows that workers own.
_OWNED = """
select id from jobs_job where status = 'processing' and claimed_by is not null order by claimed_by limit %s
"""


def moment_id(at: dt.datetime) -> UUID:
    """The lowest id of a job made at this moment: ids are UUIDv7, which begin with the time in milliseconds."""
    return UUID(int=max(0, int(at.timestamp() * 1000)) << 80)


def search(rows: QuerySet[Job], term: str) -> QuerySet[Job]:
    """Jobs of a lane, an error code or a value of the metadata; `name=value` asks for one name of the metadata."""
    term = term.strip()
    if not term:
        return rows
    name, equals, value = term.partition("=")
    if equals and name:
        wanted = Q(metadata__contains={name: value})
        try:
            return rows.filter(wanted | Q(metadata__contains={name: json.loads(value)}))
        except ValueError:
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


class JobChangeList(BoundedChangeList):
    """The list of jobs, within bounds whatever is filtered."""

    def bound(self, request: HttpRequest, rows: QuerySet[Any]) -> QuerySet[Any]:
        """Cut the rows to those that an index yields for what was chosen."""
        rows = rows.defer("payload", "output", "steps")
        job_id = uuid_of(self.query)
        if job_id is not None and Job.objects.filter(id=job_id).exists():
            return Job.objects.defer("payload", "output", "steps").filter(id=job_id)
        chosen = {spec.parameter_name: spec.value() for spec in self.filter_specs}
        project = uuid_of(chosen["project"] or "")
        low, high = self._created(chosen)
        status = chosen["status"]
        if status in RARE:
            narrowed = bool(self.query or chosen["kind"] or chosen["stage"])
            most = MOST_CANDIDATES if narrowed else MOST_ROWS + 1
            return rows.filter(id__in=RawSQL(_RARE, (project, project, status, low, high, most, most)))  # noqa: S611 - values are bound
        if status == Status.PROCESSING:
            return rows.filter(id__in=RawSQL(_OWNED, (MOST_CANDIDATES,)))  # noqa: S611 - no values
        every = Job.objects.filter(id__gte=low, id__lt=high).order_by("-id")
        if project is not None:
            every = every.filter(project_id=project)
        within = self.within_window(rows, every)
        if status == Status.QUEUED and BEFORE not in self.params:
            edge, self.end_of_window = self.end_of_window or _FIRST, None
            most, kind = MOST_ROWS + 1, chosen["kind"] or None
            return rows.filter(id__in=RawSQL(_READY, (most, project, project, kind, kind, edge, most)))  # noqa: S611 - values are bound
        return within

    def _created(self, chosen: Mapping[str, Any]) -> tuple[UUID, UUID]:
        since, until = chosen["created"]
        return moment_id(since) if since else _FIRST, moment_id(until) if until else _LAST


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
""".format(rare="array[" + ", ".join(f"'{status.value}'" for status in RARE) + "]")


def counts() -> dict[str, tuple[int, bool]]:
    """How many jobs stand in each status that is not an end in good order: (number, whether there are more)."""
    with connection.cursor() as cursor:
        cursor.execute(_COUNTS, {"most": MOST_COUNTED, "rare": [status.value for status in RARE]})
        return {status: (number, more) for status, number, more in cursor.fetchall()}


def newest(statuses: tuple[Status, ...], limit: int) -> list[Job]:
    """The newest jobs that stand in one of some rare statuses."""
    found: list[Job] = []
    for status in statuses:
        ids = RawSQL(_RARE, (None, None, status.value, _FIRST, _LAST, limit, limit))  # noqa: S611 - values are bound
        found += Job.objects.defer("payload", "output", "steps").filter(id__in=ids).order_by("-id")
    return sorted(found, key=lambda job: job.id, reverse=True)[:limit]
