"""Partitions of the log come and go by the day; one that somebody still has to read stays (T33)."""

import datetime as dt
from collections.abc import Callable
from uuid import UUID, uuid4

import psycopg
import pytest

from events import consumers, log
from tests.chaos.events.reading import NAME, Link, Reader, append

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

TODAY = dt.datetime.now(dt.UTC).date()
Links = Callable[[], Link]


def days_back(days: int) -> dt.date:
    return TODAY - dt.timedelta(days=days)


@pytest.fixture
def old(reader: Reader, links: Links) -> UUID:
    """A subject with one event on each of ten days, the oldest ten days ago. Nobody has read them."""
    subject = uuid4()
    reader.ask("select events_ensure_partitions(%s, %s)", days_back(10), days_back(1))
    link = links()
    for seq in range(1, 11):
        append(link, subject, seq)
        link.execute(
            "update events_event set occurred_at = occurred_at - %s where subject_id = %s and seq = %s",
            (dt.timedelta(days=11 - seq), subject, seq),
        )
        link.commit()
    return subject


def kept() -> list[dt.date]:
    return [day for _, day in log.partitions() if day < days_back(1)]


def test_partitions_are_made_ahead_and_making_them_again_makes_none(reader: Reader) -> None:
    days = [day for _, day in log.partitions()]
    assert days == [days_back(1) + dt.timedelta(days=n) for n in range(len(days))]
    assert days[-1] >= TODAY + dt.timedelta(days=13)
    assert log.ensure_partitions(days[-1] + dt.timedelta(days=2)) == 2
    assert log.ensure_partitions(days[-1] + dt.timedelta(days=2)) == 0


def test_a_partition_that_a_consumer_has_not_read_is_not_dropped(reader: Reader, old: UUID) -> None:
    assert log.drop_partitions(days_back(2)) == []
    assert len(kept()) == 9
    for _ in range(7):  # the reader takes seven at a time
        if len(reader.seen(old)) < 7:
            consumers.run(NAME)
    assert reader.seen(old) == [1, 2, 3, 4, 5, 6, 7]

    assert len(log.drop_partitions(days_back(2))) == 7
    assert kept() == [days_back(3), days_back(2)]
    assert reader.run() == 3
    assert reader.seen(old) == list(range(1, 11))


def test_only_what_is_older_than_asked_for_is_dropped(reader: Reader, old: UUID) -> None:
    reader.run()
    assert len(log.drop_partitions(days_back(5))) == 5
    assert kept() == [days_back(n) for n in (5, 4, 3, 2)]
    assert reader.ask("select count(*) as n from events_event where subject_id = %s", old) == [{"n": 5}]


def test_writers_and_readers_go_on_while_a_partition_waits_to_be_dropped(
    reader: Reader, links: Links, old: UUID
) -> None:
    """Somebody reads the log in a transaction that stays open: nobody waits for him, and next time it works."""
    reader.run()
    slow = links()
    slow.execute("select count(*) from events_event")
    try:
        first = log.drop_partitions(days_back(2))
    except (psycopg.Error, OSError):
        first = []
    writer = links()
    append(writer, old, 11)
    writer.commit()
    assert reader.ask("select count(*) as n from events_event where subject_id = %s and seq = 11", old) == [{"n": 1}]
    slow.rollback()

    second = log.drop_partitions(days_back(2))
    assert len(first) + len(second) == 8
    assert kept() == [days_back(2)]
    assert reader.run() == 1
