"""One key creates one thing, whatever happens in between (T50, T51)."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, connections
from django.test import Client
from django.test.utils import CaptureQueriesContext

from events.log import move_clock
from jobplatform.api import idempotency
from jobs import handlers
from projects.models import Project
from tests.integration.jobplatform.api.routes import REACHED

pytestmark = pytest.mark.urls("tests.integration.jobplatform.api.routes")

single = pytest.mark.django_db


def create(client: Client, key: str | None = "k1", name: str = "a", **more: str) -> Any:
    headers = {"Idempotency-Key": key} if key is not None else {}
    headers |= {"X-Tenant": more["tenant"]} if "tenant" in more else {}
    query = {"answer": more["answer"]} if "answer" in more else {}
    return client.post(
        "/api/v1/create", {"name": name}, content_type="application/json", headers=headers, query_params=query
    )


@pytest.fixture(autouse=True)
def none_reached() -> Iterator[None]:
    yield
    REACHED.clear()


def kept() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from api_idempotency")
        return int(cursor.fetchone()[0])


# ------------------------------------------------------------------------------------------------ one after the other
@single
def test_the_same_request_again_gets_the_same_bytes_and_creates_nothing(api: Client) -> None:
    first, again, once_more = create(api), create(api), create(api, key='"k1"')

    assert first.status_code == again.status_code == once_more.status_code == 201
    assert first.content == again.content == once_more.content
    assert first.headers["Location"] == again.headers["Location"]
    assert first.headers["Content-Type"] == again.headers["Content-Type"] == "application/json"
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == once_more.headers["Idempotency-Replayed"] == "true"
    assert Project.objects.count() == 1


@single
def test_another_body_is_refused(api: Client) -> None:
    create(api, name="a")

    answer = create(api, name="b")

    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert Project.objects.count() == 1


@single
def test_another_key_and_another_tenant_create_another_thing(api: Client) -> None:
    ids = {
        create(api).json()["id"],
        create(api, key="k2").json()["id"],
        create(api, key="K1").json()["id"],
        create(api, tenant=str(UUID(int=2))).json()["id"],
    }

    assert len(ids) == Project.objects.count() == 4


@single
def test_without_the_header_nothing_is_asked_and_nothing_kept(api: Client) -> None:
    with CaptureQueriesContext(connection) as queries:
        first, again = create(api, key=None), create(api, key=None)

    assert first.json()["id"] != again.json()["id"]
    assert not [query for query in queries if "api_idempotency" in query["sql"] or "advisory" in query["sql"]]
    assert kept() == 0


@single
@pytest.mark.parametrize("answer, status, things", [("refuse", 409, 0), ("return", 422, 1), ("fault", 500, 0)])
def test_a_refusal_is_not_kept(api: Client, answer: str, status: int, things: int) -> None:
    refused = create(api, answer=answer)

    assert refused.status_code == status
    assert Project.objects.count() == things
    assert kept() == 0
    assert create(api).status_code == 201


@single
def test_after_72_hours_a_key_is_new(api: Client) -> None:
    first = create(api).json()["id"]
    move_clock(timedelta(hours=71, minutes=59))
    assert create(api).json()["id"] == first
    move_clock(timedelta(hours=72, minutes=1))

    later = create(api, name="b")

    assert later.status_code == 201
    assert later.json()["id"] != first
    assert "Idempotency-Replayed" not in later.headers
    assert create(api, name="b").content == later.content
    assert kept() == 1


@single
def test_expired_answers_are_purged_in_slices(api: Client) -> None:
    for number in range(5):
        create(api, key=f"k{number}")
    with connection.cursor() as cursor:
        cursor.execute(handlers._TIDY["stored_responses"], {"slice": 3})
        assert cursor.rowcount == 0
        move_clock(timedelta(hours=73))
        cursor.execute(handlers._TIDY["stored_responses"], {"slice": 3})
        assert cursor.rowcount == 3
        cursor.execute(handlers._TIDY["stored_responses"], {"slice": 3})
        assert cursor.rowcount == 2


@single
@pytest.mark.parametrize("key", ["", '"', "a b", "ä", "k" * 256])
def test_a_malformed_key_is_refused(api: Client, key: str) -> None:
    answer = create(api, key=key.encode().decode("latin-1"))

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_idempotency_key")
    assert Project.objects.count() == 0


@single
def test_a_kept_answer_with_a_secret_is_sealed(api: Client, settings: Any) -> None:
    first = create(api, answer="sealed")
    with connection.cursor() as cursor:
        cursor.execute("select sealed, position(%s::bytea in body) from api_idempotency", [b"hunter2"])
        assert cursor.fetchone() == (True, 0)

    assert create(api, answer="sealed").content == first.content
    settings.API_KEY_PEPPER = "another one"
    assert create(api, answer="sealed").json()["code"] == "idempotency_unreadable"


@single
def test_the_first_answer_and_its_replay_are_shown_to_a_person_too(api: Client) -> None:
    for _ in range(2):
        answer = api.post(
            "/api/v1/create",
            {"name": "a"},
            content_type="application/json",
            headers={"Idempotency-Key": "k1", "Accept": "text/html"},
        )
        assert answer.status_code == 201
        assert b"hunter2" in answer.content


# ------------------------------------------------------------------------------------------------ at the same time
def test_a_hundred_at_once_create_one_thing(committed: None) -> None:
    start = Barrier(20)

    def one(number: int) -> tuple[int, bytes]:
        try:
            if number < 20:
                start.wait()
            answer = create(Client())
            return answer.status_code, answer.content
        finally:
            connections.close_all()

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(100)))

    statuses = Counter(status for status, _ in answers)
    assert set(statuses) <= {201, 409}
    assert {body for status, body in answers if status == 201} == {create(Client()).content}
    assert Project.objects.count() == 1


def test_while_the_first_is_under_way_the_others_are_sent_away_at_once(committed: None) -> None:
    def first() -> Any:
        try:
            return create(Client(), answer="wait")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(first)
        deadline = time.monotonic() + 20
        while "created" not in REACHED:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        began = time.monotonic()
        same, other = create(Client(), answer="wait"), create(Client(), name="b", answer="wait")
        elsewhere = create(Client(), key="k2")
        took = time.monotonic() - began
        REACHED.append("go")
        done = running.result()

    assert (same.status_code, same.json()["code"]) == (409, "idempotency_in_progress")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_in_progress")
    assert same.headers["Retry-After"] == "1"
    assert elsewhere.status_code == 201
    assert took < 5
    assert create(Client(), answer="wait").content == done.content
    assert Project.objects.count() == 2


def test_one_that_was_overtaken_gives_the_others_answer(committed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first commits between the second's look and its lock: the second's rows are undone, and it looks again."""
    look = idempotency._Slot.look
    overtaken = False

    def late(slot: Any) -> Any:
        nonlocal overtaken
        seen = look(slot)
        if seen is None and not overtaken:
            overtaken = True
            # The other one, of another connection, does not see our lock: it held it before us.
            with ThreadPoolExecutor(1) as pool:
                pool.submit(insert, slot).result()
        return seen

    def insert(slot: Any) -> None:
        try:
            slot.keep(idempotency._Kept(201, "/things/first", b'{"id":"first"}'))
        finally:
            connections.close_all()

    monkeypatch.setattr(idempotency._Slot, "look", late)

    answer = create(Client())

    assert overtaken
    assert answer.json() == {"id": "first"}
    assert answer.headers["Idempotency-Replayed"] == "true"
    assert Project.objects.count() == 0


def test_an_answer_that_never_arrived_is_given_again(committed: None) -> None:
    """Death after the commit, before the reply: the client knows nothing and asks again, in a new process."""

    def lose() -> bytes:
        try:
            return bytes(create(Client()).content)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        lost = pool.submit(lose).result()

    assert create(Client()).content == lost
    assert Project.objects.count() == 1


def test_death_before_the_commit_leaves_nothing(committed: None) -> None:
    def die() -> None:
        try:
            create(Client(raise_request_exception=False), answer="fault")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool:
        pool.submit(die).result()

    assert kept() == 0
    assert Project.objects.count() == 0
    assert create(Client()).status_code == 201


def test_a_key_is_found_by_its_primary_key(committed: None) -> None:
    with connection.cursor() as cursor:
        cursor.execute("set plan_cache_mode = force_generic_plan")
        cursor.execute("set enable_seqscan = off")
        cursor.execute("explain " + idempotency._LOOK, [UUID(int=1), "r", "k", 1])
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("reset enable_seqscan")

    assert "Index Scan using" in plan
    assert "One-Time Filter" in plan  # the lock is tried only where nothing was found
