"""Reading messages. A message's status is read from its job, by id and project, in the same statement.

Lists cost the same at the five millionth message as at the first: a page looks at `MOST_SCANNED` rows at most, and
where that was not enough to fill it, it says where to go on.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

import orjson
from django.db import connection

from ingestion.errors import MessageNotFound
from ingestion.models import Comparison, Message, first_id_at, moment_of, object_key
from ingestion.states import ENDED_WITHOUT_OBJECT, MessageStatus, job_status_of, status_of
from jobplatform.api.pages import CursorPage
from jobs.states import Status

MOST_SCANNED = 1_000

_LAST = 2**128 - 1

_COLUMNS = "id, project_id, company_id, message_id, message_time, stored_at, size, body_sha256, error::text"
_SHOWN = "m.*, j.status, j.error"

# The limits keep these lookups by key, one for each row that was scanned, whatever the planner thinks of the tables.
_JOB = "(select status, error::text from jobs_job where project_id = s.project_id and id = s.id limit 1)"
_MESSAGE = f"(select {_COLUMNS} from ingestion_message where project_id = s.project_id and id = s.id limit 1)"  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class KnownMessage:
    """A message without its body, and what its job says. `error` and `job_error` are JSON texts."""

    id: UUID
    project_id: UUID
    company_id: UUID
    message_id: UUID
    message_time: dt.datetime
    stored_at: dt.datetime | None
    size: int
    body_sha256: bytes
    error: str | None
    job_status: str | None
    job_error: str | None

    @property
    def received_at(self) -> dt.datetime:
        """When it was received, in milliseconds."""
        return moment_of(self.id)

    @property
    def status(self) -> MessageStatus:
        """Where it stands."""
        return status_of(self.job_status, stored=self.stored_at is not None)

    @property
    def object_key(self) -> str:
        """Its key in object storage."""
        return object_key(self.company_id, self.message_id)

    @property
    def trouble(self) -> dict[str, Any] | None:
        """`{code, message}` of a message that ended badly: what was written on it, else its job's error."""
        text = self.error or self.job_error
        if text is None or self.status not in {MessageStatus.FAILED, MessageStatus.REJECTED}:
            return None
        error = orjson.loads(text)
        return {"code": error.get("code"), "message": error.get("message")}


@dataclass(frozen=True, slots=True)
class MessageFilter:
    """What a list is narrowed to. `received_after` is included, `received_before` is not; both are aware."""

    company_id: UUID | None = None
    status: MessageStatus | None = None
    received_after: dt.datetime | None = None
    received_before: dt.datetime | None = None


# ------------------------------------------------------------------------------------------------ one message
def message(id_: UUID, *, project_id: UUID) -> KnownMessage:
    """One message of a project by its id. Raises `MessageNotFound`."""
    return _one("id = %s", [project_id, id_])


def message_named(message_id: UUID, *, project_id: UUID) -> KnownMessage:
    """One message of a project by the message_id that its sender gave. Raises `MessageNotFound`."""
    return _one("message_id = %s", [project_id, message_id])


def _one(condition: str, params: Sequence[Any]) -> KnownMessage:
    with connection.cursor() as cursor:
        cursor.execute(
            f"select {_SHOWN} from (select {_COLUMNS} from ingestion_message"  # noqa: S608 - constants of this module
            f" where project_id = %s and {condition}) m"
            f" left join lateral {_JOB.replace('s.', 'm.')} j on true",
            params,
        )
        row = cursor.fetchone()
    if row is None:
        raise MessageNotFound
    return KnownMessage(*row)


def with_body(id_: UUID, *, project_id: UUID) -> Message:
    """A message with its body. Raises `MessageNotFound`."""
    found = Message.objects.filter(id=id_, project_id=project_id).first()
    if found is None:
        raise MessageNotFound
    return found


# ------------------------------------------------------------------------------------------------ lists
def messages(
    *, project_id: UUID, page: CursorPage, only: MessageFilter
) -> tuple[list[KnownMessage], tuple[UUID] | None]:
    """A page of a project's messages, newest first, and the id behind which to go on where the scan was cut short.

    `page` has the one key `id`.
    """
    scope = _Scope(project_id, page, only)
    if only.status is None:
        return scope.listed("stored_at is null", "stored_at is not null"), None
    if only.status is MessageStatus.PROCESSED:
        return scope.listed("stored_at is not null"), None
    if only.status is MessageStatus.RECEIVED:
        return scope.received()
    return scope.ended(job_status_of(only.status))


