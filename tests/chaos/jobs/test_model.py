"""Random commands against a model (T67): after each of them the engine's rows are what the model says.

The commands: create, claim, run, die, answer late, cancel, retry, decide, pause, resume, let time pass. At the end the
commands stop, and all that can end ends. Hypothesis shrinks what fails to the shortest list of commands.
"""

import datetime as dt
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import BaseModel

from events import log
from jobs import (
    Block,
    Cancel,
    Done,
    Lane,
    Limit,
    Park,
    Reject,
    Retry,
    Run,
    exponential,
    handler,
    interventions,
    lanes,
    limits,
    pauses,
    registry,
    services,
    shelves,
    store,
    workers,
)
from jobs.bell import bell
from jobs.errors import WrongStatus
from jobs.extensions import Decision
from jobs.judge import released
from jobs.models import Intervention
from jobs.outcomes import Outcome
from jobs.services import JobRequest
from jobs.store import Claimed, Move, NewJob, Verdict
from tests.chaos.jobs.modelled import (
    AT_ONCE,
    DEEDS,
    ENDED,
    KINDS,
    LIMITED,
    MOST,
    ONCE,
    ORDERED,
    PLAIN,
    Modelled,
    eligible,
    room,
)
from tests.chaos.whole.checker import illegal
from tests.contracts.deliveries import PROJECT, Worker

pytestmark = [pytest.mark.chaos]

LATER = dt.timedelta(hours=1)
TABLES = (
    "jobs_job, jobs_shelf, jobs_lane, jobs_limitkey, jobs_attempt, jobs_intervention, jobs_worker, jobs_pause,"
    " jobs_doorbell, events_event"
)
ROUNDS = 200


class Deed(BaseModel):
    """What the handler does, by whom it is ordered and limited."""

    account: str = "a"
    deed: str = "done"
    first: bool = True


parked: set[UUID] = set()


def perform(job: Run[Deed]) -> Outcome:
    match job.payload.deed:
        case "fail":
            raise ValueError
        case "fail_once" if job.attempt == 1:
            raise ValueError
        case "block":
            return Block("a person must look")
        case "reject":
            return Reject("not_wanted", "nobody wants it")
        case "cancel":
            return Cancel("not needed")
        case "park" if job.id not in parked and job.kind != ONCE:
            parked.add(job.id)
            return Park(60)
    return Done()


@pytest.fixture
def kinds() -> Iterator[None]:
    before = dict(registry._kinds)
    retry = Retry(max_attempts=MOST, backoff=exponential(60, factor=1, cap=60))
    options: dict[str, dict[str, Any]] = {
        PLAIN: {"retry": retry},
        ORDERED: {"retry": retry, "lane": Lane(("account",))},
        LIMITED: {"retry": retry, "limit": Limit(concurrency=AT_ONCE, by=("account",))},
        ONCE: {"retry": Retry.never()},
    }
    for name, policy in options.items():
        handler(name, payload=Deed, **policy)(perform)
    yield
    bell.hang_up()
    registry._kinds.clear()
    registry._kinds.update(before)


def claim(worker: Worker, batch: int) -> list[Claimed]:
    """What a pump does: jobs that come back alone are looked for as well."""
    kind = worker.kind
    for capped in (False, True):
        how: dict[str, Any] = {"worker": worker.id, "capped": capped}
        if kind.limit is not None:
            jobs = limits.claim(kind, batch, **how)
        else:
            jobs = store.claim_many(kind.name, batch=batch, **how)
        if jobs:
            return jobs
    return []


