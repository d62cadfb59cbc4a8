"""Kinds that run once at most: wherever their process dies, what may have taken effect is not run again."""

import os
from collections.abc import Iterator
from typing import Any

import pytest

from jobs import Cancel, Done, Retry, Run, handler, judge, parent, pump, registry, services, slots, store, workers
from jobs.bell import bell
from jobs.errors import TimedOut
from jobs.models import Intervention, Job
from jobs.outbox import Outbox
from jobs.runner import Shift, run_batch
from jobs.slots import Pen
from jobs.states import Status
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.limited import Call, claim, limited, submit

__all__ = ["limited"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("limited", "paying")]

NOBODY = 2**22 + 7  # no process has this id


class Died(BaseException):
    """The process ends here, without another word."""


class Dying(Outbox):
    """An outbox whose process dies at its n-th flush that has something to commit."""

    def __init__(self, worker: int, at: int) -> None:
        super().__init__(worker, bell)
        self.left = at

    def flush(self, on: store.Connection | None = None) -> None:
        if len(self):
            self.left -= 1
            if not self.left:
                raise Died
        super().flush(on)


class Deathbed:
    """A pen that a dead process writes with no more: what it wrote last stays."""

    def __init__(self, pen: Pen) -> None:
        self._pen = pen
        self.written: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._pen, name)

    def ended(self) -> None:
        self.written.append(("ended",))


@pytest.fixture
def ran() -> list[Any]:
    return []


@pytest.fixture
def paying(limited: None, ran: list[Any]) -> None:
    def pay(job: Run[Call]) -> Done:
        ran.append(job.id)
        if job.payload.deed == "hang":
            raise TimedOut
        return Done()

    async def pay_async(job: Run[Call]) -> Done:
        ran.append(job.id)
        return Done()

    handler("pay.once", payload=Call, retry=Retry.never())(pay)
    handler("pay.async", payload=Call, retry=Retry.never(), window=1)(pay_async)


@pytest.fixture
def pen() -> Iterator[tuple[Worker, Pen]]:
    mine = Worker(registry.get("pay.once"), "one")
    taken = slots.take(mine.id, NOBODY)
    yield mine, taken
    taken.release()


def states() -> list[str]:
    return list(Job.objects.order_by("id").values_list("status", flat=True))


@pytest.mark.parametrize("kind", ["pay.once", "pay.async"])
def test_a_process_that_dies_between_the_handler_and_the_commit_leaves_a_question(
    pen: tuple[Worker, Pen], ran: list[Any], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from jobs.window import run_window

    submit(kind)
    mine, slot = pen
    shift = Shift(registry.get(kind), claim(kind, worker=mine), Dying(mine.id, at=1), Deathbed(slot))  # type: ignore[arg-type] # it writes like one
    with pytest.raises(Died):
        run_window(shift, refill=lambda _room: []) if kind == "pay.async" else run_batch(shift)
    assert len(ran) == 1

    (left,) = [found for found in slots.taken() if found.pid == NOBODY]
    monkeypatch.setattr(parent, "connection", type("None", (), {"close": staticmethod(lambda: None)}))
    parent._look(left, set())

    assert states() == ["blocked"]
    assert Intervention.objects.get().reason == "may_have_taken_effect"
    assert claim(kind, worker=mine) == []


def test_after_the_commit_a_death_says_nothing_about_the_job(pen: tuple[Worker, Pen], ran: list[Any]) -> None:
    submit("pay.once", 2)
    mine, slot = pen
    run_batch(Shift(registry.get("pay.once"), claim("pay.once", worker=mine), Outbox(mine.id, bell), slot))

    (left,) = [found for found in slots.taken() if found.pid == NOBODY]
    assert left.job_id is None
    assert states() == ["processed"] * 2


def test_what_a_window_claimed_behind_the_first_is_known_to_have_run(ran: list[Any]) -> None:
    """The pump breaks off at the commit of a job that came by refill."""
    submit("pay.async", 2)
    mine = Worker(registry.get("pay.async"), "one")
    slot = slots.take(mine.id, os.getpid())
    post = pump.Post(_Watch(mine.id), slot)  # type: ignore[arg-type] # what a pump asks of one
    with pytest.raises(Died):
        pump._work(post, registry.get("pay.async"), Dying(mine.id, at=2), pump.Pace(), capped=False, hint=())
    slot.release()
    assert len(ran) == 2

    workers.rescue_own(mine.id, post.broken_off)

    assert states() == ["processed", "blocked"]
    assert claim("pay.async", worker=mine) == []


class _Watch:
    def __init__(self, worker: int) -> None:
        self.worker = worker

    def begin(self, _shift: Shift) -> None: ...

    def end(self) -> None: ...


@pytest.mark.parametrize("how", ["dies", "hangs"])
def test_a_wish_to_stop_it_does_not_answer_what_took_effect(how: str) -> None:
    (job,) = submit("pay.once", deed="hang" if how == "hangs" else "")
    mine = Worker(registry.get("pay.once"), "one")
    jobs = claim("pay.once", worker=mine)
    services.cancel(project_id=PROJECT, job_id=job, actor="user:olga")

    mine.dies(jobs) if how == "dies" else mine.run(jobs)

    row = Job.objects.get()
    assert (row.status, row.finished_at) == (Status.BLOCKED, None)
    assert Intervention.objects.get().reason == "may_have_taken_effect"


def test_one_that_is_interrupted_at_its_timeout_is_a_question_and_no_dead_letter() -> None:
    submit("pay.once", deed="hang")
    mine = Worker(registry.get("pay.once"), "one")

    mine.run(claim("pay.once", worker=mine))

    row = Job.objects.get()
    assert row.error is not None
    assert (row.status, row.error["code"]) == (Status.BLOCKED, "timeout")


def test_who_does_not_know_a_kind_does_not_run_its_jobs_again() -> None:
    """A relay that is older than the worker that it rescues."""
    submit("pay.once", 3)
    mine = Worker(registry.get("pay.once"), "one")
    claim("pay.once", worker=mine)
    known = registry._kinds.pop("pay.once")
    try:
        workers.rescue(mine.id, started=None, seen=False)
    finally:
        registry._kinds["pay.once"] = known

    assert states() == ["blocked"] * 3


def test_an_answer_that_the_database_refuses_is_a_question_too() -> None:
    """It ran, and what came of it cannot be kept; as a dead letter it would be run again with the others."""
    submit("pay.once")
    mine = Worker(registry.get("pay.once"), "one")
    (job,) = claim("pay.once", worker=mine)
    finished = judge.Finished(job, Cancel("x"), None, 0.1)

    verdict = judge.broken(judge.judge(registry.get("pay.once"), finished), "too large")

    assert (verdict.status, verdict.lane_no, verdict.limit) == (Status.BLOCKED, job.lane_no, None)
