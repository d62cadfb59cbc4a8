"""The lists of the admin over large tables: what they find, how far they look, and that they never read a whole table."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from benchmarks.explain import nodes
from jobplatform.backoffice import bounded
from jobs.admin import listing
from jobs.admin.job import JobAdmin
from jobs.models import Attempt, Job
from jobs.states import Status
from tests.integration.jobs.admin.conftest import OURS, THEIRS, Make

LIST = "/admin/jobs/job/"
DEAD = {"status": Status.FAILED, "error": {"code": "timeout", "message": "too slow"}}


@pytest.fixture
def root(db: None) -> Client:
    client = Client()
    client.force_login(User.objects.create_superuser("root"))
    return client


def found(client: Client, query: str = "") -> list[UUID]:
    answer = client.get(f"{LIST}?{query}")
    assert answer.status_code == 200, answer.headers
    return [job.id for job in answer.context["cl"].result_list]


# ------------------------------------------------------------------------------------------------ what it finds
def test_jobs_of_all_projects_are_listed_newest_first(root: Client, make: Make) -> None:
    jobs = [make(), make(project=THEIRS), make()]

    assert found(root) == [job.id for job in reversed(jobs)]


@pytest.mark.parametrize("status", list(Status))
def test_every_status_can_be_chosen(root: Client, make: Make, status: Status) -> None:
    make(status=Status.PROCESSED if status != Status.PROCESSED else Status.QUEUED)
    theirs = make(project=THEIRS, status=status, claimed_by=1 if status == Status.PROCESSING else None)
    ours = make(status=status, claimed_by=1 if status == Status.PROCESSING else None)

    assert found(root, f"status={status}") == [ours.id, theirs.id]
    assert found(root, f"status={status}&project={THEIRS}") == [theirs.id]
    assert found(root, f"status={status}&kind=other.kind") == []
    assert found(root, f"status={status}&kind=shop.pay&stage=process&project={OURS}") == [ours.id]


def test_a_job_is_found_by_its_id_whatever_is_filtered(root: Client, make: Make) -> None:
    job = make(project=THEIRS)

    assert found(root, f"q={job.id}") == [job.id]
    assert found(root, f"q=%20{str(job.id).upper()}&status=failed") == [job.id]
    assert found(root, f"q={UUID(int=5)}") == []


def test_jobs_are_found_by_lane_error_code_and_metadata(root: Client, make: Make) -> None:
    make(metadata={"region": "us", "order": 8})
    lane = make(lane="customer-7")
    dead = make(**DEAD)
    tagged = make(metadata={"region": "eu", "order": 7})

    assert found(root, "q=customer-7") == [lane.id]
    assert found(root, "q=timeout") == [dead.id]
    assert found(root, "q=timeout&status=failed") == [dead.id]
    assert found(root, "q=eu") == [tagged.id]
    assert found(root, "q=region%3Deu") == [tagged.id]
    assert found(root, "q=order%3D7") == [tagged.id]
    assert found(root, "q=order%3Deu") == []
    assert found(root, "q=order%3D%227%22") == []  # in quotes it is a text


def test_a_metadata_value_may_be_an_id(root: Client, make: Make) -> None:
    message = UUID(int=77)
    job = make(metadata={"message_id": str(message)})
    make()

    assert found(root, f"q={message}") == [job.id]


def test_jobs_are_found_by_the_time_of_their_creation(root: Client, make: Make) -> None:
    job = make()

    assert found(root, "created_from=2020-01-01T00:00&created_until=2020-01-02T00:00") == []
    assert found(root, "created_from=2020-01-01T00:00") == [job.id]
    assert found(root, "created_until=2999-01-01T00:00:30") == [job.id]


@pytest.mark.parametrize(
    "query",
    ["created_from=yesterday", "created_until=99999", "project=x", "before=x", "before=1~2", "nosuch=1", "kind__x=1"],
)
def test_a_filter_that_makes_no_sense_leads_to_the_whole_list(root: Client, query: str) -> None:
    answer = root.get(f"{LIST}?{query}")

    assert (answer.status_code, answer.headers.get("Location")) == (302, f"{LIST}?e=1")


@pytest.mark.parametrize(
    "query",
    [
        *("q='", "q=%25", "q=a%3D", "q=%3D", "q={}", "q=%5C", "o=1.2.-3", "p=99", "all=", "status=x", "q=NaN"),
        *("q=a%3DNaN", "q=a%3D1e999", "q=a%3D%22%5Cud800%22", "q=a%3D%22%5Cu0000%22", "q=a%3D" + "%5B" * 2500),
        "q=%22%5Cu0000%22",
    ],
)
def test_odd_questions_are_answered(root: Client, make: Make, query: str) -> None:
    make()

    assert root.get(f"{LIST}?{query}").status_code == 200


def test_an_unknown_order_is_ignored(root: Client, make: Make) -> None:
    jobs = [make(priority=1), make(priority=9), make(priority=5)]

    assert found(root, "o=1") == [job.id for job in reversed(jobs)]


# ------------------------------------------------------------------------------------------------ how far it looks
@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows so small that a test can fill them."""
    for module in (bounded, listing):
        monkeypatch.setattr(module, "WINDOW", 10)
        monkeypatch.setattr(module, "MOST_ROWS", 4)
    monkeypatch.setattr(JobAdmin, "list_per_page", 2)


