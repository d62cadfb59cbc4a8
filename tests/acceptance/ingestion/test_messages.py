"""The main job on real processes: a message posted over HTTP is kept, processed by a worker, and seen by everyone."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import psycopg
import pytest
from uuid_utils.compat import uuid7

from jobs.services import JobRequest, submit_many
from jobs.states import PLATFORM
from tests.acceptance.ingestion.conftest import Site, body_of
from tests.acceptance.jobs.web import Answer

pytestmark = pytest.mark.timeout(240)

STORAGE = "Flaky"


def named(start: str) -> UUID:
    """A message id that begins so."""
    return UUID(start + str(uuid7())[len(start) :])


def at_once(site: Site, bodies: list[bytes]) -> list[Answer]:
    """Post all bodies at the same time."""
    start = threading.Barrier(len(bodies))

    def post(body: bytes) -> Answer:
        start.wait()
        return site.post(body)

    with ThreadPoolExecutor(len(bodies)) as pool:
        return list(pool.map(post, bodies))


def test_a_message_goes_from_http_to_done(site: Site) -> None:
    message_id, company_id = uuid7(), uuid7()
    body = body_of(message_id, company_id, order_id="A-1", text="Größe 😀")

    accepted = site.post(body)
    (message,) = site.ended(accepted.body["id"])

    assert accepted.status == 202
    assert accepted.headers["location"] == f"/api/v1/messages/{message['id']}"
    assert (message["status"], message["error"]) == ("processed", None)
    assert (site.storage / f"{company_id}/{message_id}.json").read_bytes() == body
    assert site.call("GET", message["links"]["original"]).content == body
    job = site.call("GET", message["links"]["job"]).body
    assert (job["kind"], job["status"], job["output"]["bytes"]) == ("message.process", "processed", len(body))
    assert site.platform.events(UUID(message["id"])) == ["job.queued", "job.processed"]


def test_a_bad_message_is_refused_at_once_and_nothing_is_kept(site: Site) -> None:
    before = site.platform.value("select count(*) from ingestion_message")

    answers = [
        site.post(body_of(message_id="x")),
        site.post(body_of().replace(b"+01:00", b"")),
        site.post(body_of(a="x" * 300_000)),
        site.post(body_of(a="NUL").replace(b"NUL", rb"\u0000")),
        site.post(body_of(a="half").replace(b"half", rb"\ud800")),
        site.post(b"[]"),
    ]

    assert [answer.status for answer in answers] == [422] * 6
    assert {answer.headers["content-type"] for answer in answers} == {"application/problem+json"}
    assert site.post(b"{").status == 400
    assert site.platform.value("select count(*) from ingestion_message") == before


def test_storage_that_fails_twice_is_asked_a_third_time(site: Site) -> None:
    accepted = site.post(body_of(named("f1a2")))
    (message,) = site.ended(accepted.body["id"])

    attempts = site.platform.attempts(UUID(message["id"]))
    assert (message["status"], message["error"]) == ("processed", None)
    assert [attempt["outcome"] for attempt in attempts] == ["retried", "retried", "done"]
    assert [attempt["error"] and attempt["error"]["code"] for attempt in attempts] == [
        "storage_unavailable",
        "storage_unavailable",
        None,
    ]


def test_storage_that_never_works_makes_a_dead_letter_after_two_retries(site: Site) -> None:
    accepted = site.post(body_of(named("f1af")))
    (message,) = site.ended(accepted.body["id"])

    assert (message["status"], message["stored_at"]) == ("failed", None)
    assert message["error"]["code"] == "storage_unavailable"
    assert len(site.platform.attempts(UUID(message["id"]))) == 3
    listed = site.call("GET", "/api/v1/messages?status=failed").body["results"]
    assert message["id"] in [each["id"] for each in listed]
    assert site.call("GET", f"/api/v1/messages/{message['id']}/original").body["code"] == "original_not_stored"


def test_other_content_under_the_key_is_rejected_without_a_retry(site: Site) -> None:
    message_id, company_id = uuid7(), uuid7()
    path = site.storage / f"{company_id}/{message_id}.json"
    path.parent.mkdir()
    path.write_bytes(b"{}")

    (message,) = site.ended(site.post(body_of(message_id, company_id)).body["id"])

    assert (message["status"], message["error"]["code"]) == ("rejected", "object_conflict")
    assert len(site.platform.attempts(UUID(message["id"]))) == 1
    assert path.read_bytes() == b"{}"


def test_of_many_identical_posts_at_once_one_makes_the_message(site: Site) -> None:
    message_id = uuid7()

    answers = at_once(site, [body_of(message_id, UUID(int=5))] * 12)

    assert Counter(answer.status for answer in answers) == {202: 1, 200: 11}
    assert len({answer.body["id"] for answer in answers}) == 1
    assert site.platform.value("select count(*) from ingestion_message where message_id = %s", message_id) == 1
    site.ended(answers[0].body["id"])
    assert (
        site.platform.value("select count(*) from jobs_job where payload ->> 'message_id' = %s", str(message_id)) == 1
    )


def test_of_many_different_posts_under_one_id_one_wins_and_the_others_conflict(site: Site) -> None:
    message_id = uuid7()

    answers = at_once(site, [body_of(message_id, UUID(int=5), number=number) for number in range(12)])

    assert Counter(answer.status for answer in answers) == {202: 1, 409: 11}
    assert {answer.body["code"] for answer in answers if answer.status == 409} == {"message_conflict"}
    (winner,) = (answer.body["id"] for answer in answers if answer.status == 202)
    (message,) = site.ended(winner)
    assert message["status"] == "processed"


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_post_waits_for_the_one_before_it_and_takes_what_that_leaves(site: Site, ends: str) -> None:
    message_id, company_id = uuid7(), uuid7()
    body = body_of(message_id, company_id)
    with psycopg.connect(site.platform.database_url) as other, ThreadPoolExecutor(1) as pool:
        other.execute(
            "insert into ingestion_message"
            " (id, project_id, company_id, message_id, message_time, size, body_sha256, body)"
            " values (%s, %s, %s, %s, now(), %s, sha256(%s), %s)",
            [uuid7(), site.project_id, company_id, message_id, len(body), body, body],
        )
        posted = pool.submit(site.post, body)
        site.platform.wait_until(lambda: waits_for_a_lock(site), "the post to wait")
        assert not posted.done()
        getattr(other, ends)()
        answer = posted.result(60)

    assert answer.status == (200 if ends == "commit" else 202)
    assert site.platform.value("select count(*) from ingestion_message where message_id = %s", message_id) == 1


def waits_for_a_lock(site: Site) -> Any:
    return site.platform.value(
        "select count(*) from pg_stat_activity"
        " where wait_event_type = 'Lock' and query like %s and datname = current_database()",
        "%ingestion_message%",
    )


def test_a_key_sent_again_is_answered_with_the_first_answer(site: Site) -> None:
    body = body_of()
    first, second = (site.post(body, **{"Idempotency-Key": '"order-7"'}) for _ in range(2))

    assert (first.status, second.status) == (202, 202)
    assert first.content == second.content
    assert second.headers["idempotency-replayed"] == "true"


def test_many_dead_letters_raise_an_alarm_that_everyone_can_read(site: Site) -> None:
    for _ in range(11):
        message_id, company_id = uuid7(), uuid7()
        (site.storage / str(company_id)).mkdir()
        (site.storage / f"{company_id}/{message_id}.json").write_bytes(b"{}")
        assert site.post(body_of(message_id, company_id)).status == 202

    def alarms() -> list[Any]:
        found: list[Any] = site.call("GET", "/api/v1/events?type=deadletters.threshold_exceeded").body["results"]
        return found

    site.platform.wait_until(alarms, "the alarm")
    (alarm,) = alarms()
    assert alarm["data"]["kind"] == "message.process"
    assert alarm["data"]["count"] > alarm["data"]["threshold"] == 10


def test_a_lost_original_is_restored_by_a_job_and_an_orphan_moved_aside(site: Site) -> None:
    message_id, company_id = uuid7(), uuid7()
    body = body_of(message_id, company_id)
    site.ended(site.post(body).body["id"])
    (site.storage / f"{company_id}/{message_id}.json").unlink()
    orphan = site.storage / f"{uuid7()}/{uuid7()}.json"
    orphan.parent.mkdir()
    orphan.write_bytes(b"nobody's")

    request = JobRequest(kind="message.reconcile", payload={"grace_seconds": 0})
    (job,) = submit_many(project_id=PLATFORM, requests=[request])
    site.platform.wait_ended([job.id])

    row = site.platform.job(job.id)
    assert (row["status"], row["output"]["complete"]) == ("processed", True)
    assert (site.storage / f"{company_id}/{message_id}.json").read_bytes() == body
    assert not orphan.exists()
    assert [path.read_bytes() for path in (site.storage / "orphaned").rglob(orphan.name)] == [b"nobody's"]
    actions = {record["action"] for record in site.platform.rows("select action from events_auditrecord")}
    assert {"message.restore", "object.set_aside"} <= actions
