"""Our side: the platform's own processes and its public Python face, behind the same command line as the peers.

    python -m benchmarks.ours prepare | enqueue N | drain N | pickup N     as in benchmarks/peers/protocol.py
    python -m benchmarks.ours lifecycle N     create and process at once  -> {"jobs", "seconds"}
    python -m benchmarks.ours keyed N         as enqueue; each has one of 1,000 lanes, 100 limit keys, 200 projects
    python -m benchmarks.ours drain_two N     as drain; with the workers of two machines
    python -m benchmarks.ours memory N        as drain; what the processes of the worker gained -> {"gained", "held"}
    python -m benchmarks.ours steady S        create and process for S seconds  -> {"jobs", "first", "last"}
    python -m benchmarks.ours paced S         the same at 1,000 jobs a second
    python -m benchmarks.ours behind          how far the consumers of the log are behind  -> {"lag", "open"}

Nothing here is written for speed: jobs are created by `jobs.services.submit_many`, workers are `celery worker` with
task events on, doorbells come from `manage.py relay`, and the handlers are registered like a user's. After each run
SQL checks every row that the engine should have left behind.
"""

import io
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from uuid import UUID

import django
import psutil
import psycopg
from django.core.management import call_command
from django.db import transaction

from benchmarks import ours_chain, ours_redrive, recorder
from benchmarks.peers import protocol

