"""No consumer misses an event or sees a subject's events out of order, however transactions meet (T30)."""

import contextlib
import datetime as dt
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import consumers, log
from jobs import services, store
from jobs.judge import released
from jobs.services import JobRequest
from jobs.store import Claimed
from tests.chaos.events.reading import NAME, Link, Reader, append
from tests.processes import PROJECT, Servers, known

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

Links = Callable[[], Link]


def claimed(number: int) -> list[Claimed]:
    """New jobs that a worker of ours has claimed: subjects whose events the engine itself writes."""
    with known(["tests.handlers.good"]):
        services.submit_many(project_id=PROJECT, requests=[JobRequest("test.silent", {}) for _ in range(number)])
    return store.claim_many("test.silent", batch=number, worker=1)


def announce(link: Link, job: Claimed) -> None:
    """Append an event of a running job, through the engine's own statement."""
    store.announce_many([(job.id, job.project_id, job.claim_no)], worker=1, on=link)


# ------------------------------------------------------------------------------------------------ two transactions
def test_the_event_of_a_transaction_that_is_still_open_is_not_skipped(reader: Reader, links: Links) -> None:
    slow, fast = links(), links()
    early, late = uuid4(), uuid4()
    append(slow, early, 1)
    append(fast, late, 1)
    fast.commit()
    assert reader.run() == 0  # nothing behind the open one may be read yet
    slow.commit()

    assert reader.run() == 2
    assert [reader.seen(early), reader.seen(late)] == [[1], [1]]


def test_what_was_rolled_back_is_never_seen(reader: Reader, links: Links) -> None:
    link = links()
    subject = uuid4()
    append(link, subject, 1)
    link.rollback()
    append(link, subject, 1)
    link.commit()

    assert reader.run() == 1
    assert reader.seen(subject) == [1]


def test_a_writer_in_another_database_of_the_cluster_delays_and_loses_nothing(
    reader: Reader, links: Links, servers: Servers
) -> None:
    elsewhere = servers.cluster.make_empty()
    with contextlib.closing(psycopg.connect(elsewhere)) as stranger:
        stranger.execute("create table t ()")
        link = links()
        subject = uuid4()
        append(link, subject, 1)
        link.commit()
        assert reader.run() == 0
        assert log.lag()[NAME][0] > 0
        stranger.commit()

        assert reader.run() == 1
        assert log.lag()[NAME] == (0, 0)
    servers.cluster.drop(elsewhere)


# ------------------------------------------------------------------------------------------------ an early xid
def test_a_caller_whose_transaction_is_older_than_a_jobs_last_event_does_not_turn_their_order(
    reader: Reader, links: Links
) -> None:
    (job,) = claimed(1)
    reader.run()
    old, young = links(), links()
    old.execute("select pg_current_xact_id()")
    announce(young, job)
    young.commit()
    assert reader.run() == 0
    verdict = released(job, "test")
    assert store.commit_many([verdict], worker=1, on=old)
    assert reader.run() == 0
    old.commit()

    assert reader.run() == 2
    assert reader.seen(job.id) == [1, 2, 3]


def test_a_caller_whose_transaction_is_older_does_not_turn_the_order_of_any_subject(
    reader: Reader, links: Links
) -> None:
    subject = uuid4()
    old, young = links(), links()
    old.execute("select pg_current_xact_id()")
    append(young, subject, 1)
    young.commit()
    append(old, subject, 2)
    old.commit()

    assert reader.run() == 2
    assert reader.seen(subject) == [1, 2]


# ------------------------------------------------------------------------------------------------ any interleaving
LINKS, SUBJECTS = 3, 2
STEPS = st.one_of(
    st.tuples(st.just("xid"), st.integers(0, LINKS - 1)),
    st.tuples(st.just("write"), st.integers(0, LINKS - 1), st.integers(0, SUBJECTS - 1)),
    st.tuples(st.just("append"), st.integers(0, LINKS - 1), st.integers(0, SUBJECTS - 1)),
    st.tuples(st.just("commit"), st.integers(0, LINKS - 1)),
    st.tuples(st.just("commit"), st.integers(0, LINKS - 1)),
    st.tuples(st.just("rollback"), st.integers(0, LINKS - 1)),
    st.tuples(st.just("read")),
)


