"""A job waits for what another system reports, over HTTP, with real workers."""

import pytest

from tests.acceptance.jobs.web import JOBS, Web, web

__all__ = ["web"]

pytestmark = pytest.mark.timeout(300)

JOB_EVENTS = "/api/v1/job-events"


def parked(web: Web, subject: str) -> str:
    """A job that waits for an event about this subject."""
    answer = web.call("POST", JOBS, {"kind": "test.awaits", "payload": {"subject": subject}})
    assert answer.status == 202, answer.content
    path = f"{JOBS}/{answer.body['id']}"
    web.platform.wait_until(lambda: web.call("GET", path).body["status"] == "parked", "its waiting")
    return path


def paid(web: Web, subject: str, **data: object) -> None:
    told = web.call("POST", JOB_EVENTS, {"type": "payment.arrived", "subject": subject, "data": data})
    assert told.status == 201, told.content


def test_a_job_waits_for_an_event_and_ends_with_its_data(web: Web) -> None:
    web.platform.some_relay()
    web.platform.some_worker()
    path = parked(web, "order-7")
    assert web.call("GET", path).body["awaiting"]["subject"] == "order-7"
    assert web.call("GET", f"{path}/explain").body["code"] == "waits_for_event"
    paid(web, "order-8")
    paid(web, "order-7", amount=12.5)

    done = web.call("GET", f"{path}?wait=25").body
    assert (done["status"], done["output"], done["awaiting"]) == ("processed", {"data": {"amount": 12.5}}, None)
    told = [event["type"] for event in web.call("GET", f"{path}/events").body["results"]]
    assert told == ["job.queued", "job.parked", "job.woken", "job.processed"]


def test_what_is_reported_while_no_worker_lives_wakes_all_the_same(web: Web) -> None:
    web.platform.some_relay()
    worker = web.platform.some_worker()
    path = parked(web, "order-9")
    worker.kill()
    paid(web, "order-9", amount=1)
    web.platform.worker()

    assert web.call("GET", f"{path}?wait=25").body["output"] == {"data": {"amount": 1}}


def test_a_person_wakes_it(web: Web) -> None:
    web.platform.some_relay()
    web.platform.some_worker()
    path = parked(web, "order-10")
    answer = web.call("POST", f"{path}/resume", {"data": {"amount": 2}, "reason": "They called."})

    assert answer.status == 200
    assert answer.body["status"] in {"queued", "processing", "processed"}  # a worker may have it by then
    assert web.call("GET", f"{path}?wait=25").body["output"] == {"data": {"amount": 2}}