def walk(client: Client, query: str, path: str = LIST) -> Iterator[Any]:
    """Every row that a list shows, page by page, on through the older windows."""
    address: str | None = f"{path}?{query}"
    for _ in range(100):
        assert address
        answer = client.get(address)
        assert answer.status_code == 200, address
        yield from answer.context["cl"].result_list
        for page in range(2, answer.context["cl"].paginator.num_pages + 1):
            yield from client.get(f"{address}&p={page}").context["cl"].result_list
        address = answer.context["cl"].older
        if address is None:
            return
        address = path + address
    pytest.fail("The list has no end.")


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", lambda job: True),
        ("kind=shop.pay", lambda job: True),
        ("q=eu", lambda job: job.metadata["region"] == "eu"),
        ("status=failed", lambda job: job.status == "failed"),
        ("status=failed&q=eu", lambda job: job.status == "failed" and job.metadata["region"] == "eu"),
        ("status=processed", lambda job: job.status == "processed"),
        (f"project={THEIRS}", lambda job: job.project_id == THEIRS),
        (f"project={THEIRS}&status=failed", lambda job: job.project_id == THEIRS and job.status == "failed"),
    ],
)
def test_leafing_through_all_windows_shows_each_job_once(
    root: Client, make: Make, narrow: None, query: str, wanted: Any
) -> None:
    for n in range(26):
        make(
            project=THEIRS if n % 5 == 0 else OURS,
            metadata={"region": "eu" if n % 3 else "us"},
            status=Status.FAILED if n % 4 == 0 else Status.PROCESSED,
        )
    expected = [job.id for job in Job.objects.order_by("-id") if wanted(job)]

    assert [job.id for job in walk(root, query)] == expected


def test_a_list_that_is_cut_says_so(root: Client, make: Make, narrow: None) -> None:
    for _ in range(6):
        make()

    page = root.get(LIST).content.decode()

    assert "The newest 4 are listed" in page
    assert "Look further back" in page


# ------------------------------------------------------------------------------------------------ how it reads
ROWS = 40_000
FILL = f"""
insert into jobs_job (id, project_id, created_at, due_at, started_at, finished_at, position, shelf_id, claim_no, seq,
                      attempt, priority, gate, cancel_requested, kind, stage, status, payload, metadata)
select (lpad(to_hex(1700000000000 + n * 1000), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8'
        || substr(md5(n::text), 4, 15))::uuid,
       case when n %% 2 = 0 then %s::uuid else %s::uuid end, now(), now(), now(), now(), 1, 1, 1, 2, 1, 0, 0, false,
       'shop.pay', 'process', case when n %% 100 = 0 then 'failed' else 'processed' end, '{{}}', '{{"region": "eu"}}'
from generate_series(1, {ROWS}) n
"""
QUERIES = [
    "",
    "p=2",
    "status=failed",
    "status=failed&q=timeout",
    "status=queued",
    "status=processing",
    "status=parked",
    "kind=rare.kind",
    f"kind=rare.kind&project={OURS}",
    "q=nowhere",
    "q=region%3Dus",
    "created_until=2023-11-15T00:00&kind=rare.kind",
    f"q={UUID(int=9)}",
]


