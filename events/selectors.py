"""Reading the log for people and programs: what happened to one subject, and what happened in a project."""

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection

from jobplatform.api.walks import walk

SCAN_ROWS = 10_000
"""So many rows of the log one page looks at, whatever it finds among them."""

Place = tuple[int, int]
"""Where a row stands in the log: position, id."""

_HEAD = "position, id, occurred_at, project_id, type, subject_id, seq"


def _shown(page: str) -> str:
    row = "from events_event r where r.position = page.position and r.id = page.id and r.occurred_at = page.occurred_at"
    return walk(head=_HEAD, page=page, bodies=("data",), row=row)


_OF_SUBJECT = _shown(f"""
    select {_HEAD}
    from events_event e
    where e.subject_id = %(subject_id)s
      and e.project_id = %(project_id)s
      and (%(after)s::int is null or case when %(forward)s then e.seq > %(after)s else e.seq < %(after)s end)
    order by case when %(forward)s then e.seq else -e.seq end
    limit %(limit)s""")  # noqa: S608 - constants of this module

# The rows of one subject are few, so they are all read by their index before anything is put in order.
_ABOUT = f"""
    select {_HEAD}
    from (select {_HEAD} from events_event e where e.subject_id = %(subject_id)s offset 0) e
    where e.project_id = %(project_id)s
      and (%(type)s::text is null or e.type = %(type)s)
      and {{within}}
    order by e.position {{direction}}, e.id {{direction}}
    limit %(limit)s"""  # noqa: S608 - constants of this module

_SCAN = f"""
    select {_HEAD}
    from (
        select * from events_event e where {{within}}
        order by e.position {{direction}}, e.id {{direction}} limit {SCAN_ROWS}
    ) e
    where e.project_id = %(project_id)s
      and (%(type)s::text is null or e.type = %(type)s)
    order by e.position {{direction}}, e.id {{direction}}
    limit %(limit)s"""  # noqa: S608 - constants of this module

_LAST_SCANNED = f"""
select e.position, e.id
from events_event e
where {{within}}
order by e.position {{direction}}, e.id {{direction}}
offset {SCAN_ROWS - 1} limit 1
"""  # noqa: S608 - constants of this module


@dataclass(frozen=True, slots=True)
class EventRow:
    """One row of the log. `data` is JSON text."""

    position: int
    id: int
    occurred_at: dt.datetime
    project_id: UUID
    type: str
    subject_id: UUID
    seq: int
    data: str

    @property
    def place(self) -> Place:
        """Where it stands in the log."""
        return self.position, self.id


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events of a project. `settled`: only those before which nothing can appear any more."""

    type: str | None = None
    subject_id: UUID | None = None
    occurred_after: dt.datetime | None = None
    occurred_before: dt.datetime | None = None
    settled: bool = False


@dataclass(frozen=True, slots=True)
class Scan:
    """What a bounded scan found, and where it gave up (None: it saw everything there is)."""

    rows: list[EventRow] = field(default_factory=list)
    stopped_at: Place | None = None


def of_subject(project_id: UUID, subject_id: UUID, *, after: int | None, forward: bool = True, limit: int) -> Scan:
    """Events of one subject by `seq`, behind `after`, rising (`forward`) or falling."""
    params = {"project_id": project_id, "subject_id": subject_id, "after": after, "forward": forward, "limit": limit}
    rows, whole = _walk(_OF_SUBJECT, params)
    return Scan(rows, None if whole else rows[-1].place)


def events(project_id: UUID, wanted: EventFilter, *, edge: Place | None, descending: bool, limit: int) -> Scan:
    """Events of a project in the order of the log, beyond `edge`, at most `limit`.

    Without a subject the log is scanned for them, `SCAN_ROWS` rows at a time.
    """
    within, params = _within(wanted, edge, descending=descending)
    words = {"within": within, "direction": "desc" if descending else "asc"}
    params |= {"project_id": project_id, "type": wanted.type, "subject_id": wanted.subject_id, "limit": limit}
    page = _SCAN if wanted.subject_id is None else _ABOUT
    rows, whole = _walk(_shown(page.format(**words)), params)
    if not whole:
        return Scan(rows, rows[-1].place)
    if wanted.subject_id is not None or len(rows) == limit:
        return Scan(rows)
    last = _fetch(_LAST_SCANNED.format(**words), params)
    if not last:
        return Scan(rows)
    # Rows that arrived between the two statements have moved the end of the second: what was shown is not shown again.
    stopped_at: Place = last[0]
    if rows:
        stopped_at = min(stopped_at, rows[-1].place) if descending else max(stopped_at, rows[-1].place)
    return Scan(rows, stopped_at)


def holds(place: Place) -> bool:
    """Whether the log still has the row that stands there. Its start, (0, 0), always is there."""
    sql = "select 1 from events_event where position = %(position)s and id = %(id)s limit 1"
    return place == (0, 0) or bool(_fetch(sql, {"position": place[0], "id": place[1]}))


def last_seq(project_id: UUID, subject_id: UUID, *, up_to: Place) -> int:
    """The `seq` of the last event of a subject that stands in the log up to there; 0 when there is none."""
    beyond = (up_to[0], up_to[1] + 1)
    found = events(project_id, EventFilter(subject_id=subject_id), edge=beyond, descending=True, limit=1)
    return found.rows[0].seq if found.rows else 0


def _walk(sql: str, params: dict[str, Any]) -> tuple[list[EventRow], bool]:
    """The rows of a page, and whether these are all: it ends early when it has enough bytes."""
    found = _fetch(sql, params)
    return [EventRow(*row[:-1]) for row in found], not found or len(found) == found[0][-1]


def _within(wanted: EventFilter, edge: Place | None, *, descending: bool) -> tuple[str, dict[str, Any]]:
    conditions = ["true"]
    params: dict[str, Any] = {}
    if edge is not None:
        conditions.append(f"(e.position, e.id) {'<' if descending else '>'} (%(position)s, %(id)s)")
        params |= {"position": edge[0], "id": edge[1]}
    if wanted.settled:
        conditions.append("e.position < (select event_horizon())")
    if wanted.occurred_after is not None:
        conditions.append("e.occurred_at >= %(occurred_after)s")
        params["occurred_after"] = wanted.occurred_after
    if wanted.occurred_before is not None:
        conditions.append("e.occurred_at < %(occurred_before)s")
        params["occurred_before"] = wanted.occurred_before
    return " and ".join(conditions), params


def _fetch(sql: str, params: dict[str, Any]) -> Sequence[Any]:
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cur:
        return cur.execute(sql, params, prepare=False).fetchall()
