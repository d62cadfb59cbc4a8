"""A transaction that stays open holds back every reader of the log, and no work; past a limit it is ended (T25)."""

from functools import partial

import psycopg
import pytest

from events import log
from jobs import figures
from tests.chaos.jobs.test_workers import ended_once
from tests.processes import Platform, Program

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

HANDLERS = ("tests.handlers.good", "tests.handlers.consuming")
UNSEEN = """
    select count(*) from events_event e
    where not exists (select 1 from seen s where (s.subject_id, s.seq) = (e.subject_id, e.seq))"""


def test_a_writer_that_stays_open_is_ended_and_readers_go_on(database: str) -> None:
    with psycopg.connect(database) as holds, psycopg.connect(database) as reads:
        holds.execute("create table held (n int)")
        reads.execute("select count(*) from events_event")
        pid = holds.info.backend_pid

        assert log.end_writers(3600) == []
        ended = log.end_writers(0)

        assert [(writer.pid, writer.role) for writer in ended] == [(pid, holds.info.user)]
        with pytest.raises(psycopg.errors.AdminShutdown):
            holds.execute("select 1")
        reads.execute("select 1")  # who has written nothing holds nobody back
        assert log.end_writers(0) == []


def has_ended(relay: Program) -> bool:
    return "writer ended" in relay.log


def hold(link: psycopg.Connection[object]) -> None:
    """Begin a transaction with a snapshot and an id of its own."""
    link.execute("begin transaction isolation level repeatable read")
    link.execute("select pg_current_xact_id(), count(*) from jobs_job")


def test_work_goes_on_while_a_transaction_is_held_and_readers_catch_up_after_it(own_platform: Platform) -> None:
    """T25. The first is ended by its owner, the second one by the relay."""
    platform = own_platform
    platform.execute("create table seen (number bigserial, subject_id uuid, seq int, pid int)")
    env = {"JOBPLATFORM_HANDLERS": ",".join(HANDLERS)}
    relay = platform.relay(env=env)
    platform.worker(handlers=HANDLERS)
    start = "select count(*) from events_consumer where name = 'test_writer'"
    platform.wait_until(lambda: platform.value(start) == 1, "the consumer to have a cursor")
    ids = []
    for held_by in ("its owner", "nobody"):
        platform.wait_until(lambda: platform.value(UNSEEN) == 0, "all events to be seen")
        with psycopg.connect(platform.database_url, autocommit=True) as link:
            hold(link)
            before = platform.value("select count(*) from seen")
            for _ in range(3):
                more = platform.submit("test.within", 200)
                platform.wait_ended(more)
                ids += more
            assert platform.value("select count(*) from seen") == before
            assert log.lag()["test_writer"][0] > 0
            assert figures.transactions().oldest > 0
            if held_by == "its owner":
                link.execute("commit")
            else:
                strict = platform.relay(env=env | {"LOG_HELD_SECONDS": "2"})
                platform.wait_until(partial(has_ended, strict), "it to be ended")
                with pytest.raises(psycopg.errors.AdminShutdown):
                    link.execute("select 1")
        platform.wait_until(lambda: platform.value(UNSEEN) == 0, "all events to be seen")
        assert log.lag()["test_writer"] == (0, 0)

    ended_once(platform, ids)
    assert platform.rows("select subject_id, seq from seen group by 1, 2 having count(*) > 1") == []
    assert relay.alive