class _Scope:
    """One project, one page, one filter: the statements of a list.

    Keys are compared as rows, `(project_id, id) >= (…)`, and ordered by all their columns: so the planner cannot take
    the primary key instead and walk it past millions of rows that the filter leaves out.
    """

    def __init__(self, project_id: UUID, page: CursorPage, only: MessageFilter) -> None:
        self._project_id = project_id
        self._page = page
        self._company_id = only.company_id
        self._direction = "desc" if page.descending else "asc"
        low = first_id_at(only.received_after).int if only.received_after else 0
        high = first_id_at(only.received_before).int - 1 if only.received_before else _LAST
        if page.after is not None:
            edge = page.after[0].int
            low, high = (low, min(high, edge - 1)) if page.descending else (max(low, edge + 1), high)
        self._low, self._high = UUID(int=min(low, _LAST)), UUID(int=max(high, 0))

    def _between(self, keys: Mapping[str, Any]) -> tuple[str, str, list[Any]]:
        """Condition, order and parameters of the rows with these keys and an id of the page's range."""
        names = ", ".join([*keys, "id"])
        marks = ", ".join(["%s"] * (len(keys) + 1))
        order = ", ".join(f"{name} {self._direction}" for name in [*keys, "id"])
        params = [*keys.values(), self._low, *keys.values(), self._high]
        return f"({names}) >= ({marks}) and ({names}) <= ({marks})", order, params

    def _messages(self) -> tuple[str, str, list[Any]]:
        company = {"company_id": self._company_id} if self._company_id else {}
        return self._between({"project_id": self._project_id, **company})

    def listed(self, *parts: str) -> list[KnownMessage]:
        """The next messages of these parts of the table, each of which has an index in this order."""
        where, order, params = self._messages()
        select = (
            f"(select {_COLUMNS} from ingestion_message where {where} and {{}}"  # noqa: S608 - constants of this module
            f" order by {order} limit {self._page.fetch})"
        )
        union = " union all ".join(select.format(part) for part in parts)
        with connection.cursor() as cursor:
            cursor.execute(
                f"select {_SHOWN}"  # noqa: S608 - constants of this module
                f" from (select * from ({union}) part order by id {self._direction} limit {self._page.fetch}) m"
                f" left join lateral {_JOB.replace('s.', 'm.')} j on true order by m.id {self._direction}",
                params * len(parts),
            )
            return self._page.ordered([KnownMessage(*row) for row in cursor.fetchall()])

    def received(self) -> tuple[list[KnownMessage], tuple[UUID] | None]:
        """Messages that are not stored, unless their job has ended."""
        ended = [status.value for status in ENDED_WITHOUT_OBJECT]
        return self._scanned_messages("(j.status is null or j.status <> all(%s))", ended)

    def ended(self, status: Status) -> tuple[list[KnownMessage], tuple[UUID] | None]:
        """Messages whose job ended in a rare status.

        Read from the side that is likely shorter, and from the other where that is longer than a scan may be: the jobs
        that ended so, of all kinds and companies, or the messages of the company that are not stored.
        """
        by_jobs = partial(self._scanned_jobs, status)
        by_messages = partial(self._scanned_messages, "j.status = any(%s)", [status.value])
        first, second = (by_messages, by_jobs) if self._company_id else (by_jobs, by_messages)
        rows, stopped_at = first()
        if stopped_at is not None:
            others, other_stop = second()
            if other_stop is None or len(others) > len(rows):
                return others, other_stop
        return rows, stopped_at

    def _scanned_messages(
        self, condition: str, statuses: Sequence[str]
    ) -> tuple[list[KnownMessage], tuple[UUID] | None]:
        """Of the next messages that are not stored, those whose job fits the condition."""
        where, order, params = self._messages()
        source = f"ingestion_message where {where} and stored_at is null order by {order}"
        joins = f"left join lateral {_JOB} j on true cross join lateral {_MESSAGE} m where {condition}"
        return self._scanned(source, params, joins, [statuses])

    def _scanned_jobs(self, status: Status) -> tuple[list[KnownMessage], tuple[UUID] | None]:
        """Of the next jobs in a rare status, those that belong to a message."""
        where, order, params = self._between({"project_id": self._project_id, "status": status.value})
        # Said once more with a constant, so that the partial index of the rare statuses fits.
        source = f"jobs_job where {where} and status = '{status.value}' order by {order}"
        condition = "m.stored_at is null and (%s::uuid is null or m.company_id = %s)"
        joins = f"cross join lateral {_MESSAGE} m cross join lateral {_JOB} j where {condition}"
        return self._scanned(source, params, joins, [self._company_id] * 2)

    def _scanned(
        self, source: str, params: Sequence[Any], joins: str, join_params: Sequence[Any]
    ) -> tuple[list[KnownMessage], tuple[UUID] | None]:
        backwards = "asc" if self._direction == "desc" else "desc"
        with connection.cursor() as cursor:
            cursor.execute(
                f"with scanned as materialized ("  # noqa: S608 - constants of this module
                f"   select id, project_id from {source} limit {MOST_SCANNED}),"
                f" found as ("
                f"   select m.*, j.status, j.error as job_error"
                f"   from (select * from scanned order by id {self._direction}) s {joins} limit {self._page.fetch})"
                f" select edge.rows, edge.id, found.*"
                f" from (select (select count(*) from scanned) as rows,"
                f"              (select id from scanned order by id {backwards} limit 1) as id) edge"
                f" left join found on true order by found.id {self._direction}",
                [*params, *join_params],
            )
            rows = cursor.fetchall()
        scanned, last = rows[0][:2]
        found = [KnownMessage(*row[2:]) for row in rows if row[2] is not None]
        full = scanned < MOST_SCANNED or len(found) >= self._page.fetch
        return self._page.ordered(found), None if full else (last,)


