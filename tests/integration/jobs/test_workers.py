"""Who is dead by the heartbeat, and to whom."""

import psycopg
import pytest
from django.db import connection

from jobplatform.processes import wait_until
from jobs import workers
from jobs.bell import connect

SILENT = """
insert into jobs_worker (name, host, pid, parent_pid, queues, kinds, started_at, heartbeat_at)
values ('silent', 'h', 1, 1, '{}', '{}', now(), now() - interval '1 minute') returning id
"""


@pytest.mark.usefixtures("committed")
def test_nobody_is_dead_to_a_connection_that_is_younger_than_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the database was away, all hearts were silent: each has time to beat before it is missed."""
    with connection.cursor() as cur:
        cur.execute(SILENT)
        (silent,) = cur.fetchone()
    with connect("young") as young:
        assert workers.stale(on=young) == []
        monkeypatch.setattr(workers, "LIVE_SECONDS", 0.2)

        assert wait_until(lambda: workers.stale(on=young) == [silent], seconds=20)


@pytest.mark.usefixtures("committed")
def test_a_heart_that_beats_again_lives_again() -> None:
    with connect("watch") as link:
        (silent,) = _one(link, SILENT)
        workers.leave(silent, on=link)

        assert [workers.beat(silent, on=link), workers.beat(silent, on=link)] == [False, True]
        assert _one(link, "select stopped_at is null from jobs_worker where pid = 1") == (True,)


def _one(link: psycopg.Connection[object], statement: str) -> tuple[int]:
    row = link.execute(statement.encode()).fetchone()
    assert isinstance(row, tuple)
    return row