@pytest.fixture
def many(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many finished jobs, and a window that is a small part of them."""
    make()
    make(project=THEIRS)
    with connection.cursor() as cursor:
        cursor.execute(FILL, (OURS, THEIRS))
        cursor.execute("analyze jobs_job")
    for module in (bounded, listing):
        monkeypatch.setattr(module, "WINDOW", 400)
        monkeypatch.setattr(module, "MOST_ROWS", 60)


def read_whole(queries: list[dict[str, Any]]) -> list[str]:
    """Statements that read a large table from end to end, or count one without a bound."""
    bad = []
    with connection.cursor() as cursor:
        for query in (entry["sql"] for entry in queries):
            if not re.match(r"\s*(select|\(select)", query, re.IGNORECASE) or "jobs_job" not in query:
                continue
            cursor.execute(f"explain (format json) {query}")
            plan = cursor.fetchone()[0]
            tree = (json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]
            whole = [n for n in nodes(tree) if n["Node Type"] == "Seq Scan" and n["Relation Name"] == "jobs_job"]
            if whole or re.search(r"count\(\*\)(?!.*\blimit\b)", query, re.IGNORECASE | re.DOTALL):
                bad.append(query)
    return bad


@pytest.mark.parametrize("query", QUERIES)
def test_no_list_reads_a_whole_table(root: Client, many: None, query: str) -> None:
    with CaptureQueriesContext(connection) as captured:
        assert root.get(f"{LIST}?{query}").status_code == 200

    assert read_whole(captured.captured_queries) == []


@pytest.mark.parametrize(
    "path", ["/admin/", "/admin/jobs/job/attempts/", "/admin/jobs/job/{id}/change/", "/admin/jobs/job/{id}/cancel/"]
)
def test_no_page_reads_a_whole_table(root: Client, many: None, path: str) -> None:
    job = Job.objects.filter(status=Status.QUEUED)[0]
    with CaptureQueriesContext(connection) as captured:
        assert root.get(path.format(id=job.id)).status_code == 200

    assert read_whole(captured.captured_queries) == []


def test_the_guard_sees_a_list_that_reads_a_whole_table(many: None) -> None:
    with CaptureQueriesContext(connection) as captured:
        list(Job.objects.filter(kind="rare.kind")[:10])
        Job.objects.count()

    assert len(read_whole(captured.captured_queries)) == 2


# ------------------------------------------------------------------------------------------------ counts, attempts
def test_the_counts_are_those_of_the_table(make: Make) -> None:
    for status in (Status.FAILED, Status.FAILED, Status.PARKED, Status.QUEUED, Status.PROCESSED):
        make(status=status)
        make(project=THEIRS, status=status)
    make(status=Status.PROCESSING, claimed_by=1)

    counted = {status: number for status, (number, more) in listing.counts().items() if number and not more}
    assert counted == {"failed": 4, "parked": 2, "queued": 2, "processing": 1}


def test_a_count_ends_at_its_bound(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "MOST_COUNTED", 3)
    for n in range(5):
        make(project=THEIRS if n % 2 else OURS, status=Status.FAILED)

    assert listing.counts()["failed"] == (3, True)


def attempt(job: Job, claim_no: int, **more: Any) -> Attempt:
    columns = {"outcome": "done", "stage": "process", "attempt": claim_no, "started_at": job.created_at}
    return Attempt.objects.create(
        job_id=job.id, project_id=job.project_id, claim_no=claim_no, ended_at=job.created_at, **columns | more
    )


def test_attempts_are_leafed_through_once_each(root: Client, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from jobs.admin import attempts

    monkeypatch.setattr(attempts, "PER_PAGE", 4)
    monkeypatch.setattr(attempts, "WINDOW", 9)
    made = [attempt(job, claim_no) for job in [make()] for claim_no in range(1, 8)]
    made += [attempt(make(), 1, outcome="failed" if n == 2 else "done") for n in range(12)]

    def shown(query: str) -> list[tuple[UUID, int]]:
        rows, address = [], f"?{query}"
        for _ in range(50):
            answer = root.get(reverse("admin:jobs_job_attempts") + address)
            rows += [(row["job_id"], row["claim_no"]) for row in answer.context["attempts"]]
            address = answer.context["older"]
            if not address:
                return rows
        pytest.fail("The list has no end.")

    everything = sorted(((row.job_id, row.claim_no) for row in made), reverse=True)
    assert shown("") == everything
    assert shown("outcome=failed") == [(row.job_id, 1) for row in made if row.outcome == "failed"]
    assert shown(f"job={made[0].job_id}") == [key for key in everything if key[0] == made[0].job_id]
    assert shown("job=nonsense") == []
