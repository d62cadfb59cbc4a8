"""A transaction that stays open holds back every reader of the log; past a limit it is ended."""

import psycopg
import pytest

from events import log

pytestmark = pytest.mark.chaos


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
