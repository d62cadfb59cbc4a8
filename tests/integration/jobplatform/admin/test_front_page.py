"""The front page: each number against a count of the table, each link against its list, and what it may cost."""

import datetime as dt
import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from benchmarks.explain import nodes
from events import consumers, log
from events.models import Consumer
from jobs import handler, overview, pauses, registry
from jobs.models import Intervention, Job, LimitKey, Shelf, Worker
from jobs.overview import Tally
from jobs.run import Run
from jobs.states import Gate, Status
from projects import services as project_services
from tests.corpora.markup import MARKUP, harm_in, text_of
from tests.integration.jobs.admin.conftest import (
    Make,
    Order,
    kinds,
    make,
    operator,
    stranger,
    viewer,
)

__all__ = ["kinds", "make", "operator", "stranger", "viewer"]

FRONT = "/admin/"
STATEMENTS = 25


def now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


@pytest.fixture
def projects(db: None) -> list[UUID]:
    return [project_services.create_project(name=name, actor="system").id for name in ("Northwind", "Contoso")]


@pytest.fixture
def history(projects: list[UUID], make: Make, kinds: None) -> list[UUID]:
    """Jobs everywhere they may stand, of two kinds on two queues and of two projects, with a log that says the same."""

    @handler("shop.ship", payload=Order, queue="slow")
    def ship(_job: Run[Order]) -> Any:
        return None

    def some(number: int, **columns: Any) -> None:
        for n in range(number):
            job = make(project=projects[n % 2], **columns)
            if n % 3 == 0:
                Job.objects.filter(id=job.id).update(kind="shop.ship", shelf_id=_shelf("shop.ship", projects[n % 2]))

    some(5, status=Status.PROCESSING, claimed_by=1, started_at=now())
    some(4, due_at=now() - dt.timedelta(seconds=20))  # late for one kind, which should take half a second
    some(3, due_at=now() - dt.timedelta(minutes=10))
    some(6, due_at=now() + dt.timedelta(hours=2))
    some(2, lane="customer-7", gate=int(Gate.LANE))
    some(7, status=Status.FAILED, error={"code": "timeout", "message": "too slow"})
    some(3, status=Status.BLOCKED)
    at = now()
    some(2, status=Status.PARKED)
    some(9, status=Status.PROCESSED, due_at=at, started_at=at + dt.timedelta(milliseconds=40), finished_at=now())
    Shelf.objects.update(low_due_at=now() - dt.timedelta(days=1))
    return projects


def _shelf(kind: str, project: UUID) -> int:
    return Shelf.objects.get_or_create(kind=kind, project_id=project)[0].id


def count() -> None:
    """Let the counter read the log, put where it would be after a commit."""
    consumers.ensure_rows()
    Consumer.objects.filter(name="rollups").update(position=0, last_id=0, retry_at=None)
    with connection.cursor() as cursor:
        cursor.execute("update events_event set position = 1")
    assert consumers.run("rollups")


def page(client: Client, query: str = "", **headers: str) -> Any:
    answer = client.get(f"{FRONT}?{query}", headers=headers)
    assert answer.status_code == 200
    return answer.context


def listed(client: Client, link: str) -> int:
    """How many jobs the list behind a link counts."""
    answer = client.get(link)
    assert answer.status_code == 200, link
    return int(answer.context["cl"].result_count)


# ------------------------------------------------------------------------------------------------ numbers
STANDS: dict[str, Callable[[Job], bool]] = {
    "running": lambda job: job.status == Status.PROCESSING,
    "queued": lambda job: job.status == Status.QUEUED,
    "late": lambda job: (
        job.status == Status.QUEUED
        and job.gate == 0
        and job.due_at < now() - dt.timedelta(seconds=0.5 if job.kind == "shop.pay" else 60)
    ),
    "failed": lambda job: job.status == Status.FAILED,
    "blocked": lambda job: job.status == Status.BLOCKED,
}
KEYS: dict[str, Callable[[Job], Any]] = {
    "kind": lambda job: job.kind,
    "queue": lambda job: overview.queue_of(job.kind),
    "project": lambda job: {"a": "Northwind", "b": "Contoso"}["a" if job.project_id == _first() else "b"],
}


def _first() -> UUID:
    return min(Job.objects.values_list("project_id", flat=True).distinct())


def test_each_number_is_that_of_the_table_and_of_the_list_behind_it(viewer: Client, history: list[UUID]) -> None:
    jobs = list(Job.objects.all())

    shown = page(viewer)

    cards = {card.key: card for card in shown["cards"]}
    for name, stands in STANDS.items():
        expected = sum(map(stands, jobs))
        assert expected, name
        assert cards[name].number == str(expected), name
        assert listed(viewer, cards[name].link) == expected, name


