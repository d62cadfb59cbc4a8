"""Walking through lists, by queryset and by plain SQL."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection
from django.test import Client

from projects.models import Project

pytestmark = [pytest.mark.urls("tests.integration.jobplatform.api.routes"), pytest.mark.django_db]

# The one is ordered by id, newest first; the other by (weight, id), smallest first, by plain SQL.
LISTS = ["/api/v1/plain", "/api/v1/rows"]


def make(count: int) -> list[str]:
    """Names of new projects, in the order of their making; weights repeat."""
    made = [Project.objects.create(name=f"p{n}", slug=f"p{n}", weight=1 + n % 3) for n in range(count)]
    return [project.name for project in made]


def expected(path: str) -> list[str]:
    order = ["-id"] if path.endswith("plain") else ["weight", "id"]
    return list(Project.objects.order_by(*order).values_list("name", flat=True))


def get(client: Client, url: str) -> Any:
    answer = client.get(url)
    assert answer.status_code == 200, answer.content
    return answer.json()


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize("limit", [1, 3, 7, 10, 11])
def test_forth_and_back_every_row_is_seen_once(client: Client, path: str, limit: int) -> None:
    make(10)
    pages, seen = [get(client, f"{path}?limit={limit}")], []
    while pages[-1]["next"]:
        pages.append(get(client, pages[-1]["next"]))
    back = [pages[-1]]
    while back[-1]["previous"]:
        back.append(get(client, back[-1]["previous"]))

    seen = [name for page in pages for name in page["results"]]
    assert seen == expected(path)
    assert [name for page in reversed(back) for name in page["results"]] == seen
    assert all(len(page["results"]) == limit for page in pages[:-1])
    assert [page["results"] for page in reversed(back)] == [page["results"] for page in pages]
    assert pages[0]["previous"] is None
    assert pages[-1]["next"] is None


@pytest.mark.parametrize("path", LISTS)
def test_rows_that_come_and_go_do_not_shift_the_pages(client: Client, path: str) -> None:
    make(6)
    before = expected(path)
    first = get(client, f"{path}?limit=3")
    Project.objects.create(name="new", slug="new", weight=1)
    Project.objects.filter(name=before[0]).delete()

    second = get(client, first["next"])

    assert first["results"] == before[:3]
    assert second["results"] == before[3:] if path.endswith("plain") else set(before[3:]) <= {*second["results"], "new"}


@pytest.mark.parametrize("path", LISTS)
def test_an_empty_list_is_one_empty_page(client: Client, path: str) -> None:
    assert get(client, path) == {"next": None, "previous": None, "results": []}


def test_there_are_25_on_a_page_and_never_more_than_200(client: Client) -> None:
    make(30)

    assert len(get(client, "/api/v1/plain")["results"]) == 25
    assert client.get("/api/v1/plain?limit=201").json()["code"] == "invalid_limit"


def test_links_are_whole_addresses_that_keep_the_query(client: Client) -> None:
    make(3)

    link = urlsplit(get(client, "/api/v1/plain?limit=1&project=p1")["next"])

    assert (link.scheme, link.netloc, link.path) == ("http", "testserver", "/api/v1/plain")
    query = parse_qs(link.query)
    assert (query["limit"], query["project"]) == (["1"], ["p1"])
    assert len(query["cursor"][0]) < 100


@pytest.mark.parametrize("path", LISTS)
def test_a_page_is_read_from_an_index_however_deep(client: Client, path: str) -> None:
    make(5)
    url = get(client, f"{path}?limit=2")["next"]
    with connection.cursor() as cursor:
        cursor.execute("create index on projects_project (weight, id)")
        cursor.execute("set local enable_seqscan = off")
        cursor.execute("set local enable_sort = off")
    with connection.execute_wrapper(explained := Explained()):
        get(client, url)

    assert explained.plans
    assert all("Index" in plan and "Sort" not in plan for plan in explained.plans), explained.plans


class Explained:
    """Plans of what was executed."""

    def __init__(self) -> None:
        self.plans: list[str] = []

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if sql.lower().startswith("select"):
            with context["connection"].connection.cursor() as cursor:
                cursor.execute(f"explain {sql}", params)
                self.plans.append("\n".join(row[0] for row in cursor.fetchall()))
        return execute(sql, params, many, context)