# ------------------------------------------------------------------------------------------------ invariants
WITHOUT_JOB = """
select m.id, m.project_id from ingestion_message m
where m.stored_at is null and not exists (select from jobs_job j where j.id = m.id and j.project_id = m.project_id)
limit 100
"""

PROCESSED_WITHOUT_OBJECT = """
select m.id, m.project_id, j.status from ingestion_message m
join jobs_job j on j.id = m.id and j.project_id = m.project_id
where m.stored_at is null and j.status = 'processed'
limit 100
"""


# ------------------------------------------------------------------------------------------------ object storage
@dataclass(frozen=True, slots=True)
class Claim:
    """A message's claim to a key of object storage."""

    id: UUID
    project_id: UUID
    company_id: UUID
    message_id: UUID
    size: int
    stored_at: dt.datetime | None

    @property
    def object_key(self) -> str:
        """The key."""
        return object_key(self.company_id, self.message_id)


def claims(*, after: str, limit: int) -> list[Claim]:
    """Messages of all projects in the order of their keys in object storage, behind the key `after` ("": the first)."""
    if not after:
        return _claims("true", [], limit)
    return _claims("(company_id, message_id) > (%s, %s)", [UUID(after[:36]), UUID(after[37:73])], limit)


def claimed(keys: Sequence[str]) -> set[str]:
    """Which of these keys belong to a message now."""
    if not keys:
        return set()
    marks = ", ".join(["(%s::uuid, %s::uuid)"] * len(keys))
    params = [part for key in keys for part in (key[:36], key[37:73])]
    return {claim.object_key for claim in _claims(f"(company_id, message_id) in ({marks})", params, None)}


def _claims(condition: str, params: Sequence[Any], limit: int | None) -> list[Claim]:
    with connection.cursor() as cursor:
        cursor.execute(
            "select id, project_id, company_id, message_id, size, stored_at from ingestion_message"  # noqa: S608 - constants of this module
            f" where {condition} order by company_id, message_id limit %s",
            [*params, limit],
        )
        return [Claim(*row) for row in cursor.fetchall()]


def compared_up_to() -> str:
    """The key behind which the comparison with object storage goes on; "" at the beginning."""
    row = Comparison.objects.filter(id=1).first()
    return row.after if row else ""


def platform_now() -> dt.datetime:
    """The time that rules graces; tests and the demo may move it."""
    with connection.cursor() as cursor:
        cursor.execute("select platform_now()")
        now: dt.datetime = cursor.fetchone()[0]
        return now
