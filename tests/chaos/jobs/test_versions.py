"""An upgrade under way (T10): the version before meets jobs and tables of the new one, and drops nothing."""

import pytest

from tests.processes import Platform, known

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

OLD = ("tests.handlers.good", "tests.handlers.older")
NEW = ("tests.handlers.good", "tests.handlers.newer")
PAYLOAD = {"n": 1, "since_version_two": "x"}
GROWING = ("jobs_job", "jobs_attempt", "jobs_worker", "jobs_shelf", "jobs_doorbell", "events_event", "events_consumer")


def test_a_worker_of_the_old_version_runs_what_it_understands_of_a_new_job(platform: Platform) -> None:
    platform.some_relay()
    platform.worker(handlers=OLD)
    with known(["tests.handlers.newer"]):
        ids = platform.submit("test.grown", 5, PAYLOAD)
        platform.wait_ended(ids)

    assert platform.by_status(ids) == {"processed": 5}
    assert {platform.job(job)["output"]["version"] for job in ids} == {1}
    assert [platform.job(job)["payload"] for job in ids] == [PAYLOAD] * 5  # what it does not know is kept


def test_a_job_that_the_old_version_refuses_is_there_for_the_new_one(platform: Platform) -> None:
    platform.some_relay()
    old = platform.worker(handlers=OLD)
    with known(["tests.handlers.newer"]):
        ids = platform.submit("test.strict", 3, PAYLOAD, max_attempts=100, retry_delay=0.2)
        platform.wait_until(lambda: all(platform.attempts(job) for job in ids), "an attempt at each")
        assert set(platform.by_status(ids)) <= {"queued", "processing"}
        assert old.stop() == 0
        platform.worker(handlers=NEW)
        platform.wait_ended(ids)

    assert platform.by_status(ids) == {"processed": 3}
    for job in ids:
        *refused, done = platform.attempts(job)
        assert {(attempt["outcome"], attempt["error"]["code"]) for attempt in refused} == {("retried", "bad_payload")}
        assert done["outcome"] == "done"
    assert set(platform.effects.count("ran", ids).values()) == {1}


def test_the_old_version_works_on_the_tables_of_the_new_one(platform: Platform) -> None:
    """The new version's migrations come first: under processes of the old one that run, and before some that start."""
    relay, worker = platform.some_relay(), platform.worker()

    def work() -> None:
        ids = platform.submit("test.within", 20) + platform.submit("test.asleep", 20)
        ids += platform.submit("test.flaky", 5, {"n": 1}) + platform.submit("test.park_once", 5, {"seconds": 0.1})
        platform.wait_ended(ids)
        assert platform.by_status(ids) == {"processed": 50}
        assert platform.value("select count(*) from effect where job_id = any(%s)", ids) == 20

    work()
    for table in GROWING:
        platform.execute(f"alter table {table} add column since_version_two text not null default 'x'")
    platform.execute("insert into django_migrations (app, name, applied) values ('jobs', '9999_version_two', now())")
    work()
    assert relay.alive
    assert worker.alive
    assert relay.stop() == 0
    assert worker.stop() == 0
    assert platform.relay().alive
    platform.worker()
    work()

    behind = "select count(*) from events_consumer c where c.error <> ''"
    assert platform.value(behind) == 0
    assert "cached plan" not in platform.story()