class Commands(RuleBasedStateMachine):
    """The engine and its model, told the same things."""

    @initialize()
    def begin(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(f"truncate {TABLES}")
        log.move_clock(dt.timedelta())
        shelves.forget()
        parked.clear()
        self.jobs: dict[str, Modelled] = {}
        self.order = 0
        self.hours = 0
        self.paused: dict[str, UUID] = {}
        self.busy: dict[str, tuple[Worker, list[Claimed]]] = {}  # by kind and number
        self.dead: list[tuple[Worker, list[Claimed]]] = []

    def some(self, data: st.DataObject) -> Modelled:
        return self.jobs[data.draw(st.sampled_from(list(self.jobs)), label="job")]

    def relay(self) -> None:
        """What the relay does every second."""
        while services.wake_parked():
            pass
        lanes.sweep()
        limits.sweep()
        pauses.apply()
        shelves.sweep()

    # -- commands

    @rule(
        kind=st.sampled_from(KINDS),
        accounts=st.lists(st.sampled_from("ab"), min_size=1, max_size=4),
        deeds=st.lists(st.sampled_from(DEEDS), min_size=4, max_size=4),
    )
    def create(self, kind: str, accounts: list[str], deeds: list[str]) -> None:
        asked = list(zip(accounts, deeds, strict=False))
        requests = [JobRequest(kind, {"account": account, "deed": deed}) for account, deed in asked]
        made = services.submit_many(project_id=PROJECT, requests=requests)
        for job, (account, deed) in zip(made, asked, strict=True):
            self.order += 1
            self.jobs[str(job.id)] = Modelled(str(job.id), kind, account, deed, self.order)

    @rule(kind=st.sampled_from(KINDS), number=st.integers(1, 2), batch=st.integers(1, 5))
    def claim(self, kind: str, number: int, batch: int) -> None:
        name = f"{kind} {number}"
        if name not in self.busy:
            self.claim_by(name, Worker(registry.get(kind), name), 1 if kind == ONCE else batch)

    def claim_by(self, name: str, worker: Worker, batch: int) -> None:
        self.relay()
        kind = worker.kind.name
        may = [] if kind in self.paused else eligible(self.jobs.values(), kind)
        jobs = claim(worker, batch)
        taken = [self.jobs[str(job.id)] for job in jobs]
        assert {job.id for job in taken} <= {job.id for job in may}
        assert len(jobs) <= batch
        assert bool(jobs) == bool(may), f"{len(may)} of {kind} may run"
        for job in taken:
            if kind == LIMITED:
                assert room(self.jobs.values(), job.account) > 0
            job.claimed()
        if jobs:
            self.busy[name] = worker, jobs

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def run(self, data: st.DataObject) -> None:
        self.run_by(data.draw(st.sampled_from(sorted(self.busy)), label="worker"))

    def run_by(self, name: str) -> None:
        worker, jobs = self.busy.pop(name)
        worker.run(list(jobs))
        for job in jobs:
            self.jobs[str(job.id)].ran()

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        """A worker dies at one of its jobs; its parent has seen at which."""
        worker, jobs = self.busy.pop(data.draw(st.sampled_from(sorted(self.busy)), label="worker"))
        at = data.draw(st.sampled_from(jobs), label="at")
        workers.rescue(worker.id, started=(at.id, at.claim_no), seen=True)
        for job in jobs:
            self.jobs[str(job.id)].owner_died(had_started=job is at)
        self.dead.append((worker, jobs))

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def vanish(self, data: st.DataObject) -> None:
        """A worker dies unseen: nobody knows at which of its jobs. Only one that was alone is charged."""
        worker, jobs = self.busy.pop(data.draw(st.sampled_from(sorted(self.busy)), label="worker"))
        workers.rescue(worker.id, started=None, seen=False)
        for job in jobs:
            self.jobs[str(job.id)].owner_died(had_started=len(jobs) == 1)
        self.dead.append((worker, jobs))

    @precondition(lambda self: self.dead)
    @rule()
    def answer_late(self) -> None:
        """Who was thought dead runs what it has: every answer is dropped."""
        worker, jobs = self.dead.pop()
        seen = set(parked)
        counts = worker.run(list(jobs))
        parked.clear()
        parked.update(seen)
        assert counts == {"late": len(jobs)}

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        job = self.some(data)
        self.told(job.cancelled(), lambda: services.cancel(project_id=PROJECT, job_id=UUID(job.id), actor="tests"))

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        job = self.some(data)
        self.order += 1
        self.told(
            job.retried(self.order), lambda: services.retry(project_id=PROJECT, job_id=UUID(job.id), actor="tests")
        )

    @precondition(lambda self: any(job.status == "blocked" for job in self.jobs.values()))
    @rule(data=st.data(), action=st.sampled_from(["resume", "retry", "skip", "supply"]))
    def decide(self, data: st.DataObject, action: str) -> None:
        blocked = [job for job in self.jobs.values() if job.status == "blocked"]
        job = blocked[data.draw(st.integers(0, len(blocked) - 1), label="blocked")]
        asked = Intervention.objects.get(subject_id=job.id, resolved_at=None)
        output = {"by": "hand"} if action == "supply" else None
        interventions.resolve(asked, Decision(action, "tests", "by chance", output=output))
        assert job.decided(action)

    @rule(kind=st.sampled_from(KINDS))
    def pause_or_resume(self, kind: str) -> None:
        if (pause := self.paused.pop(kind, None)) is not None:
            pauses.resume(pause_id=pause, project_id=None, actor="tests")
        else:
            self.paused[kind] = pauses.pause(actor="tests", reason="by chance", kind=kind).id

    @rule()
    def pass_time(self) -> None:
        self.hours += 1
        log.move_clock(self.hours * LATER)
        self.relay()
        for job in self.jobs.values():
            job.time_passed()

    def told(self, may: bool, verb: Any) -> None:
        """The engine does it, or refuses, as the model says."""
        if may:
            verb()
        else:
            with pytest.raises(WrongStatus):
                verb()

    # -- what must hold

    @invariant()
    def rows_are_as_the_model_says(self) -> None:
        if not getattr(self, "jobs", None):
            return
        with connection.cursor() as cursor:
            cursor.execute("select id::text, status, attempt, claim_no from jobs_job")
            rows = {row[0]: tuple(row[1:]) for row in cursor.fetchall()}
            cursor.execute("select key, in_use from jobs_limitkey")
            in_use = dict(cursor.fetchall())
            cursor.execute("select subject_id from jobs_intervention where resolved_at is null")
            asked = {row[0] for row in cursor.fetchall()}
        assert rows == {job.id: job.row for job in self.jobs.values()}
        assert all(number == AT_ONCE - room(self.jobs.values(), account) for account, number in in_use.items())
        assert asked == {job.id for job in self.jobs.values() if job.status == "blocked"}

    def teardown(self) -> None:
        if getattr(self, "jobs", None):
            self.drain()
            self.rows_are_as_the_model_says()
            self.events_are_as_the_model_says()

    def drain(self) -> None:
        """Nothing is told any more: all that can end ends."""
        for kind in list(self.paused):
            self.pause_or_resume(kind)
        for name in sorted(self.busy):
            self.run_by(name)
        for _ in range(ROUNDS):
            if not any(job.waits for job in self.jobs.values()) and not any(self.may_run()):
                break
            self.pass_time()
            for kind in KINDS:
                self.claim_by(kind, Worker(registry.get(kind), "last"), 1 if kind == ONCE else 50)
                if kind in self.busy:
                    self.run_by(kind)
        for job in self.jobs.values():
            assert job.status in ENDED | {"blocked"} or self.stands_behind_a_blocked(job), job

    def may_run(self) -> Iterator[Modelled]:
        for kind in KINDS:
            yield from eligible(self.jobs.values(), kind)

    def stands_behind_a_blocked(self, job: Modelled) -> bool:
        return job.kind == ORDERED and any(
            other.status == "blocked" and other.account == job.account and other.order < job.order
            for other in self.jobs.values()
            if other.kind == ORDERED
        )

    def events_are_as_the_model_says(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("select subject_id::text, seq, type from events_event where type like 'job.%' order by seq")
            found: dict[str, list[tuple[int, str]]] = {}
            for subject, seq, name in cursor.fetchall():
                found.setdefault(subject, []).append((seq, name))
        for job in self.jobs.values():
            assert found[job.id] == list(enumerate(job.events, 1)), job
            assert illegal(job.events, job.status) == ""


def play(examples: int, steps: int, *, shrink: bool = True, derandomize: bool = False) -> None:
    run_state_machine_as_test(
        Commands,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
            report_multiple_bugs=False,
            derandomize=derandomize,
            database=None,
        ),
    )


@pytest.mark.timeout(300)
@pytest.mark.usefixtures("database", "kinds")
def test_the_engine_does_what_the_model_says() -> None:
    play(examples=25, steps=40)


def lost_attempt(job: Any, reason: str, **more: Any) -> Verdict:
    return replace(released(job, reason, **more), extra=None)


def open_gates(rows: Sequence[NewJob], enter: Any = lanes.enter) -> None:
    enter(rows)
    for row in rows:
        row.gate = 0


BUGS: dict[str, tuple[Any, str, Any]] = {
    "nobody wakes the parked": (services, "wake_parked", lambda: 0),
    "a job that comes back unharmed pays": (workers, "released", lost_attempt),
    "a follower in a lane is open": (lanes, "enter", open_gates),
    "a job enters its lane again at its old place": (lanes, "enter_again", lambda job: Move(job.id, job.project_id)),
    "who waits for a limit is forgotten": (limits, "give_back", lambda *_args, **_more: []),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("bug", BUGS)
@pytest.mark.usefixtures("database", "kinds")
def test_a_planted_bug_is_found(monkeypatch: pytest.MonkeyPatch, bug: str) -> None:
    monkeypatch.setattr(*BUGS[bug])
    with pytest.raises(AssertionError):
        play(examples=60, steps=40, shrink=False, derandomize=True)


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("database", "kinds")
def test_the_engine_does_what_the_model_says_for_twenty_minutes() -> None:
    play(examples=1500, steps=60)
