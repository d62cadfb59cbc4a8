"""Our side: the platform's own processes and its public Python face, behind the same command line as the peers.

    python -m benchmarks.ours prepare | enqueue N | drain N | pickup N     as in benchmarks/peers/protocol.py
    python -m benchmarks.ours lifecycle N     create and process at once  -> {"jobs", "seconds"}

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
from functools import cached_property
from typing import Any
from uuid import UUID

import django
import psycopg
from django.core.management import call_command
from django.db import transaction

from benchmarks import recorder
from benchmarks.peers import protocol

CREATED_AT_ONCE = 1000
NOOP, PICK_UP = "bench.noop", "bench.pick_up"
WORKER = (
    *("-m", "celery", "-A", "jobplatform", "worker", "-Q", "default", "-c", "2", "-n", "bench@%h"),
    *("--without-gossip", "--without-mingle", "--without-heartbeat", "-E", "--loglevel", "INFO"),
)
UNFINISHED = "select exists (select from jobs_job where status in ('queued', 'processing'))"

# What must be true of the rows after a run; each statement counts what is wrong. %(jobs)s is the number created.
# On a starved machine a no-op may take 250 ms: it is then announced (job.processing), and what waited behind it is
# handed back unharmed (job.released) and claimed once more. That is the engine at work; it costs no attempt.
LOG = (
    "with log as (select subject_id, array_agg(seq order by seq) as seqs, array_agg(type order by seq) as types,"
    " count(*) as written, count(*) filter (where type = 'job.released') as released,"
    " count(*) filter (where type in ('job.released', 'job.processing')) as between_ends"
    " from events_event group by subject_id) "
)
CHECKS = {
    "jobs are as many as were created": "select count(*) - %(jobs)s from jobs_job",
    "jobs are processed at their first attempt": (
        "select count(*) from jobs_job where (status, attempt) is distinct from ('processed', 1)"
    ),
    "jobs have the output of their own payload": (
        "select count(*) from jobs_job where (output ->> 'number') is distinct from (payload ->> 'number')"
    ),
    "jobs have one attempt that ended well": (
        "select count(*) from jobs_job j where (select array_agg(a.outcome) from jobs_attempt a where a.job_id = j.id)"
        " is distinct from array['done']"
    ),
    "attempts belong to a worker that is on record": (
        "select count(*) from jobs_attempt a where not exists (select from jobs_worker w where w.id = a.worker_id)"
    ),
    "events of a job are numbered without a gap, up to its own number": (
        "select count(*) from jobs_job j left join log e on e.subject_id = j.id"
        " where e.seqs is distinct from array(select generate_series(1, j.seq))"
    ),
    "events of a job begin with queued, end with processed, and say nothing else but processing and released": (
        "select count(*) from jobs_job j left join log e on e.subject_id = j.id"
        " where e.types[1] is distinct from 'job.queued' or e.types[e.written] is distinct from 'job.processed'"
        " or e.between_ends <> e.written - 2"
    ),
    "claims of a job are one, and one more for each hand-back": (
        "select count(*) from jobs_job j left join log e on e.subject_id = j.id"
        " where j.claim_no is distinct from 1 + e.released"
    ),
}
RELEASED = "select count(*) from events_event where type = 'job.released'"


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
        return self.received[NOOP] + self.received[PICK_UP]


class Ours(protocol.Peer):
    """The platform: one relay, one Celery worker with two children."""

    packages = ("celery", "django", "psycopg", "redis")
    settings = "celery worker -c 2 -E, relay, production profile; durable, validated, with events and attempts"

    def __init__(self) -> None:
        super().__init__()
        self.doorbells = Doorbells()

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

        for start in range(0, jobs, CREATED_AT_ONCE):
            numbers = range(start, min(start + CREATED_AT_ONCE, jobs))
            submit_many(project_id=self.project, requests=[JobRequest(NOOP, {"number": number}) for number in numbers])

    def start(self) -> None:
        """Start the worker; without a relay nothing rings it, so it stands still until the gate opens."""
        from jobplatform.celery import app

        self.doorbells.listen()
        self.spawn(*WORKER)
        protocol.wait_until(lambda: app.control.ping(timeout=0.5), self.workers)

    def open_gate(self) -> None:
        self.spawn("manage.py", "relay")

    def settled(self, tally: recorder.Tally) -> float:
        """Ours is done when the last outcome is committed, not when the last handler has returned."""
        with psycopg.connect(protocol.database_url(), autocommit=True) as connection:
            deadline = time.monotonic() + protocol.DRAIN_WITHIN
            while connection.execute(UNFINISHED).fetchone() != (False,):
                assert time.monotonic() < deadline, "the handlers have run, but their outcomes are not committed"
                time.sleep(0.005)
        return (time.monotonic_ns() - tally.first_ns) / 1e9

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
            released = connection.execute(RELEASED).fetchone() or (0,)
            for claim, statement in CHECKS.items():
                found = connection.execute(LOG + statement, {"jobs": jobs}).fetchone()
                if found != (0,):
                    wrong.append(f"not all {claim}: {found} differ")
        assert not wrong, "; ".join(wrong)
        return {"doorbells": received, "released": released[0]}


def lifecycle(ours: Ours, jobs: int) -> dict[str, object]:
    """Create and process at once: workers and relay are warm, and the clock runs from the first creation."""
    ours.start()
    try:
        ours.open_gate()
        ours.enqueue(CREATED_AT_ONCE)
        recorder.wait_for_jobs(recorder.directory(), CREATED_AT_ONCE, within=protocol.READY_WITHIN)
        began = time.monotonic_ns()
        ours.enqueue(jobs)
        tally = recorder.wait_for_jobs(recorder.directory(), CREATED_AT_ONCE + jobs, within=protocol.DRAIN_WITHIN)
        ours.settled(tally)
        seconds = (time.monotonic_ns() - began) / 1e9
    finally:
        ours.stop()
    return {"jobs": jobs, "seconds": seconds, **ours.verify(CREATED_AT_ONCE + jobs)}


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "jobplatform.settings")
    django.setup()
    protocol.serve(Ours(), lifecycle=lifecycle)