@pytest.mark.parametrize("by", KEYS)
def test_each_row_is_that_of_the_table_and_of_the_list_behind_it(viewer: Client, history: list[UUID], by: str) -> None:
    jobs = list(Job.objects.all())

    (table,) = [table for table in page(viewer)["tables"] if table.key == by]

    rows = {row.name: list(row.numbers) for row in table.rows}
    assert set(rows) == {KEYS[by](job) for job in jobs}
    for name, numbers in rows.items():
        for place, (stands, number) in enumerate(zip(STANDS.values(), numbers, strict=False)):
            expected = sum(1 for job in jobs if stands(job) and KEYS[by](job) == name)
            assert number.text == str(expected), (name, place)
            if expected:
                assert listed(viewer, number.link) == expected, number.link


def test_a_project_is_shown_alone(viewer: Client, history: list[UUID]) -> None:
    theirs = history[1]
    jobs = list(Job.objects.filter(project_id=theirs))

    shown = page(viewer, f"project={theirs}")

    for card in shown["cards"][:5]:
        assert card.number == str(sum(map(STANDS[card.key], jobs)))
        if card.number != "0":
            assert listed(viewer, card.link) == int(card.number)
    assert [table.key for table in shown["tables"]] == ["kind", "queue"]
    assert {row["job"].project_id for row in shown["troubles"]} == {theirs}


@pytest.mark.parametrize("window", ["1h", "24h", "7d", "30d"])
def test_what_happened_is_what_the_log_says(viewer: Client, history: list[UUID], window: str) -> None:
    for job in Job.objects.filter(status__in=[Status.PROCESSED, Status.FAILED, Status.BLOCKED]):
        data = {"kind": job.kind, "duration_ms": 12.0}
        log.append([log.NewEvent(job.project_id, f"job.{job.status}", job.id, 2, data)])
    count()
    with connection.cursor() as cursor:
        cursor.execute("select type, data ->> 'kind', count(*) from events_event group by 1, 2")
        logged = Counter({(type_, kind): number for type_, kind, number in cursor.fetchall()})

    shown = page(viewer, f"window={window}")

    charts = {chart.frame.key: chart for chart in shown["charts"]}
    outcomes = {row.name: row.latest for row in charts["outcomes"].series}
    by_type = Counter[str]()
    for (type_, _), number in logged.items():
        by_type[type_] += number
    assert outcomes == {
        "processed": "9", "retried": "0", "failed": "7", "rejected": "0", "blocked": "3", "cancelled": "0",
    }  # fmt: skip
    throughput = {row.name: row.latest for row in charts["throughput"].series}
    assert throughput == {"processed": str(by_type["job.processed"]), "accepted": str(by_type["job.queued"])}
    waited, took = (
        [value for value in charts[key].series[place].values if value is not None]
        for key, place in (("wait", 0), ("duration", 1))
    )
    assert waited == [pytest.approx(40, rel=0.1)]
    assert took == [pytest.approx(12, rel=0.1)]
    kinds_, queues, owners = shown["tables"]
    for table, of in ((kinds_, lambda kind: kind), (queues, overview.queue_of)):
        for row in table.rows:
            expected = sum(
                n for (type_, kind), n in logged.items() if type_ == "job.processed" and of(kind) == row.name
            )
            assert list(row.numbers)[5].text == str(expected)
    assert sum(int(list(row.numbers)[5].text) for row in owners.rows) == 9


def test_workers_and_slots_are_those_that_live(viewer: Client, make: Make) -> None:
    def worker(number: int, queues: list[str], silent: int = 0) -> None:
        Worker.objects.create(id=number, name="w", host="h", pid=number, parent_pid=1, queues=queues, kinds=[])
        Worker.objects.filter(id=number).update(heartbeat_at=now() - dt.timedelta(seconds=silent))

    worker(1, ["default"])
    worker(2, ["default", "events"])
    worker(3, ["default"], silent=600)
    make(status=Status.PROCESSING, claimed_by=2)
    make(status=Status.PROCESSING, claimed_by=2)

    shown = page(viewer)

    card = shown["cards"][-1]
    assert (card.number, card.note) == ("2", "1 busy, 1 fell silent")
    assert listed(viewer, card.link) == 2
    assert [(row.queue, row.live, row.busy, row.stale) for row in shown["queues"]] == [
        ("default", 2, 1, 1),
        ("events", 1, 1, 0),
    ]


def test_a_count_ends_at_its_bound_and_says_so(viewer: Client, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "MOST", 4)
    monkeypatch.setattr(overview, "LEAST_SHARE", 2)
    monkeypatch.setattr(overview, "MOST_OTHERS", 3)
    for _ in range(5):
        make(status=Status.FAILED)
        make(status=Status.PARKED)
        make(due_at=now() - dt.timedelta(hours=1))
        make(status=Status.PROCESSING, claimed_by=1)

    shown = page(viewer)

    assert [card.number for card in shown["cards"][:4]] == ["4+", "4+", "4+", "4+"]
    assert [(word, str(tally)) for word, tally, _, _ in shown["others"]] == [("parked", "3+")]


