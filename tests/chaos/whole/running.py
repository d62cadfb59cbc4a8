"""A chaos run: load and faults for a time, then quiet until all has ended, then the checker."""

import contextlib
import itertools
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.whole import checker
from tests.chaos.whole.checker import Line
from tests.chaos.whole.faults import LONGEST_FREEZE, SORTS, Faults, Planned, schedule
from tests.chaos.whole.fleet import Fleet
from tests.chaos.whole.history import History, Journal, Run
from tests.chaos.whole.kinds import ALL, Promise
from tests.chaos.whole.load import Api, Client, decide

Say = Callable[[str], None]
TURN = 0.05  # seconds of a round of the main loop
DRAINED_WITHIN = 420.0  # seconds from the last fault until all has ended
SETTLED_WITHIN = 90.0  # seconds until the dead are buried and the log is read
TOLD = 10  # jobs
ENDS = ("job.processed", "job.failed", "job.rejected", "job.cancelled")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do. `pace`: requests a second of all clients together; `between`: seconds from one fault to the next."""

    seed: str
    seconds: float
    pace: float = 6.0
    clients: int = 3
    between: tuple[float, float] = (4.0, 14.0)
    sorts: tuple[str, ...] = tuple(SORTS)
    longest: float = LONGEST_FREEZE
    promises: Mapping[str, Promise] = field(default_factory=lambda: ALL)


@dataclass(slots=True)
class Outcome:
    """What a run has shown. Recovery times are in seconds."""

    plan: Plan
    lines: list[Line]
    history: History
    by_status: dict[str, int]
    recovered: dict[str, list[float]]  # by sort of fault: until the next job ended
    again: list[float]  # from the death of a process until what it ran began again
    drained_after: float | None  # after the last fault; None: not all has ended
    lost_answers: int = 0
    took: float = 0.0
    stories: str = ""  # of jobs that broke a promise

    @property
    def ok(self) -> bool:
        """The all-clear."""
        return self.drained_after is not None and all(line.ok for line in self.lines)


class Chaos:
    """Load and faults on a fleet."""

    def __init__(self, fleet: Fleet, plan: Plan, say: Say = lambda _: None) -> None:
        self.fleet = fleet
        self.plan = plan
        self.say = say
        self.journal = Journal(fleet.directory)
        self.api = Api(fleet.base_url, fleet.api_key)
        self.faults = Faults(fleet, self.journal, longest=plan.longest)
        self._person = random.Random(f"{plan.seed}/person")
        self._clients = [
            Client(
                number, seed=plan.seed, api=self.api, journal=self.journal,
                pace=plan.pace / plan.clients, promises=plan.promises,
            )
            for number in range(plan.clients)
        ]  # fmt: skip

    def run(self, meanwhile: Callable[[float], bool] = lambda _: False) -> Outcome:
        """All of it. `meanwhile` is called at each turn, with the seconds since the start; True: it has not done yet."""
        began = time.monotonic()
        planned = schedule(self.plan.seed, self.plan.seconds, self.plan.between, self.plan.sorts)
        for client in self._clients:
            client.start()
        try:
            while meanwhile(now := time.monotonic() - began) or now < self.plan.seconds:
                self._turn(planned, now)
                time.sleep(TURN)
        finally:
            self._calm()
        last = time.monotonic()
        self._join()
        drained = self._drained()
        drained_after = time.monotonic() - last if drained else None
        self._settle()
        self.journal.close()
        return self._look(drained_after, time.monotonic() - began)

    def _turn(self, planned: list[Planned], now: float) -> None:
        self.faults.thaw()
        self.fleet.tend()
        if planned and planned[0].at <= now:
            fault = planned.pop(0)
            before = len(self.journal.history.faults)
            self.faults.do(fault)
            for done in self.journal.history.faults[before:]:
                self.say(f"{now:6.1f} s  {done.sort}: {done.victim} {done.detail}".rstrip())

    def _calm(self) -> None:
        self.faults.thaw(everything=True)
        self.fleet.wire.disarm()
        self.fleet.held.clear()
        for client in self._clients:
            client.stop()

    def _join(self) -> None:
        self.fleet.wait_until(
            lambda: not any(client.is_alive() for client in self._clients), "the clients to end", seconds=600
        )
        for client in self._clients:
            if client.error is not None:
                raise client.error

    # -- the end

    def _drained(self) -> bool:
        """Wait until each job has ended or stands blocked; a person moves on the lanes that are blocked."""
        open_jobs = "select count(*) as n from jobs_job where kind like 'chaos.%%' and status = any(%s)"
        waiting = ["queued", "processing", "parked"]

        def ended() -> bool:
            self._free_lanes()
            return bool(self.fleet.rows(open_jobs, waiting)[0]["n"] == 0)

        with contextlib.suppress(AssertionError):
            self.fleet.wait_until(ended, "the end of all jobs", seconds=DRAINED_WITHIN)
            return True
        return False

    def _free_lanes(self) -> None:
        held = (
            "select i.id::text, i.subject_id from jobs_intervention i join jobs_job j on j.id = i.subject_id::uuid"
            " where i.resolved_at is null and i.subject_type = 'job' and j.lane is not null"
        )
        for row in self.fleet.rows(held):
            decide(self.api, self.journal, row, self._person.choice(["skip", "supply"]))

    def _settle(self) -> None:
        """Until nobody is left to be buried and the log is read to its end; what is not then, the checker finds."""
        open_ends = (
            "select (select count(*) from jobs_worker where stopped_at is null"
            "         and heartbeat_at < clock_timestamp() - interval '8 seconds')"
            " + (select count(*) from jobs_doorbell d join jobs_worker w on w.id = d.answered_by"
            "    where w.stopped_at is not null)"
            " + (select count(*) from events_event e join jobs_job j on j.id = e.subject_id"
            "    where j.kind like 'chaos.%%') - (select count(*) from seen s join jobs_job j on j.id = s.subject_id"
            "    where j.kind like 'chaos.%%') as n"
        )
        with contextlib.suppress(AssertionError):
            self.fleet.wait_until(lambda: self.fleet.rows(open_ends)[0]["n"] == 0, "the rest", seconds=SETTLED_WITHIN)

    def _look(self, drained_after: float | None, took: float) -> Outcome:
        history = History.read(self.fleet.directory)
        lines = checker.check(self.fleet.rows, history)
        rows = self.fleet.rows("select status, count(*) as n from jobs_job where kind like 'chaos.%%' group by 1")
        ends = self.fleet.rows(
            "select extract(epoch from occurred_at)::float8 as at from events_event where type = any(%s)"
            " order by occurred_at",
            list(ENDS),
        )
        return Outcome(
            self.plan,
            lines,
            history,
            {row["status"]: row["n"] for row in rows},
            _recovered(history, [row["at"] for row in ends]),
            _again(history),
            drained_after,
            self.api.lost,
            took,
            self._stories(lines, history),
        )

    def _stories(self, lines: Sequence[Line], history: History) -> str:
        """Row, events, attempts and runs of the jobs that broke a promise."""
        questions = (
            "select * from jobs_job where id::text = %s",
            "select seq, type, occurred_at, data from events_event where subject_id::text = %s order by seq",
            "select * from jobs_attempt where job_id::text = %s order by claim_no",
        )
        parts: list[str] = []
        for job in list(dict.fromkeys(job for line in lines for job in line.jobs))[:TOLD]:
            parts.append(f"== {job}")
            parts += [str(row) for question in questions for row in self.fleet.rows(question, job)]
            parts += [str(run) for run in history.runs if run.job == job]
        return "\n".join(parts)


def _recovered(history: History, ends: Sequence[float]) -> dict[str, list[float]]:
    """By sort of fault: the seconds until the next job ended."""
    found: dict[str, list[float]] = {}
    for fault in history.faults:
        after = next((at for at in ends if at > fault.wall), None)
        if after is not None:
            found.setdefault(fault.sort, []).append(after - fault.wall)
    return found


def _again(history: History) -> list[float]:
    """Of runs that ended with their process: the seconds until the job began again."""
    by_job: dict[str, list[Run]] = {}
    for run in history.runs:
        by_job.setdefault(run.job, []).append(run)
    deaths = [fault for fault in history.faults if fault.sort.endswith("killed") and fault.pids]
    found: list[float] = []
    for fault in deaths:
        for runs in by_job.values():
            for run, later in itertools.pairwise(runs):
                if run.ended is None and run.pid in fault.pids and run.began < fault.at < later.began:
                    found.append(later.began - fault.at)
    return found


def middle(values: Sequence[float]) -> float:
    """The median; 0 of nothing."""
    return statistics.median(values) if values else 0.0


def as_json(outcome: Outcome) -> dict[str, Any]:
    """An outcome as a report keeps it."""
    return {
        "seed": outcome.plan.seed,
        "seconds": outcome.plan.seconds,
        "ok": outcome.ok,
        "jobs": outcome.by_status,
        "requests": len(outcome.history.requests),
        "answers_lost": outcome.lost_answers,
        "runs": len(outcome.history.runs),
        "drained_after": outcome.drained_after,
        "faults": [
            {"sort": f.sort, "victim": f.victim, "wall": f.wall, "detail": f.detail} for f in outcome.history.faults
        ],
        "recovered": outcome.recovered,
        "began_again": outcome.again,
        "checks": [
            {
                "promise": line.promise,
                "ok": line.ok,
                "looked_at": line.looked_at,
                "said": line.said,
                "broken": line.broken,
            }
            for line in outcome.lines
        ],
    }
