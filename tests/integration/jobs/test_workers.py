"""Who is dead by the heartbeat, and to whom."""

import os

import psycopg
import pytest
from django.db import connection

from jobplatform.processes import wait_until
from jobs import pump, registry, slots, store, tasks, workers
from jobs.bell import connect
from jobs.models import Job
from jobs.watch import Watch
from tests.contracts.deliveries import Worker
from tests.integration.jobs.limited import claim, limited, submit

__all__ = ["limited"]

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


@pytest.mark.usefixtures("committed", "limited")
@pytest.mark.parametrize("gone", [False, True])
def test_who_signed_off_and_still_holds_jobs_is_found(monkeypatch: pytest.MonkeyPatch, *, gone: bool) -> None:
    """It was declared dead while it claimed, or a pump broke off as it ended."""
    (job,) = submit("call.free")
    mine = Worker(registry.get("call.free"), "one")
    claim("call.free", worker=mine)
    with connect("relay") as link:
        workers.leave(mine.id, on=link)
        assert workers.stale(on=link) == []
        if gone:
            link.execute("delete from jobs_worker")
        monkeypatch.setattr(workers, "LIVE_SECONDS", 0.2)

        assert wait_until(lambda: workers.stale(on=link) == [mine.id], seconds=20)
        with store.run("chores", {"live": 0.2, "consumers": []}) as cur:
            assert dict(zip([column.name for column in cur.description or ()], cur.fetchone() or (), strict=True))[
                "silent"
            ]
    workers.rescue(mine.id, started=None, seen=False)

    assert Job.objects.get(id=job).status == "queued"
    assert workers.stale(on=store.connection_of_django()) == []


@pytest.mark.usefixtures("committed", "limited")
def test_a_process_that_ends_in_order_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pump broke off, and SIGTERM came before the watch had settled that."""
    (job,) = submit("call.free")
    watch = Watch("one", ["default"], ["call.free"])
    post = pump.Post(watch, slots.take(watch.worker, os.getpid()))
    monkeypatch.setattr(pump, "run_batch", lambda _shift: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        pump.answer(post, "call.free", None)
    assert (post.unsettled, Job.objects.get(id=job).status) == (True, "processing")
    watch.start()
    monkeypatch.setattr(watch, "settle", lambda _link: None)
    monkeypatch.setattr(tasks, "_post", post)

    tasks._child_stops()

    assert Job.objects.get(id=job).status == "queued"
    assert slots.taken() == []


def _one(link: psycopg.Connection[object], statement: str) -> tuple[int]:
    row = link.execute(statement.encode()).fetchone()
    assert isinstance(row, tuple)
    return row
