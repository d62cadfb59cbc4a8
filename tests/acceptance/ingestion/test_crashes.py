"""T52: the process dies between object storage and database. Nothing is lost, and nothing takes effect twice."""

import time
from uuid import UUID

import pytest
from uuid_utils.compat import uuid7

from tests.acceptance.ingestion.conftest import Site, body_of

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]

STORAGE = "Deadly"


def test_a_worker_that_dies_behind_its_write_costs_an_attempt_and_no_message(site: Site) -> None:
    """The storage kills the worker once the object is written; the second attempt finds the object there."""
    message_id, company_id = UUID("dead" + str(uuid7())[4:]), uuid7()
    body = body_of(message_id, company_id)
    neighbours = [site.post(body_of()).body["id"] for _ in range(5)]
    began = time.monotonic()

    (message,) = site.ended(site.post(body).body["id"])

    assert time.monotonic() - began < 30
    assert message["status"] == "processed"
    attempts = site.platform.attempts(UUID(message["id"]))
    assert [(attempt["outcome"], attempt["error"] and attempt["error"]["code"]) for attempt in attempts] == [
        ("retried", "worker_died"),
        ("done", None),
    ]
    assert [path.read_bytes() for path in site.storage.rglob(f"{message_id}*")] == [body]
    assert site.platform.events(UUID(message["id"])).count("job.processed") == 1
    assert {each["status"] for each in site.ended(*neighbours)} == {"processed"}
    assert {len(site.platform.attempts(UUID(id_))) for id_ in neighbours} == {1}
