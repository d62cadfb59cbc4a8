"""Proves from a database, and from what was seen outside of it, that a run of the platform kept its promises.

    lines = check(ask, History.read(directory))

`ask(sql, *parameters)` returns rows as dictionaries. Each line names one promise, how much was looked at, and who breaks
it. It runs when the load has ended and nothing is on its way any more (`tests/chaos/whole/running.py` waits for that).
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs import extensions
from jobs.states import DEAD_LETTERS, ENDED, TRANSITIONS, Status
from tests.chaos.whole import kinds
from tests.chaos.whole.faults import CRASHES_OF_POSTGRES
from tests.chaos.whole.history import History, Run

Ask = Callable[..., list[dict[str, Any]]]
Rows = list[dict[str, Any]]
SHOWN = 20  # of those who break a promise
JUST_BEFORE = 2.0  # seconds: what was claimed so shortly before a crash of PostgreSQL may be forgotten by it
CLOCKS = 0.05  # seconds that two readings of one machine's clock may differ by
AGAIN = frozenset({"job.retrying", "job.released", "job.woken", "job.resumed", "job.redriven"})
ANNOUNCED = "job.processing"  # part of no transition: the claim before it has no event
# Kinds of a run have one stage, and ask neither the chain nor for approval: `job.processed` is their end.
WAYS = tuple(t for t in TRANSITIONS if t.verb not in {"await_chain", "next_stage", "ask"})


@dataclass(slots=True)
class Line:
    """One promise: how many things were looked at, what was found, and whose."""

    promise: str
    looked_at: int
    said: str = ""
    broken: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether it was kept."""
        return not self.broken

    def breaks(self, job: str, how: str) -> None:
        """Somebody breaks it."""
        self.broken.append(f"{job}: {how}")
        self.jobs.append(job)


@dataclass(slots=True)
class Found:
    """What the checks look at: all of it is read once."""

    history: History
    jobs: dict[str, dict[str, Any]]
    events: dict[str, Rows]
    attempts: dict[str, Rows]
    effects: dict[str, int]
    effects_in_order: list[str]
    ask: Ask
    runs: dict[str, list[Run]] = field(default_factory=dict)

    @property
    def accepted(self) -> dict[str, str]:
        return self.history.accepted

    def acted(self, *acts: str) -> set[str]:
        """Jobs about which a client or a person has asked for one of these, whatever the answer was."""
        return {act.job for act in self.history.acts if act.what in acts}

    def excused(self, run: Run, until: float) -> bool:
        """Whether a run may have gone on without owning its job: its process was frozen, or PostgreSQL forgot the
        claim. Only what began before is excused.
        """
        for fault in self.history.faults:
            if fault.sort == "frozen" and run.pid in fault.pids:
                if fault.at - JUST_BEFORE <= until and run.began <= fault.until + JUST_BEFORE:
                    return True
            elif fault.sort in CRASHES_OF_POSTGRES and run.began - JUST_BEFORE <= fault.at <= until:
                return True
        return False


def check(ask: Ask, history: History) -> list[Line]:
    """Look at everything. Every line must be `ok`."""
    found = _read(ask, history)
    return [look(found) for look in CHECKS]


def _read(ask: Ask, history: History) -> Found:
    jobs = {
        row["id"]: row
        for row in ask(
            "select id::text, kind, status, seq, claim_no, claimed_by, attempt, max_attempts, lane, lane_no, gate, turn,"
            " cancel_requested, error, metadata, due_at, finished_at, created_at from jobs_job where kind like 'chaos.%%'"
        )
    }
    events = _grouped(
        ask(
            "select e.subject_id::text as job, e.seq, e.type, e.occurred_at from events_event e"
            " join jobs_job j on j.id = e.subject_id where j.kind like 'chaos.%%' order by e.subject_id, e.seq"
        )
    )
    attempts = _grouped(
        ask(
            "select a.job_id::text as job, a.claim_no, a.attempt, a.outcome, a.error from jobs_attempt a"
            " join jobs_job j on j.id = a.job_id where j.kind like 'chaos.%%' order by a.job_id, a.claim_no"
        )
    )
    order = [row["job"] for row in ask("select job_id::text as job from effect order by number")]
    found = Found(history, jobs, events, attempts, Counter(order), order, ask)
    for run in history.runs:
        found.runs.setdefault(run.job, []).append(run)
    return found