def test_what_waits_behind_a_limit_is_queued_once(viewer: Client, make: Make) -> None:
    jobs = [make(limit_id=7, gate=int(Gate.LIMIT)) for _ in range(3)]
    make(limit_id=7, gate=int(Gate.LIMIT | Gate.LANE), lane="l")
    make(limit_id=7)
    LimitKey.objects.create(
        id=7, project_id=jobs[0].project_id, name="api", key="k", waiting=True, in_use=1, touched_at=now()
    )

    total = overview.now().total

    assert (total.queued, total.behind, total.due) == (Tally(5), Tally(4), Tally(1))
    assert listed(viewer, page(viewer)["cards"][1].link) == 5


def test_late_jobs_beyond_the_bound_are_not_made_up(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "MOST", 4)
    for n in range(6):
        make(due_at=now() - dt.timedelta(hours=1) if n < 2 else now() + dt.timedelta(hours=1))
    monkeypatch.setattr(overview, "LEAST_SHARE", 1)

    total = overview.now().total

    assert (total.late, total.due, total.queued) == (Tally(2), Tally(2), Tally(4, more=True))


def test_what_was_never_registered_stands_in_a_queue_of_its_own(viewer: Client, make: Make) -> None:
    job = make(status=Status.FAILED, kind="gone.kind")
    shelf = make()
    Shelf.objects.filter(id=shelf.shelf_id).update(kind="gone.kind")

    tables = {table.key: {row.name: list(row.numbers) for row in table.rows} for table in page(viewer)["tables"]}

    failing = tables["queue"][overview.UNKNOWN_QUEUE][3]
    assert failing.text == "1"
    assert [row.id for row in viewer.get(failing.link).context["cl"].result_list] == [job.id]
    assert registry.find("gone.kind") is None


def test_many_kinds_are_a_dozen_and_the_others(viewer: Client, make: Make) -> None:
    for n in range(15):
        for _ in range(n + 1):
            make(status=Status.FAILED, kind=f"many.k{n}")

    (table,) = [table for table in page(viewer)["tables"] if table.key == "kind"]

    rows = list(table.rows)
    assert [row.name for row in rows[:2]] == ["many.k14", "many.k13"]
    assert (len(rows), rows[-1].name, list(rows[-1].numbers)[3].text) == (13, "3 others", str(1 + 2 + 3))


# ------------------------------------------------------------------------------------------------ the page
def test_the_part_is_the_content_without_its_frame(viewer: Client, history: list[UUID]) -> None:
    whole = viewer.get(FRONT).content.decode()
    part = viewer.get(FRONT, headers={"Part": "live"}).content.decode()

    assert "<html" in whole
    assert "front_page.js" in whole
    assert "<html" not in part
    assert 'id="live"' in part
    assert 'id="nav-sidebar' not in part


@pytest.mark.parametrize(
    "query", ["window=99y", "project=x", f"project={UUID(int=5)}", "window=", "project=&window=24h&x=1"]
)
def test_what_makes_no_sense_is_left_out(viewer: Client, query: str) -> None:
    assert page(viewer, query)["asked"].project is None


def test_staff_without_permission_sees_no_number(stranger: Client, history: list[UUID]) -> None:
    for headers in ({}, {"Part": "live"}):
        answer = stranger.get(FRONT, headers=headers)
        assert "cards" not in answer.context
        assert "Ask for the group" in text_of(answer.content.decode())


def test_what_is_paused_is_said(viewer: Client, projects: list[UUID]) -> None:
    northwind, contoso = projects
    pauses.pause(actor="user:olga", reason="their api is down", project_id=northwind, kind="shop.pay")
    pauses.pause(actor="user:olga", reason="<b>all</b> of it", queue="slow", until=now() + dt.timedelta(hours=1))

    said = text_of(viewer.get(FRONT).content.decode())
    alone = text_of(viewer.get(f"{FRONT}?project={contoso}").content.decode())

    assert "Paused: shop.pay of Northwind: their api is down" in said
    assert "Paused: queue slow of all projects until" in said
    assert "<b>all</b> of it" in said
    assert "their api" not in alone
    assert "queue slow" in alone


def test_charts_that_are_behind_say_so(viewer: Client, make: Make) -> None:
    consumers.ensure_rows()
    make()
    Consumer.objects.filter(name="rollups").update(position=0, last_id=0)
    with connection.cursor() as cursor:
        cursor.execute("update events_event set occurred_at = clock_timestamp() - interval '40 seconds'")

    assert "The charts are 40." in text_of(viewer.get(FRONT).content.decode())