CREATED_AT_ONCE = 1000
NOOP, PICK_UP, KEYED = "bench.noop", "bench.pick_up", "bench.keyed"
PROJECTS, LANES, KEYS = 200, 1000, 100
BACKLOG = 20_000  # jobs that may wait while they are created and processed at once
PACE = 1000  # jobs a second of `paced`
MEMORY_EVERY = 0.5  # seconds between two looks at the memory of a worker
WORKER = (
    *("-m", "celery", "-A", "jobplatform", "worker", "-Q", "default", "-c", "2"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat", "-E", "--loglevel", "INFO"),
)
UNFINISHED = "select exists (select from jobs_job where status in ('queued', 'processing'))"
SINCE_END = "select extract(epoch from clock_timestamp() - max(ended_at))::float8 from jobs_attempt"
"""Seconds since the last outcome was committed, as PostgreSQL had it."""

# What must be true of the rows after a run; each statement counts what is wrong. %(jobs)s is the number created.
# On a starved machine a no-op may take 250 ms: it is then announced (job.processing), and what waited behind it is
# handed back unharmed (job.released) and claimed once more. That is the engine at work; it costs no attempt.
# Only what was created since the queue was filled counts: there may be millions of older jobs, and the platform's own.
LOG = (
    "with bench_job as (select * from jobs_job where created_at >= %(since)s and"
    " kind like 'bench.%%'), bench_attempt as"
    " (select * from jobs_attempt where started_at >= %(since)s),"
    " log as (select subject_id, array_agg(seq order by seq) as seqs, array_agg(type order by seq) as types,"
    " count(*) as written, count(*) filter (where type = 'job.released') as released,"
    " count(*) filter (where type in ('job.released', 'job.processing')) as between_ends"
    " from events_event where occurred_at >= %(since)s group by subject_id) "
)
CHECKS = {
    "jobs are as many as were created": "select count(*) - %(jobs)s from bench_job",
    "jobs are processed at their first attempt": (
        "select count(*) from bench_job where (status, attempt) is distinct from ('processed', 1)"
    ),
    "jobs have the output of their own payload": (
        "select count(*) from bench_job where (output ->> 'number') is distinct from (payload ->> 'number')"
    ),
    "jobs have one attempt that ended well": (
        "select count(*) from bench_job j"
        " where (select array_agg(a.outcome) from bench_attempt a where a.job_id = j.id)"
        " is distinct from array['done']"
    ),
    "attempts belong to a worker that is on record": (
        "select count(*) from bench_attempt a where not exists (select from jobs_worker w where w.id = a.worker_id)"
    ),
    "events of a job are numbered without a gap, up to its own number": (
        "select count(*) from bench_job j left join log e on e.subject_id = j.id"
        " where e.seqs is distinct from array(select generate_series(1, j.seq))"
    ),
    "events of a job begin with queued, end with processed, and say nothing else but processing and released": (
        "select count(*) from bench_job j left join log e on e.subject_id = j.id"
        " where e.types[1] is distinct from 'job.queued' or e.types[e.written] is distinct from 'job.processed'"
        " or e.between_ends <> e.written - 2"
    ),
    "claims of a job are one, and one more for each hand-back": (
        "select count(*) from bench_job j left join log e on e.subject_id = j.id"
        " where j.claim_no is distinct from 1 + e.released"
    ),
}
RELEASED = "select count(*) from events_event where type = 'job.released' and occurred_at >= %(since)s"
SINCE = "since"  # file: when the queue of this run was filled, by the database's clock


class Doorbells(threading.Thread):
    """Counts the Celery tasks that the worker receives, as Flower does: from its task events."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.received: Counter[str] = Counter()
        self._listening = threading.Event()
        self._receiver: Any = None

    def run(self) -> None:
        from jobplatform.celery import app

        with app.connection_for_read() as connection:
            self._receiver = app.events.Receiver(connection, handlers={"task-received": self._note})
            self._listening.set()
            self._receiver.capture(limit=None, timeout=None, wakeup=False)

    def _note(self, event: dict[str, Any]) -> None:
        self.received[event["name"]] += 1

    def listen(self) -> None:
        """Start, and return when nothing can be missed any more."""
        self.start()
        self._listening.wait(protocol.READY_WITHIN)

    def end(self) -> int:
        """Stop listening; returns how many doorbells of the benchmark's kinds were received."""
        self._receiver.should_stop = True
        self.join(timeout=5)
        return self.received[NOOP] + self.received[PICK_UP] + self.received[KEYED]


class Ours(protocol.Peer):
    """The platform: one relay, one Celery worker with two children."""

    packages = ("celery", "django", "psycopg", "redis")
    settings = "celery worker -c 2 -E, relay, production profile; durable, validated, with events and attempts"

    def __init__(self) -> None:
        super().__init__()
        self.doorbells = Doorbells()
        self.machines = 1

    def prepare(self) -> dict[str, object]:
        """Migrate, and make the demo project with an API key, which is part of the answer."""
        out = io.StringIO()
        call_command("migrate", verbosity=0)
        call_command("provision_demo", stdout=out)
        answer: dict[str, object] = json.loads(out.getvalue())
        return answer

    @cached_property
    def project(self) -> UUID:
        """The demo project."""
        from projects import selectors

        found = selectors.project_named("demo")
        assert found is not None
        project: UUID = found.id
        return project

    def enqueue(self, jobs: int) -> None:
        from jobs.services import JobRequest, submit_many

        self.note_since()
        for start in range(0, jobs, CREATED_AT_ONCE):
            numbers = range(start, min(start + CREATED_AT_ONCE, jobs))
            submit_many(project_id=self.project, requests=[JobRequest(NOOP, {"number": number}) for number in numbers])

    def note_since(self) -> None:
        """Write down when this run began, the first time it is called."""
        path = recorder.directory() / SINCE
        if not path.exists():
            with psycopg.connect(protocol.database_url()) as connection:
                (now,) = connection.execute("select clock_timestamp()::text").fetchone() or ("",)
            path.write_text(now)

    @property
    def since(self) -> str:
        """When this run began: before it, for a run that noted nothing."""
        path = recorder.directory() / SINCE
        return path.read_text() if path.exists() else "-infinity"

    def start(self) -> None:
        """Start the worker; without a relay nothing rings it, so it stands still until the gate opens."""
        from jobplatform.celery import app

        self.doorbells.listen()
        for machine in range(1, self.machines + 1):
            self.spawn(*WORKER, "-n", f"bench@machine{machine}")
        protocol.wait_until(lambda: len(app.control.ping(timeout=0.5) or ()) == self.machines, self.workers)

    def open_gate(self) -> None:
        self.spawn("manage.py", "relay")

    def settled(self, tally: recorder.Tally) -> float:
        """Ours is done when the last outcome is committed, not when the last handler has returned."""
        with psycopg.connect(protocol.database_url(), autocommit=True) as connection:
            deadline = time.monotonic() + protocol.DRAIN_WITHIN
            while connection.execute(UNFINISHED).fetchone() != (False,):
                assert time.monotonic() < deadline, "the handlers have run, but their outcomes are not committed"
                time.sleep(0.1)
            # The questions take long where there are millions of rows: they are not part of the time.
            (since_end,) = connection.execute(SINCE_END).fetchone() or (0.0,)
        return (time.monotonic_ns() - tally.first_ns) / 1e9 - float(since_end)

    def send(self, index: int) -> protocol.Handover:
        from jobs.services import submit

        committed: list[int] = []
        with transaction.atomic():
            # The first thing that runs when COMMIT has returned, before the bell of the job.
            transaction.on_commit(lambda: committed.append(time.monotonic_ns()))
            submit(project_id=self.project, kind=PICK_UP, payload={"number": index})
            went_out = time.monotonic_ns()  # the COMMIT is the next thing that goes out
        return protocol.Handover(went_out, committed[0])

    def verify(self, jobs: int) -> dict[str, object]:
        """Look at every row that the run left behind. Raises `AssertionError` with all that is wrong."""
        received = self.doorbells.end()
        wrong = [] if received else ["doorbells did not go through Celery"]
        with psycopg.connect(protocol.database_url()) as connection:
            params = {"jobs": jobs, "since": self.since}
            released = connection.execute(RELEASED, params).fetchone() or (0,)
            for claim, statement in CHECKS.items():
                found = connection.execute(LOG + statement, params).fetchone()
                if found != (0,):
                    wrong.append(f"not all {claim}: {found} differ")
        assert not wrong, "; ".join(wrong)
        return {"doorbells": received, "released": released[0]}


@contextmanager
def running(ours: Ours) -> Iterator[None]:
    """A worker and a relay that are warm; they end with the block."""
    ours.start()
    try:
        ours.open_gate()
        ours.enqueue(CREATED_AT_ONCE)
        recorder.wait_for_jobs(recorder.directory(), CREATED_AT_ONCE, within=protocol.READY_WITHIN)
        yield
    finally:
        ours.stop()


def lifecycle(ours: Ours, jobs: int) -> dict[str, object]:
    """Create and process at once: workers and relay are warm, and the clock runs from the first creation."""
    with running(ours):
        began = time.monotonic_ns()
        ours.enqueue(jobs)
        tally = recorder.wait_for_jobs(recorder.directory(), CREATED_AT_ONCE + jobs, within=protocol.DRAIN_WITHIN)
        ours.settled(tally)
        seconds = (time.monotonic_ns() - began) / 1e9
    return {"jobs": jobs, "seconds": seconds, **ours.verify(CREATED_AT_ONCE + jobs)}


def _create(ours: Ours, seconds: int, *, pace: float | None) -> Callable[[], int]:
    """Create jobs for so many seconds in a thread, `pace` a second at most. The answer waits, and says how many."""
    made: list[int] = []

    def create() -> None:
        began = time.monotonic()
        while (spent := time.monotonic() - began) < seconds:
            waiting = CREATED_AT_ONCE * (1 + len(made)) - recorder.read_tally(recorder.directory()).jobs
            if waiting > BACKLOG or (pace and len(made) * CREATED_AT_ONCE > spent * pace):
                time.sleep(0.005)
                continue
            ours.enqueue(CREATED_AT_ONCE)
            made.append(CREATED_AT_ONCE)

    thread = threading.Thread(target=create)
    thread.start()

    def wait() -> int:
        thread.join()
        return sum(made)

    return wait


def steady(ours: Ours, seconds: int) -> dict[str, object]:
    """Create and process for so many seconds: the rates in the first and in the last sixth of that time."""
    part = max(1.0, seconds / 6)
    with running(ours):
        where = recorder.directory()
        created = _create(ours, seconds, pace=None)
        counts = []
        began = time.monotonic()
        for moment in (0.0, part, seconds - part, float(seconds)):
            time.sleep(max(0.0, began + moment - time.monotonic()))
            counts.append((time.monotonic(), recorder.read_tally(where).jobs))
        jobs = CREATED_AT_ONCE + created()
        tally = recorder.wait_for_jobs(where, jobs, within=protocol.DRAIN_WITHIN)
        ours.settled(tally)
    rates = [(last - first) / (ended - at) for (at, first), (ended, last) in (counts[:2], counts[2:])]
    return {"jobs": jobs, "first": rates[0], "last": rates[1], **ours.verify(jobs)}


def paced(ours: Ours, seconds: int) -> dict[str, object]:
    """Create and process for so many seconds, at a pace that leaves room."""
    with running(ours):
        jobs = CREATED_AT_ONCE + _create(ours, seconds, pace=PACE)()
        tally = recorder.wait_for_jobs(recorder.directory(), jobs, within=protocol.DRAIN_WITHIN)
        ours.settled(tally)
    return {"jobs": jobs, **ours.verify(jobs)}


def behind(_ours: Ours, _number: int) -> dict[str, object]:
    """How many seconds the consumer that is furthest behind lags, and how long the writer that holds it is open."""
    from events import log
    from jobs import figures

    return {"lag": max(item.seconds for item in log.unread(1)), "open": figures.transactions().writer}


def drain_two(ours: Ours, jobs: int) -> dict[str, object]:
    """Drain with the workers of two machines: each has a name, a parent and children of its own."""
    ours.machines = 2
    return protocol.drain(ours, jobs)


def memory(ours: Ours, jobs: int) -> dict[str, object]:
    """Drain, and look at what each process of the worker has for itself from a tenth of the jobs on, and at the end.

    `gained`: megabytes that the process that gained most did; `held`: what the largest one has at the end.
    """
    where = recorder.directory()
    ours.start()
    try:
        ours.open_gate()
        recorder.wait_for_jobs(where, jobs // 10, within=protocol.DRAIN_WITHIN)
        warm = _private(ours)
        highest = dict(warm)
        deadline = time.monotonic() + protocol.DRAIN_WITHIN
        while recorder.read_tally(where).jobs < jobs:
            assert time.monotonic() < deadline, "not all jobs ran"
            time.sleep(MEMORY_EVERY)
            now = _private(ours)
            assert now.keys() == warm.keys(), "a process of the worker was replaced"
            highest = {pid: max(size, highest[pid]) for pid, size in now.items()}
        ours.settled(recorder.read_tally(where))
        last = _private(ours)
    finally:
        ours.stop()
    gained = max(highest[pid] - size for pid, size in warm.items()) / 1e6
    return {"jobs": jobs, "gained": gained, "held": max(last.values()) / 1e6, **ours.verify(jobs)}


def _private(ours: Ours) -> dict[int, int]:
    """The unique set size of the worker's parent and of its children, in bytes, by process id."""
    parent = psutil.Process(ours.workers[0].pid)
    return {found.pid: found.memory_full_info().uss for found in (parent, *parent.children(recursive=True))}


def keyed(ours: Ours, jobs: int) -> dict[str, object]:
    """Fill the queue with jobs of many lanes, limits and projects, spread evenly."""
    from jobs.services import JobRequest, submit_many

    ours.note_since()
    for start in range(0, jobs, CREATED_AT_ONCE * PROJECTS):
        for project in range(PROJECTS):
            numbers = range(start + project, min(start + CREATED_AT_ONCE * PROJECTS, jobs), PROJECTS)
            requests = [
                JobRequest(KEYED, {"number": number, "key": number % KEYS}, lane=f"lane {number % LANES}")
                for number in numbers
            ]
            if requests:
                submit_many(project_id=UUID(int=project + 1), requests=requests)
    return {"jobs": jobs}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobplatform.settings")
    django.setup()
    more = (lifecycle, keyed, drain_two, memory, steady, paced, behind)
    protocol.serve(
        Ours(), **{command.__name__: command for command in more}, **ours_chain.COMMANDS, **ours_redrive.COMMANDS
    )
