"""Lists by status: right on every page, and bounded whatever stands beside."""

import datetime as dt
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test import RequestFactory
from rest_framework.request import Request
from uuid_utils.compat import uuid7

from ingestion import selectors
from ingestion.models import moment_of
from ingestion.selectors import KnownMessage, MessageFilter
from ingestion.states import MessageStatus
from jobplatform.api.pages import CursorPage
from jobs.models import Job

pytestmark = pytest.mark.django_db

PROJECT, OTHER = UUID(int=11), UUID(int=12)
COMPANIES = [UUID(int=1), UUID(int=2)]
STATUSES = ["processed", "queued", "failed", "processed", "rejected", "processing", "cancelled", "blocked"]


@pytest.fixture(autouse=True)
def small_scans(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan gives up so early that small tables show what happens then."""
    monkeypatch.setattr(selectors, "MOST_SCANNED", 5)


def insert(*statuses: str, project: UUID = PROJECT, kind: str = "message.process") -> list[UUID]:
    """Messages whose jobs stand so, oldest first, of two companies by turns; for another kind, jobs alone."""
    ids = [uuid7() for _ in statuses]
    with connection.cursor() as cursor:
        for id_, status, company in zip(ids, statuses, itertools.cycle(COMPANIES), strict=False):
            if kind == "message.process":
                cursor.execute(
                    "insert into ingestion_message (id, project_id, company_id, message_id, message_time, stored_at,"
                    " size, body_sha256, body) values (%s, %s, %s, %s, now(), case when %s then now() end, 2, %s, %s)",
                    [id_, project, company, uuid7(), status == "processed", b"x" * 32, b"{}"],
                )
            now = dt.datetime.now(dt.UTC)
            Job.objects.create(
                id=id_, project_id=project, created_at=now, due_at=now, position=1, shelf_id=1, kind=kind,
                status=status, payload={},
            )  # fmt: skip
    return ids


def page(query: str = "") -> CursorPage:
    return CursorPage(Request(RequestFactory().get(f"/api/v1/messages{query}")))


def walk(only: MessageFilter, limit: int) -> Iterator[list[KnownMessage]]:
    """Every page of a list, from the first to the last, as a client follows `next`."""
    at = page(f"?limit={limit}")
    for _ in range(200):
        rows, stopped_at = selectors.messages(project_id=PROJECT, page=at, only=only)
        answer = at.answer(rows, key=lambda row: (row.id,), show=lambda row: row, stopped_at=stopped_at)
        yield answer["results"]
        if answer["next"] is None:
            return
        at = page("?" + answer["next"].partition("?")[2])
    pytest.fail("the list has no end")


def walk_back(only: MessageFilter, limit: int) -> list[UUID]:
    """From the last page that shows something to the first, as a client follows `previous`."""
    at = page(f"?limit={limit}")
    answers = []
    while True:
        rows, stopped_at = selectors.messages(project_id=PROJECT, page=at, only=only)
        answers.append(at.answer(rows, key=lambda row: (row.id,), show=lambda row: row.id, stopped_at=stopped_at))
        if answers[-1]["next"] is None:
            break
        at = page("?" + answers[-1]["next"].partition("?")[2])
    answer = next(each for each in reversed(answers) if each["results"])
    found = list(answer["results"])
    while answer["previous"] is not None:
        at = page("?" + answer["previous"].partition("?")[2])
        rows, stopped_at = selectors.messages(project_id=PROJECT, page=at, only=only)
        answer = at.answer(rows, key=lambda row: (row.id,), show=lambda row: row.id, stopped_at=stopped_at)
        found = answer["results"] + found
    return found


Expect = Callable[[MessageStatus | None, UUID | None], list[UUID]]


@pytest.fixture
def expected() -> Expect:
    """Forty messages in all statuses among jobs of other kinds and messages of another project."""
    ids = []
    for _ in range(5):
        ids += insert(*STATUSES)
        insert("failed", "failed", "cancelled", kind="other.kind")
        insert("failed", "queued", project=OTHER)
    status_of = {
        "processed": MessageStatus.PROCESSED, "failed": MessageStatus.FAILED, "rejected": MessageStatus.REJECTED,
        "cancelled": MessageStatus.CANCELLED,
    }  # fmt: skip

    def of(status: MessageStatus | None, company: UUID | None) -> list[UUID]:
        found = []
        for number, id_ in enumerate(ids):
            stands = status_of.get(STATUSES[number % len(STATUSES)], MessageStatus.RECEIVED)
            belongs = COMPANIES[number % len(STATUSES) % 2]
            if status in {None, stands} and company in {None, belongs}:
                found.append(id_)
        return found[::-1]

    return of


@pytest.mark.parametrize("limit", [1, 3, 25])
@pytest.mark.parametrize("company", [None, *COMPANIES], ids=["all", "one", "two"])
@pytest.mark.parametrize("status", [None, *MessageStatus], ids=str)
def test_every_message_is_listed_once_in_order(
    expected: Expect, status: MessageStatus | None, company: UUID | None, limit: int
) -> None:
    only = MessageFilter(status=status, company_id=company)
    pages = list(walk(only, limit))

    found = [message for each in pages for message in each]
    assert [message.id for message in found] == expected(status, company)
    assert all(len(each) <= limit for each in pages)
    assert status is None or {message.status for message in found} <= {status}


@pytest.mark.parametrize("status", [None, MessageStatus.PROCESSED, MessageStatus.RECEIVED], ids=str)
def test_going_back_leads_to_the_same_messages(expected: Expect, status: MessageStatus | None) -> None:
    assert walk_back(MessageFilter(status=status), 3) == expected(status, None)


@pytest.mark.parametrize("status", [None, *MessageStatus], ids=str)
def test_a_range_of_time_holds_on_every_page(expected: Expect, status: MessageStatus | None) -> None:
    everything = expected(None, None)
    after, before = moment_of(everything[30]), moment_of(everything[10])
    only = MessageFilter(status=status, received_after=after, received_before=before)

    found = [message.id for each in walk(only, 4) for message in each]

    assert found == [id_ for id_ in expected(status, None) if after <= moment_of(id_) < before]


def test_times_beyond_all_messages_give_an_empty_list(expected: Expect) -> None:
    end = dt.datetime(9999, 12, 29, tzinfo=dt.UTC)
    start = dt.datetime(1, 1, 3, tzinfo=dt.UTC)

    assert [*walk(MessageFilter(received_after=end), 5)] == [[]]
    assert [*walk(MessageFilter(received_before=start), 5)] == [[]]
    assert [*walk(MessageFilter(received_after=end, received_before=start), 5)] == [[]]
    assert sum(len(each) for each in walk(MessageFilter(received_after=start, received_before=end), 50)) == 40


def test_a_page_that_gave_up_says_where_to_go_on() -> None:
    wanted = insert("failed")
    insert(*["queued"] * 20)
    insert(*["failed"] * 20, kind="other.kind")

    pages = list(walk(MessageFilter(status=MessageStatus.FAILED), 10))

    assert [message.id for each in pages for message in each] == wanted
    assert pages[0] == []
    assert len(pages) <= 6


def plan(statement: str, params: Any) -> list[dict[str, Any]]:
    """The nodes of a plan."""
    with connection.cursor() as cursor:
        cursor.execute(f"explain (format json) {statement}", params)
        nodes, stack = [], [cursor.fetchone()[0][0]["Plan"]]
    while stack:
        node = stack.pop()
        nodes.append(node)
        stack += node.get("Plans", [])
    return nodes


# ------------------------------------------------------------------------------------------------ plans
MANY = """
with new as materialized (
    select n, (lpad(to_hex(1760000000000 + n), 12, '0') || '70008' || lpad(to_hex(n), 15, '0'))::uuid as id,
           ('00000000-0000-0000-0000-' || lpad(to_hex(n %% 100), 12, '0'))::uuid as company_id,
           case when n > 16000 then 'queued' when n %% 100 = 0 then 'failed' when n %% 100 = 1 then 'rejected'
                else 'processed' end as status
    from generate_series(1, 20000) n
), message as (
    insert into ingestion_message
        (id, project_id, company_id, message_id, message_time, stored_at, size, body_sha256, body)
    select id, %s, company_id, gen_random_uuid(), now(), case when status = 'processed' then now() end, 2, '', ''
    from new
)
insert into jobs_job (id, project_id, created_at, due_at, position, shelf_id, claim_no, seq, attempt, priority, gate,
                      cancel_requested, kind, stage, status, payload)
select id, %s, now(), now(), 1, 1, 1, 2, 1, 0, 0, false, 'message.process', 'process', status, '{}' from new
"""
BY_KEY = {"ingestion_message_pkey", "jobs_job_pkey"}
LISTS = {
    "ingestion_message_stored",
    "ingestion_message_unstored",
    "ingestion_company_stored",
    "ingestion_company_unstored",
    "jobs_job_rare",
}


def plans_of(only: MessageFilter) -> list[dict[str, Any]]:
    """The nodes of the plans of all statements of a list."""
    plans: list[dict[str, Any]] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        with context["connection"].connection.cursor() as cursor:
            plans.append(cursor.execute(f"explain (format json) {sql}", params).fetchone()[0][0]["Plan"])
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        selectors.messages(project_id=PROJECT, page=page(), only=only)
    nodes = []
    while plans:
        node = plans.pop()
        nodes.append(node)
        plans += node.get("Plans", [])
    return nodes


@pytest.mark.parametrize("company", [None, COMPANIES[0]], ids=["all", "one"])
@pytest.mark.parametrize("status", [None, *MessageStatus], ids=str)
@pytest.mark.parametrize("analysed", [True, False], ids=["analysed", "never analysed"])
def test_a_list_reads_its_index_whatever_stands_in_the_table(
    monkeypatch: pytest.MonkeyPatch, status: MessageStatus | None, company: UUID | None, *, analysed: bool
) -> None:
    monkeypatch.setattr(selectors, "MOST_SCANNED", 1000)
    with connection.cursor() as cursor:
        cursor.execute(MANY, [PROJECT, PROJECT])
        if analysed:
            cursor.execute("analyze ingestion_message")
            cursor.execute("analyze jobs_job")

    nodes = plans_of(MessageFilter(status=status, company_id=company))

    used = {node["Index Name"] for node in nodes if "Index Name" in node}
    assert used <= BY_KEY | LISTS
    assert used & LISTS
    for node in nodes:
        if node.get("Index Name") in BY_KEY:
            assert re.search(r"\bid = ", node["Index Cond"]), "a key is looked up, never walked along"
        assert node["Node Type"] not in {"Seq Scan", "Hash Join", "Merge Join"}