def _grouped(rows: Rows) -> dict[str, Rows]:
    found: dict[str, Rows] = defaultdict(list)
    for row in rows:
        found[row["job"]].append(row)
    return found


# ------------------------------------------------------------------------------------------------ accepted
def accepted_exist(found: Found) -> Line:
    line = Line("what was accepted is there, and nothing that nobody asked for", len(found.accepted))
    for job, kind in found.accepted.items():
        if job not in found.jobs:
            line.breaks(job, "accepted, and not there")
        elif found.jobs[job]["kind"] != kind:
            line.breaks(job, f"accepted as {kind}, there as {found.jobs[job]['kind']}")
    for job, row in found.jobs.items():
        if (row["metadata"] or {}).get("key") not in found.history.requests:
            line.breaks(job, "nobody has asked for it")
    for act in found.history.acts:
        if act.what == "read" and act.status not in {0, 200}:
            line.breaks(act.job, f"accepted, and reading it was answered {act.status}")
    unanswered = [r for r in found.history.requests.values() if r.ids is None]
    for request in unanswered:
        if request.status:
            line.breaks(request.key, f"was answered {request.status}")
    repeated = sum(r.tries > 1 for r in found.history.requests.values())
    line.said = f"{repeated} requests were sent more than once, {len(unanswered)} never answered"
    return line


def one_for_a_key(found: Found) -> Line:
    line = Line("no job twice for one Idempotency-Key", len(found.history.requests))
    made: dict[str, list[str]] = defaultdict(list)
    for job, row in found.jobs.items():
        made[(row["metadata"] or {}).get("key", "")].append(job)
    for key, request in found.history.requests.items():
        wanted = {len(request.kinds)} if request.ids is not None else {0, len(request.kinds)}
        if len(made[key]) not in wanted:
            line.breaks(key, f"{len(made[key])} jobs where {len(request.kinds)} were asked for: {made[key][:SHOWN]}")
        elif request.ids is not None and set(made[key]) != set(request.ids):
            line.breaks(key, "other jobs than the answer says")
    return line


# ------------------------------------------------------------------------------------------------ ends
def ended_or_blocked(found: Found) -> Line:
    line = Line("each has ended, or stands blocked with a reason and an open intervention", len(found.jobs))
    asked = {
        row["subject_id"]: row["reason"]
        for row in found.ask("select subject_id, reason from jobs_intervention where resolved_at is null")
    }
    for job, row in found.jobs.items():
        if row["status"] == Status.BLOCKED:
            if not asked.pop(job, ""):
                line.breaks(job, "blocked, and nobody is asked, or no reason is given")
        elif row["status"] not in ENDED:
            line.breaks(job, f"still {row['status']} (gate {row['gate']}, due {row['due_at']})")
        elif row["finished_at"] is None:
            line.breaks(job, f"{row['status']} at no time")
    for job in asked.keys() & found.jobs.keys():
        line.breaks(job, f"{found.jobs[job]['status']}, and a person is still asked")
    counts = Counter(row["status"] for row in found.jobs.values())
    line.said = ", ".join(f"{number} {status}" for status, number in counts.most_common())
    return line


def ended_as_promised(found: Found) -> Line:
    """Processes that die may use up a job's attempts; and a client or a person may decide otherwise."""
    line = Line("each ended as its kind must: otherwise only by a decision, or by its last attempt", len(found.jobs))
    cancelled, decided = found.acted("cancel", "skip"), found.acted(*("resume", "retry", "skip", "supply"))
    for job, row in found.jobs.items():
        if row["kind"] not in kinds.ALL:
            line.breaks(job, f"of the unknown kind {row['kind']}")
        elif row["status"] == Status.CANCELLED and job not in cancelled:
            line.breaks(job, "cancelled, and nobody asked for that")
        elif (
            row["status"] not in {*kinds.ALL[row["kind"]].ends, Status.CANCELLED}
            and job not in decided
            and not _attempts_used_up(row)
        ):
            line.breaks(job, f"{row['kind']} ended {row['status']}: {row['error']}")
    by_death = sum(
        _attempts_used_up(row) and row["status"] not in kinds.ALL[row["kind"]].ends for row in found.jobs.values()
    )
    line.said = f"{len(cancelled)} were asked to be cancelled, {by_death} ended by the death of their process"
    return line


def _attempts_used_up(row: Mapping[str, Any]) -> bool:
    died = (row["error"] or {}).get("code") in {"worker_died", "timeout"}
    return died and row["status"] in {*DEAD_LETTERS, Status.BLOCKED}


