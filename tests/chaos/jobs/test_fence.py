"""Whoever lost a claim changes nothing any more: neither its outcome, nor its progress, nor its effects (T03, T32)."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from jobs import registry, services, store, workers
from jobs.bell import bell
from jobs.errors import LostClaim
from jobs.judge import Finished, judge
from jobs.models import Attempt, Job
from jobs.outbox import Outbox
from jobs.outcomes import Done
from jobs.services import JobRequest
from jobs.states import Status
from jobs.store import Claimed, Verdict
from tests.processes import PROJECT, known

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(60)]

KIND = "test.silent"


@pytest.fixture(autouse=True)
def kinds(database: str) -> Iterator[None]:
    with known(["tests.handlers.good"]):
        yield


def announced(name: str) -> int:
    """A worker, as the database knows it."""
    return workers.announce(name, ["default"], [KIND], on=store.connection_of_django())


def submitted(number: int) -> list[UUID]:
    made = services.submit_many(project_id=PROJECT, requests=[JobRequest(KIND, {}) for _ in range(number)])
    return [job.id for job in made]


def claim(worker: int, number: int = 1) -> list[Claimed]:
    return store.claim_many(KIND, batch=number, worker=worker)


def done(job: Claimed, output: object) -> Verdict:
    return judge(registry.get(KIND), Finished(job, Done(output), None, 0.01))


def story(job_id: UUID) -> tuple[Any, ...]:
    """All that is known of a job."""
    with connection.cursor() as cursor:
        cursor.execute("select seq, type, data::text from events_event where subject_id = %s order by seq", [job_id])
        events = cursor.fetchall()
    job = Job.objects.get(id=job_id, project_id=PROJECT)
    return job.status, job.claim_no, job.seq, job.output, list(Attempt.objects.filter(job_id=job_id).values()), events


def lost(first: int, second: int) -> tuple[Claimed, Claimed]:
    """A job that one worker claimed, lost, and another one claimed: both views of it."""
    submitted(1)
    (mine,) = claim(first)
    assert workers.rescue(first, started=(mine.id, mine.claim_no), seen=True) == 1
    with connection.cursor() as cursor:
        cursor.execute("update jobs_job set due_at = due_at - interval '1 hour'")
        cursor.execute("update jobs_shelf set low_due_at = '-infinity'")
    (theirs,) = store.claim_many(KIND, batch=1, worker=second, capped=True)
    assert (theirs.id, theirs.claim_no) == (mine.id, mine.claim_no + 1)
    return mine, theirs


def test_a_late_end_is_dropped_while_somebody_else_runs_the_job() -> None:
    late, other = announced("late"), announced("other")
    mine, theirs = lost(late, other)
    before = story(mine.id)

    assert store.commit_many([done(mine, "late")], worker=late) == {}
    assert story(mine.id) == before
    assert set(store.commit_many([done(theirs, "right")], worker=other)) == {theirs.id}
    assert story(mine.id)[:2] == ("processed", 2)
    assert Job.objects.get(id=mine.id, project_id=PROJECT).output == "right"


def test_a_late_end_is_dropped_after_somebody_else_has_ended_the_job() -> None:
    late, other = announced("late"), announced("other")
    mine, theirs = lost(late, other)
    store.commit_many([done(theirs, "right")], worker=other)
    before = story(mine.id)

    assert store.commit_many([done(mine, "late")], worker=late) == {}
    assert story(mine.id) == before


def test_a_late_end_is_dropped_when_the_same_worker_has_claimed_the_job_again() -> None:
    worker = announced("revived")
    mine, again = lost(worker, worker)
    before = story(mine.id)

    assert store.commit_many([done(mine, "late")], worker=worker) == {}
    assert story(mine.id) == before
    assert set(store.commit_many([done(again, "right")], worker=worker)) == {again.id}


def test_a_claim_that_the_server_forgot_ends_nothing_though_its_number_was_given_again() -> None:
    late, other = announced("late"), announced("other")
    submitted(1)
    (mine,) = claim(late)
    with connection.cursor() as cursor:  # as the row stands when the crash of the server has undone the claim
        cursor.execute("update jobs_job set status = 'queued', claim_no = claim_no - 1, claimed_by = null")
        cursor.execute("update jobs_shelf set low_due_at = '-infinity'")
    (theirs,) = claim(other)
    assert (theirs.id, theirs.claim_no) == (mine.id, mine.claim_no)
    before = story(mine.id)

    assert store.commit_many([done(mine, "late")], worker=late) == {}
    with pytest.raises(LostClaim):
        Outbox(late, bell).keep(mine, steps={"one": 1})
    store.announce_many([(mine.id, mine.project_id, mine.claim_no)], worker=late)
    assert story(mine.id) == before
    assert Job.objects.get(id=mine.id, project_id=PROJECT).steps is None
    assert set(store.commit_many([done(theirs, "right")], worker=other)) == {theirs.id}


def test_late_ends_do_not_take_the_good_ones_of_their_batch_along() -> None:
    late, other = announced("late"), announced("other")
    mine, _ = lost(late, other)
    submitted(3)
    good = claim(late, 3)

    done_ones = store.commit_many([done(mine, "late"), *[done(job, "good") for job in good]], worker=late)
    assert set(done_ones) == {job.id for job in good}
    assert store.commit_many([done(good[0], "again")], worker=late) == {}


def test_progress_steps_and_announcements_of_a_lost_claim_are_dropped() -> None:
    late, other = announced("late"), announced("other")
    mine, _ = lost(late, other)
    before = story(mine.id)
    outbox = Outbox(late, bell)

    with pytest.raises(LostClaim):
        outbox.keep(mine, steps={"one": 1})
    with pytest.raises(LostClaim):
        outbox.keep(mine, progress={"done": 1, "total": 2, "note": ""})
    store.announce_many([(mine.id, mine.project_id, mine.claim_no)], worker=late)
    assert story(mine.id) == before
    assert Job.objects.get(id=mine.id, project_id=PROJECT).steps is None


def test_what_a_lost_claim_would_do_inside_its_commit_is_not_done() -> None:
    late, other = announced("late"), announced("other")
    mine, _ = lost(late, other)
    outbox = Outbox(late, bell)
    finished = Finished(mine, Done("late"), None, 0.01)
    calls: list[int] = []

    outbox.commit_within(judge(registry.get(KIND), finished), lambda: calls.append(1), registry.get(KIND), finished)
    assert calls == []
    assert outbox.counts == {"late": 1}


def test_a_job_that_ends_between_the_two_statements_of_a_rescue_stays_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """T32: the rescue has read that the job runs; before it writes, the worker that was thought dead commits."""
    slow = announced("slow")
    submitted(2)
    ended, hung = claim(slow, 2)
    commit = store.commit_many

    def committing_first(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr(store, "commit_many", commit)
        assert set(commit([done(ended, "in time")], worker=slow)) == {ended.id}
        return commit(*args, **kwargs)

    monkeypatch.setattr(store, "commit_many", committing_first)
    assert workers.rescue(slow, started=None, seen=False) == 1

    assert story(ended.id)[:2] == ("processed", 1)
    assert Job.objects.get(id=ended.id, project_id=PROJECT).output == "in time"
    assert story(hung.id)[0] == Status.QUEUED
    assert [event[1] for event in story(ended.id)[-1]] == ["job.queued", "job.processed"]


def test_two_rescues_of_the_same_worker_give_each_job_back_once() -> None:
    dead = announced("dead")
    ids = submitted(5)
    claim(dead, 5)

    assert workers.rescue(dead, started=None, seen=True) == 5
    assert workers.rescue(dead, started=None, seen=True) == 0
    assert {tuple(event[1] for event in story(job)[-1]) for job in ids} == {("job.queued", "job.released")}
    assert {story(job)[:2] for job in ids} == {("queued", 1)}


def test_a_job_that_was_suspected_is_claimed_in_batches_again_once_an_attempt_ended_in_order() -> None:
    late, other = announced("late"), announced("other")
    _, theirs = lost(late, other)

    failed = judge(registry.get(KIND), Finished(theirs, None, ValueError("again"), 0.01))
    ((status, shelf),) = store.commit_many([failed], worker=other).values()

    with connection.cursor() as cursor:
        cursor.execute("select cap from jobs_shelf where id = any(%s) order by id", [[theirs.shelf_id, shelf]])
        assert (status, cursor.fetchall()) == (Status.QUEUED, [(0,), (1,)])