@pytest.mark.parametrize("text", [text for text in MARKUP if "\0" not in text])
def test_nothing_that_somebody_stored_comes_alive(viewer: Client, make: Make, text: str) -> None:
    project_services.create_project(name=text[:80] or "x", actor="system")
    make(status=Status.FAILED, kind=text, error={"code": text, "message": text})

    assert harm_in(viewer.get(FRONT).content.decode()) == []


def test_a_drawing_is_readable_without_colour(viewer: Client, history: list[UUID]) -> None:
    count()

    page_ = viewer.get(FRONT).content.decode()

    ids = set(re.findall(r'<pattern id="([^"]+)"', page_))
    used = set(re.findall(r'fill="url\(#([^)]+)\)"', page_))
    assert used
    assert used <= ids
    for drawing in re.findall(r'<svg class="jp-drawing"[^>]*>', page_):
        assert re.search(r'role="img" aria-label="[^"]{10,}"', drawing)
    for pattern in re.findall(r'<use href="#([^"]+)"', page_):
        assert f'<g id="{pattern}"' in page_


# ------------------------------------------------------------------------------------------------ what it costs
def test_what_asks_for_a_person_and_is_no_job_stands_there_too(viewer: Client, projects: list[UUID]) -> None:
    def ask(subject: str, **columns: Any) -> UUID:
        row = Intervention.objects.create(
            id=uuid7(), subject_type=subject, subject_id=str(uuid7()), reason="refused_too_often", **columns
        )
        return UUID(str(row.id))

    stuck, ours = ask("transaction"), ask("confirmation", project_id=projects[0])
    ask("transaction", resolved_at=now())
    ask("job", project_id=projects[0])  # which stands there by itself

    everything, alone = page(viewer), page(viewer, f"project={projects[0]}")

    def asked(shown: Any) -> list[str]:
        return [row["link"].split("/")[-3] for row in shown["questions"]]

    assert asked(everything) == [str(ours), str(stuck)]
    assert asked(alone) == [str(ours)]
    assert everything["questions"][1]["reason"] == "refused too often"
    assert everything["questions"][1]["project"] == "Platform"
    assert viewer.get(everything["questions"][1]["link"]).status_code == 200


@pytest.mark.parametrize("query", ["", "window=24h", "window=7d", "window=30d", "project"])
def test_a_view_takes_at_most_twenty_five_statements(operator: Client, history: list[UUID], query: str) -> None:
    count()
    address = f"{FRONT}?{f'project={history[0]}' if query == 'project' else query}"

    with CaptureQueriesContext(connection) as captured:
        operator.get(address)

    assert len(captured) + 1 <= STATEMENTS  # the lag of the consumers goes past Django's record


def test_the_statements_do_not_grow_with_what_there_is(operator: Client, history: list[UUID]) -> None:
    def statements() -> int:
        with CaptureQueriesContext(connection) as captured:
            operator.get(FRONT)
        return len(captured)

    few = statements()
    for n in range(20):
        project_services.create_project(name=f"Project {n}", actor="system")
    assert statements() == few


LARGE = """
insert into jobs_job (id, project_id, created_at, due_at, started_at, finished_at, position, shelf_id, claim_no, seq,
                      attempt, priority, gate, cancel_requested, kind, stage, status, payload)
select gen_random_uuid(), %s, now(), now(), now(), now(), 1, %s, 1, 2, 1, 0, 0, false, 'shop.pay', 'process',
       case when n %% 100 = 0 then 'failed' when n %% 101 = 0 then 'blocked' else 'processed' end, '{}'
from generate_series(1, 30000) n
"""


def test_no_statement_reads_a_whole_table(operator: Client, history: list[UUID]) -> None:
    count()
    with connection.cursor() as cursor:
        cursor.execute(LARGE, (history[0], _shelf("shop.pay", history[0])))
        cursor.execute("analyze jobs_job")
        with CaptureQueriesContext(connection) as captured:
            operator.get(FRONT)
        seen = 0
        for query in [entry["sql"] for entry in captured.captured_queries if "jobs_job" in entry["sql"]]:
            cursor.execute(f"explain (format json) {query}")
            plan = cursor.fetchone()[0]
            tree = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
            assert not [n for n in nodes(tree) if n["Node Type"] == "Seq Scan" and n["Relation Name"] == "jobs_job"], (
                query
            )
            seen += 1
    assert seen >= 6


def test_the_tables_name_what_their_links_ask_for(viewer: Client, history: list[UUID]) -> None:
    for table in page(viewer)["tables"]:
        for row in table.rows:
            for number in row.numbers:
                if number.link:
                    assert parse_qs(urlsplit(number.link).query)[table.key], number.link
