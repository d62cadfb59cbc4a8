"""Consumers in real workers: each event once, although their processes are killed."""

import signal
from functools import partial

import pytest

from tests.processes import Platform, send

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

HANDLERS = ("tests.handlers.good", "tests.handlers.consuming")
UNSEEN = """
    select count(*) from events_event e
    where not exists (select 1 from seen s where (s.subject_id, s.seq) = (e.subject_id, e.seq))"""


def test_a_consumer_sees_each_event_once_while_its_processes_are_killed(platform: Platform) -> None:
    platform.execute("create table seen (number bigserial, subject_id uuid, seq int, pid int)")
    platform.relay(env={"JOBPLATFORM_HANDLERS": ",".join(HANDLERS)})
    worker = platform.worker(handlers=HANDLERS)
    start = "select count(*) from events_consumer where name = 'test_writer'"
    platform.wait_until(lambda: platform.value(start) == 1, "the consumer to have a cursor")
    ids = []
    killed: set[int] = set()
    for _ in range(5):
        ids += platform.submit("test.within", 100)
        seen = platform.value("select count(*) from seen")
        platform.wait_until(partial(_more_seen, platform, seen), "some to be seen")
        reader = platform.value("select pid from seen order by number desc limit 1")
        killed.add(reader)
        send(reader, signal.SIGKILL)
    platform.wait_ended(ids)
    platform.wait_until(lambda: platform.value(UNSEEN) == 0, "all events to be seen")

    assert worker.alive
    assert len(killed) > 1
    assert platform.rows("select subject_id, seq from seen group by 1, 2 having count(*) > 1") == []
    turned = """
        select 1 from (select subject_id, seq, lag(seq) over (partition by subject_id order by number) as before from seen) s
        where seq <> coalesce(before, 0) + 1 and subject_id = any(%s)"""
    assert platform.rows(turned, ids) == []


def _more_seen(platform: Platform, seen: int) -> bool:
    return bool(platform.value("select count(*) from seen") > seen)