def cancelled_stay(found: Found) -> Line:
    far = [
        job for request in found.history.requests.values() if request.due_in > 600 for job in request.ids or []
    ]  # far enough ahead that they were all cancelled before
    line = Line("what was cancelled before it was due has never run", len(far))
    for job in far:
        if job in found.jobs and found.jobs[job]["status"] != Status.CANCELLED:
            line.breaks(job, f"is {found.jobs[job]['status']}")
        if job in found.runs or found.effects[job]:
            line.breaks(job, "has run")
    return line


# ------------------------------------------------------------------------------------------------ events
def events_without_gaps(found: Found) -> Line:
    line = Line("the events of each job are numbered from 1 without a gap", sum(map(len, found.events.values())))
    for job, row in found.jobs.items():
        numbers = [event["seq"] for event in found.events.get(job, [])]
        if numbers != list(range(1, row["seq"] + 1)):
            line.breaks(job, f"{numbers} where its row says {row['seq']}")
    return line


def events_a_legal_path(found: Found) -> Line:
    line = Line("the events of each job are a legal path to the status that it has", len(found.jobs))
    seen: Counter[tuple[str, ...]] = Counter()
    for job, row in found.jobs.items():
        types = tuple(event["type"] for event in found.events.get(job, []))
        seen[types] += 1
        if wrong := illegal(types, row["status"]):
            line.breaks(job, wrong)
    line.said = f"{len(seen)} different paths"
    return line


def illegal(types: Sequence[str], status: str) -> str:
    """Why these events are no path to this status; empty: they are one."""
    states: set[Status | None] = {None}
    for number, name in enumerate(types, 1):
        before = states
        states = _moved(states, name)
        if not states:
            return f"event {number} {name} after {'/'.join(sorted(str(state) for state in before))}: {list(types)}"
    if Status(status) not in states | _silent(states):
        return f"is {status}, its events end at {'/'.join(sorted(str(state) for state in states))}: {list(types)}"
    return ""


def _moved(states: set[Status | None], name: str) -> set[Status | None]:
    if name == ANNOUNCED:
        return _silent(states)
    return {t.target for t in WAYS if t.event == name and t.source in states | _silent(states)}


def _silent(states: set[Status | None]) -> set[Status | None]:
    return {t.target for t in WAYS if t.event is None and t.source in states}


# ------------------------------------------------------------------------------------------------ effects
def effects_within_once(found: Found) -> Line:
    promised = {job: row for job, row in found.jobs.items() if kinds.ALL[row["kind"]].within}
    line = Line("an effect within the commit happened exactly once for each job done, never otherwise", len(promised))
    for job in promised.keys() | found.effects.keys():
        done = sum(attempt["outcome"] == "done" for attempt in found.attempts.get(job, []))
        if found.effects[job] != done or done > 1:
            line.breaks(job, f"{found.effects[job]} effects, done {done} times")
    line.said = f"{sum(found.effects.values())} effects"
    return line


def done_have_run(found: Found) -> Line:
    """A plain handler runs at least once; supplied outputs need no run."""
    done = {job for job, rows in found.attempts.items() if any(row["outcome"] == "done" for row in rows)}
    line = Line("what is done has run, and is done once", len(done))
    for job in done:
        if sum(row["outcome"] == "done" for row in found.attempts[job]) != 1:
            line.breaks(job, "done more than once")
        if not any(run.ended is not None for run in found.runs.get(job, [])):
            line.breaks(job, "done, and no run of it has come to its end")
    supplied = found.acted("supply")
    for job, row in found.jobs.items():
        if row["status"] == Status.PROCESSED and job not in done | supplied:
            line.breaks(job, "processed, and no attempt says so")
    runs = sum(map(len, found.runs.values()))
    line.said = f"{runs} runs; {sum(len(r) > 1 for r in found.runs.values())} jobs ran more than once"
    return line


def no_run_without_cause(found: Found) -> Line:
    line = Line("each run after the first has its cause in the log, or PostgreSQL crashed", len(found.runs))
    forgotten = 0
    for job, runs in found.runs.items():
        causes = sum(event["type"] in AGAIN for event in found.events.get(job, []))
        extra = len(runs) - 1 - causes
        if extra <= 0:
            continue
        if sum(found.excused(run, later.began) for run, later in itertools.pairwise(runs)) >= extra:
            forgotten += 1
        else:
            line.breaks(job, f"{len(runs)} runs, {causes} causes")
    line.said = f"{forgotten} jobs ran again because a crash of PostgreSQL forgot their claim, or who froze owned them"
    return line


