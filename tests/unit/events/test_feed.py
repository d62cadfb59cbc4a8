"""A follower's queue: bounded, and what comes last is last."""

import datetime as dt
from uuid import UUID

import pytest

from events import feed
from events.feed import OVERFLOW, Follower
from events.log import LoggedEvent

OURS, THEIRS, SUBJECT = UUID(int=1), UUID(int=2), UUID(int=3)


def row(project: UUID = OURS, subject: UUID = SUBJECT, type_: str = "job.queued", position: int = 5) -> LoggedEvent:
    return LoggedEvent(position, 1, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), project, type_, subject, 1, "{}")


def test_a_follower_wants_events_of_his_own_project_alone() -> None:
    assert Follower(OURS).wants(row())
    assert not Follower(OURS).wants(row(project=THEIRS))
    assert not Follower(OURS, SUBJECT).wants(row(project=THEIRS)), "whatever the subject is"


def test_a_follower_wants_his_subject_his_types_and_nothing_twice() -> None:
    assert not Follower(OURS, SUBJECT).wants(row(subject=UUID(int=4)))
    assert Follower(OURS, prefix="job.q").wants(row())
    assert not Follower(OURS, prefix="job.f").wants(row())
    late = Follower(OURS)
    late.after = (5, 1)
    assert not late.wants(row())
    assert late.wants(row(position=6))


def test_what_is_taken_is_what_was_put_in_its_order() -> None:
    follower = Follower(OURS)
    for number in range(3):
        follower.put(b"%d" % number)

    assert (follower.held, follower.woken.is_set()) == (3, True)
    assert follower.take() == b"012"
    assert (follower.held, follower.woken.is_set(), follower.take()) == (0, False, b"")


@pytest.mark.parametrize("bound", ["MOST_FRAMES", "MOST_BYTES"])
def test_who_does_not_take_is_told_that_he_is_too_slow_and_gets_nothing_more(
    bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, bound, 10)
    follower = Follower(OURS)
    for _ in range(50):
        follower.put(b"x")

    assert follower.closed
    assert follower.take() == OVERFLOW
    follower.put(b"x")
    follower.close(b"again")
    assert follower.take() == b""


def test_what_waits_comes_before_the_end() -> None:
    follower = Follower(OURS)
    follower.put(b"one ")
    follower.close(b"end")

    assert follower.take() == b"one end"