class Interleaving:
    """Runs steps on several connections. A step that would wait for another transaction's row is left out."""

    def __init__(self, reader: Reader, links: list[Link]) -> None:
        self.reader = reader
        self.links = links
        self.jobs = claimed(SUBJECTS)
        self.others = [uuid4() for _ in range(SUBJECTS)]
        self.held: dict[UUID, int] = {}  # which open transaction has changed a subject
        self.seq: dict[UUID, int] = dict.fromkeys(self.others, 0)
        self.before: dict[int, dict[UUID, int]] = {}  # seq of subjects before an open transaction

    def run(self, step: tuple[Any, ...]) -> None:
        """Run one step."""
        match step:
            case ("xid", number):
                self.links[number].execute("select pg_current_xact_id()")
            case ("write", number, subject) if self.takes(self.jobs[subject].id, number):
                announce(self.links[number], self.jobs[subject])
            case ("append", number, subject) if self.takes(self.others[subject], number):
                key = self.others[subject]
                self.before.setdefault(number, {}).setdefault(key, self.seq[key])
                self.seq[key] += 1
                append(self.links[number], key, self.seq[key])
            case ("commit", number):
                self.links[number].commit()
                self.release(number)
            case ("rollback", number):
                self.links[number].rollback()
                self.seq |= self.before.get(number, {})
                self.release(number)
            case ("read",):
                consumers.run(NAME)

    def takes(self, subject: UUID, number: int) -> bool:
        """Whether a transaction may change a subject now: its row is its own, or free."""
        return self.held.setdefault(subject, number) == number

    def release(self, number: int) -> None:
        """A transaction has ended."""
        self.held = {subject: holder for subject, holder in self.held.items() if holder != number}
        self.before.pop(number, None)


def interleave(reader: Reader, links: Links, examples: int) -> None:
    """Each event is seen exactly once, and each subject's events in the order of their seq, without a gap."""
    opened = [links() for _ in range(LINKS)]

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )  # fmt: skip
    @given(steps=st.lists(STEPS, min_size=30, max_size=60))
    def run(steps: list[tuple[Any, ...]]) -> None:
        interleaving = Interleaving(reader, opened)
        for step in steps:
            interleaving.run(step)
        for link in opened:
            link.commit()
        reader.run()
        for job in interleaving.jobs:
            committed = reader.ask("select seq from jobs_job where id = %s", job.id)[0]["seq"]
            assert reader.seen(job.id) == list(range(1, committed + 1))
        for subject in interleaving.others:
            assert reader.seen(subject) == list(range(1, interleaving.seq[subject] + 1))
        reader.ask("delete from seen returning 1")

    run()


def test_every_event_is_seen_once_and_in_the_order_of_its_subject(reader: Reader, links: Links) -> None:
    interleave(reader, links, 100)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_every_event_is_seen_once_and_in_order_in_thousands_of_interleavings(reader: Reader, links: Links) -> None:
    interleave(reader, links, 5000)


# ------------------------------------------------------------------------------------------------ consumers
def test_an_error_of_a_consumer_brings_the_same_events_again_and_skips_none(reader: Reader, links: Links) -> None:
    link = links()
    subject = uuid4()
    for seq in range(1, 11):
        append(link, subject, seq)
    link.commit()
    reader.fails = [ValueError("the first time"), RuntimeError("and again \x00")]

    assert consumers.run(NAME) == 0
    assert (reader.row["failures"], reader.row["error"]) == (1, "ValueError('the first time')")
    assert reader.seen() == []
    assert consumers.waiting() == []  # it pauses
    assert consumers.run(NAME) == 0
    log.move_clock(dt.timedelta(seconds=3))
    assert consumers.waiting() == [NAME]
    assert consumers.run(NAME) == 0
    assert reader.row["failures"] == 2
    log.move_clock(dt.timedelta(seconds=10))

    assert reader.run() == 10
    assert reader.seen(subject) == list(range(1, 11))
    assert (reader.row["failures"], reader.row["error"], reader.row["retry_at"]) == (0, "", None)


def test_a_consumer_is_replayed_from_a_point_in_time(reader: Reader, links: Links) -> None:
    link = links()
    subject = uuid4()
    append(link, subject, 1)
    link.commit()
    point = reader.ask("select clock_timestamp() as now")[0]["now"]
    for seq in (2, 3):
        append(link, subject, seq)
        link.commit()
    assert reader.run() == 3
    consumers.replay(NAME, since=point)

    assert reader.run() == 2
    assert reader.seen(subject) == [1, 2, 3, 2, 3]


def test_a_new_consumer_starts_at_the_end_and_misses_nothing_from_there(reader: Reader, links: Links) -> None:
    """Also what was written before it came and committed after."""
    link, other = links(), links()
    subject = uuid4()
    append(other, subject, 1)
    other.commit()
    append(link, subject, 2)
    reader.ask("delete from events_consumer returning 1")
    consumers.ensure_rows()
    link.commit()
    append(link, subject, 3)
    link.commit()

    assert reader.run() == 2
    assert reader.seen(subject) == [2, 3]