def one_owner(found: Found) -> Line:
    line = Line("one live owner at a time", sum(map(len, found.runs.values())))
    excused = 0
    for job, runs in found.runs.items():
        for run, later in itertools.pairwise(sorted(runs, key=lambda run: run.began)):
            if run.ended is None or later.began >= run.ended:
                continue
            if found.excused(run, later.began) or found.excused(later, later.began):
                excused += 1
            else:
                line.breaks(
                    job, f"runs in {later.pid} while {run.pid} runs it (attempts {run.attempt}, {later.attempt})"
                )
    line.said = f"{excused} overlaps, all of an owner that was frozen or whose claim PostgreSQL forgot: fenced off"
    return line


def once_at_most(found: Found) -> Line:
    jobs = [job for job, row in found.jobs.items() if kinds.ALL[row["kind"]].once]
    line = Line("what may run once at most began once at most, unless a person let it go on", len(jobs))
    for job in jobs:
        granted = 1 + sum(event["type"] in {"job.resumed", "job.redriven"} for event in found.events.get(job, []))
        if len(found.runs.get(job, [])) > granted:
            line.breaks(job, f"began {len(found.runs[job])} times, was granted {granted}")
    return line


def never_early(found: Found) -> Line:
    delayed = {job: r for r in found.history.requests.values() if 0 < r.due_in < 600 for job in r.ids or []}
    line = Line("nothing ran before it was due", len(delayed))
    for job, request in delayed.items():
        early = min((run.wall for run in found.runs.get(job, [])), default=request.wall + request.due_in)
        if early < request.wall + request.due_in - CLOCKS:
            line.breaks(job, f"ran {request.wall + request.due_in - early:.3f} s too early")
    return line


# ------------------------------------------------------------------------------------------------ lanes, limits
def lanes_in_order(found: Found) -> Line:
    """Inside of the commits: exactly. Outside: all runs, but those of owners that were frozen or forgotten."""
    numbers = {job: (row["lane"], row["lane_no"]) for job, row in found.jobs.items() if row["lane"] is not None}
    line = Line("the jobs of a lane ran one after the other, in the order of their creation", len(numbers))
    for job, other in _out_of_order(numbers, (job for job in found.effects_in_order if job in numbers)):
        line.breaks(job, f"took effect after {other}, which comes behind it in its lane")
    runs = sorted(
        (run for job in numbers for run in found.runs.get(job, []) if not found.excused(run, run.ended or run.began)),
        key=lambda run: run.began,
    )
    for job, other in _out_of_order(numbers, (run.job for run in runs)):
        if "job.redriven" not in {event["type"] for event in found.events.get(job, [])}:
            line.breaks(job, f"ran after {other}, which comes behind it in its lane")
    last: dict[str, Run] = {}
    for run in runs:
        lane = numbers[run.job][0]
        before = last.get(lane)
        if before and before.job != run.job and before.ended is not None and run.began < before.ended:
            line.breaks(run.job, f"ran beside {before.job} of its lane")
        last[lane] = run
    # Each lane has one client, who waits for an answer before it asks for more: in the order of its own requests.
    posted = (job for request in found.history.requests.values() for job in request.ids or [] if job in numbers)
    for job, other in _out_of_order(numbers, posted):
        line.breaks(job, f"was posted after {other}, which comes behind it in its lane")
    line.said = f"{len({lane for lane, _ in numbers.values()})} lanes"
    return line


def _out_of_order(numbers: Mapping[str, tuple[str, int]], order: Iterable[str]) -> list[tuple[str, str]]:
    highest: dict[str, tuple[int, str]] = {}
    wrong: list[tuple[str, str]] = []
    for job in order:
        lane, number = numbers[job]
        if lane in highest and number < highest[lane][0]:
            wrong.append((job, highest[lane][1]))
        highest[lane] = max(highest.get(lane, (0, "")), (number, job))
    return wrong


