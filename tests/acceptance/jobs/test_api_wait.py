"""GET /jobs/{id}?wait=: answered when the job ends, and many that wait keep nobody from being answered."""

import select
import time

import pytest

from jobplatform.api.connections import MOST as PLACES
from jobs.waiting import MOST as MOST_WAITING
from tests.acceptance.jobs.web import JOBS, Web, web

__all__ = ["web"]

pytestmark = pytest.mark.timeout(300)

WEB_PROCESSES = 2
WAITING = 200
LATER = "2040-01-01T00:00:00Z"


def create(web: Web, kind: str = "test.open", **options: object) -> str:
    answer = web.call("POST", JOBS, {"kind": kind, "payload": {"n": 1}, **options})
    assert answer.status == 202, answer.content
    return str(answer.body["id"])


def test_the_answer_comes_when_the_job_has_ended(web: Web) -> None:
    web.platform.relay()
    web.platform.worker()
    for _ in range(3):
        began = time.monotonic()
        answer = web.call("GET", f"{JOBS}/{create(web)}?wait=25")
        assert (answer.status, answer.body["status"]) == (200, "processed")
        assert time.monotonic() - began < 10


def test_the_answer_comes_at_the_latest_when_the_time_is_over(web: Web) -> None:
    job_id = create(web, due_at=LATER)

    began = time.monotonic()
    answer = web.call("GET", f"{JOBS}/{job_id}?wait=0.7")

    assert (answer.status, answer.body["status"]) == (200, "queued")
    assert 0.7 <= time.monotonic() - began < 5


def test_whoever_waits_hears_of_a_cancellation(web: Web) -> None:
    job_id = create(web, due_at=LATER)
    waiting = [web.open("GET", f"{JOBS}/{job_id}?wait=25") for _ in range(5)]
    began = time.monotonic()

    web.call("POST", f"{JOBS}/{job_id}/cancel")

    assert {web.read(link).body["status"] for link in waiting} == {"cancelled"}
    assert time.monotonic() - began < 10


def test_two_hundred_that_wait_keep_nobody_from_being_answered(web: Web) -> None:
    job_id = create(web, due_at=LATER)
    links = [web.open("GET", f"{JOBS}/{job_id}?wait=8") for _ in range(WAITING)]
    web.platform.wait_until(lambda: _waiting(web), "the waiting room to open")

    for _ in range(50):
        create(web, due_at=LATER)

    assert select.select([link.sock for link in links], [], [], 0)[0] == []
    answers = [web.read(link) for link in links]
    assert [(answer.status, answer.body["status"]) for answer in answers] == [(200, "queued")] * WAITING
    assert web.connections() <= WEB_PROCESSES * (PLACES + 1)


def _waiting(web: Web) -> bool:
    asked = (
        "select count(*) from pg_stat_activity where application_name = 'http:waiting' and datname = current_database()"
    )
    return int(web.platform.value(asked)) == WEB_PROCESSES


def test_more_than_there_is_room_for_are_answered_at_once(web: Web) -> None:
    job_id = create(web, due_at=LATER)
    number = WEB_PROCESSES * MOST_WAITING + 40
    began = time.monotonic()
    links = [web.open("GET", f"{JOBS}/{job_id}?wait=10") for _ in range(number)]

    assert web.call("POST", JOBS, {"kind": "test.open"}).status == 202
    assert time.monotonic() - began < 9
    answers = [web.read(link) for link in links]

    assert {(answer.status, answer.body["status"]) for answer in answers} == {(200, "queued")}
    assert web.connections() <= WEB_PROCESSES * (PLACES + 1)
