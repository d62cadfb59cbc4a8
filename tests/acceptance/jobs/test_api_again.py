"""Idempotency-Key over HTTP: many at once make one job (T50), and a server that dies before its answer too (T51)."""

import threading
from collections import Counter
from uuid import uuid4

import pytest

from tests.acceptance.jobs.web import JOBS, Answer, Web, web

__all__ = ["web"]

pytestmark = pytest.mark.timeout(300)

THREADS = 100
SEND = {"kind": "test.open", "payload": {"n": 1}}


def jobs(web: Web, mark: str) -> int:
    return int(web.platform.value("select count(*) from jobs_job where metadata ->> 'mark' = %s", mark))


def test_one_key_in_a_hundred_threads_makes_one_job(web: Web) -> None:
    key = mark = str(uuid4())
    body = SEND | {"metadata": {"mark": mark}}
    answers: list[Answer] = []
    ready = threading.Barrier(THREADS)

    def ask() -> None:
        ready.wait(60)
        answers.append(web.call("POST", JOBS, body, Idempotency_Key=key))

    threads = [threading.Thread(target=ask) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)

    counts = Counter(answer.status for answer in answers)
    assert counts.total() == THREADS
    assert set(counts) <= {202, 409}
    assert {answer.body["code"] for answer in answers if answer.status == 409} <= {"idempotency_in_progress"}
    made = {answer.content for answer in answers if answer.status == 202}
    assert len(made) == 1
    assert jobs(web, mark) == 1

    again = web.call("POST", JOBS, body, Idempotency_Key=key)
    other = web.call("POST", JOBS, body | {"priority": 1}, Idempotency_Key=key)
    assert (again.status, again.content, again.headers["idempotency-replayed"]) == (202, made.pop(), "true")
    assert (other.status, other.body["code"]) == (422, "idempotency_key_reused")


@pytest.mark.chaos
def test_a_server_that_dies_before_its_answer_answers_the_same_afterwards(web: Web) -> None:
    marks = [str(uuid4()) for _ in range(10)]
    links = [web.open("POST", JOBS, SEND | {"metadata": {"mark": mark}}, Idempotency_Key=mark) for mark in marks]
    web.platform.wait_until(lambda: any(jobs(web, mark) for mark in marks), "a commit")
    web.program.kill()
    for link in links:
        link.close()
    before = {mark: jobs(web, mark) for mark in marks}
    web.start()

    first = [web.call("POST", JOBS, SEND | {"metadata": {"mark": mark}}, Idempotency_Key=mark) for mark in marks]
    again = [web.call("POST", JOBS, SEND | {"metadata": {"mark": mark}}, Idempotency_Key=mark) for mark in marks]

    assert set(before.values()) <= {0, 1}
    assert {answer.status for answer in first} == {202}
    assert [answer.content for answer in first] == [answer.content for answer in again]
    assert [answer.headers.get("idempotency-replayed") == "true" for answer in first] == [
        bool(before[mark]) for mark in marks
    ]
    assert {jobs(web, mark) for mark in marks} == {1}