def limits_kept(found: Found) -> Line:
    """From the reported begins and ends. A run without an end is left out: nobody knows how long it held its place;
    and so are runs of owners that were frozen or forgotten.
    """
    line = Line("no limit of jobs that run at once was exceeded, and none is held at the end", 0)
    by_key: dict[tuple[str, str], list[Run]] = defaultdict(list)
    for row in found.ask(
        "select id::text, kind, payload ->> 'account' as account from jobs_job where kind like 'chaos.%%'"
    ):
        if kinds.ALL[row["kind"]].limit is not None:
            runs = found.runs.get(row["id"], [])
            by_key[row["kind"], row["account"] or ""] += [
                run for run in runs if run.ended is not None and not found.excused(run, run.ended)
            ]
    peaks: list[str] = []
    for (kind, account), runs in sorted(by_key.items()):
        limit = kinds.ALL[kind].limit or 0
        line.looked_at += len(runs)
        peak, job = _peak(runs)
        peaks.append(f"{peak} of {limit}")
        if peak > limit:
            line.breaks(job, f"{peak} of {kind} {account} at once, where {limit} may run")
    for row in found.ask("select name, key, in_use from jobs_limitkey where in_use <> 0"):
        line.breaks(f"{row['name']} {row['key']}", f"{row['in_use']} in use, and nothing runs")
    line.said = f"at most {', '.join(peaks)}" if peaks else ""
    return line


def _peak(runs: Iterable[Run]) -> tuple[int, str]:
    """How many ran at once at most, and who came last then."""
    moments = sorted(
        [(run.began, 1, run.job) for run in runs] + [(run.ended or run.began, -1, run.job) for run in runs]
    )
    now, peak, who = 0, 0, ""
    for _, step, job in moments:
        now += step
        if now > peak:
            peak, who = now, job
    return peak, who


# ------------------------------------------------------------------------------------------------ what is left
def nothing_left(found: Found) -> Line:
    questions = {
        "a claim without an owner that lives": "select j.id::text from jobs_job j left join jobs_worker w on"
        " w.id = j.claimed_by where j.status = 'processing' and (w.id is null or w.stopped_at is not null)",
        "claimed, though it does not run": "select id::text from jobs_job where claimed_by is not null"
        " and status <> 'processing'",
        "a doorbell of a dead worker": "select d.id::text from jobs_doorbell d join jobs_worker w on"
        " w.id = d.answered_by where w.stopped_at is not null",
        "a worker that is silent and not buried": "select id::text from jobs_worker where stopped_at is null"
        " and heartbeat_at < clock_timestamp() - interval '60 seconds'",
        "a closed gate where nobody goes before": "select id::text from jobs_job j where gate & 1 <> 0"
        " and status = 'queued' and not exists (select 1 from jobs_job b where b.project_id = j.project_id"
        " and b.lane = j.lane and b.lane_no < j.lane_no and b.status in ('queued', 'processing', 'parked', 'blocked'))",
    }
    line = Line("no claim, doorbell, closed gate or unique key is left of who has gone", len(questions))
    for what, question in questions.items():
        for row in found.ask(question):
            line.breaks(row["id"], what)
    return line


def log_read_once(found: Found) -> Line:
    line = Line("the consumer of the log has seen every event of every job once, and in order", 0)
    rows = found.ask("select event_id, subject_id::text as job, seq from seen order by number")
    line.looked_at = len(rows)
    doubled = [row for row, number in Counter(row["event_id"] for row in rows).items() if number > 1]
    for event in doubled:
        line.breaks(str(event), "seen more than once")
    seen: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        seen[row["job"]].append(row["seq"])
    for job, row in found.jobs.items():
        if seen.get(job, []) != list(range(1, row["seq"] + 1)):
            line.breaks(job, f"seen {seen.get(job, [])}, there are {row['seq']}")
    for row in found.ask("select name, error from events_consumer where failures > 0"):
        line.breaks(row["name"], row["error"])
    return line


def nothing_between_two_states(found: Found) -> Line:
    line = Line("no invariant finds anything that stands between two states", len(extensions.invariants))
    for name, invariant in extensions.invariants:
        for row in found.ask(invariant.sql):
            line.breaks(str(row["id"]), name)
    return line


CHECKS: tuple[Callable[[Found], Line], ...] = (
    accepted_exist,
    one_for_a_key,
    ended_or_blocked,
    ended_as_promised,
    cancelled_stay,
    events_without_gaps,
    events_a_legal_path,
    effects_within_once,
    done_have_run,
    no_run_without_cause,
    one_owner,
    once_at_most,
    never_early,
    lanes_in_order,
    limits_kept,
    nothing_left,
    log_read_once,
    nothing_between_two_states,
)
