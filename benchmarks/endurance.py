"""What shows only in time, or with much behind it: age, memory, idleness, a snapshot that is held."""

import contextlib
import signal
import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg

from benchmarks import stage
from jobplatform.supervisor import Stack

Values = Mapping[str, float]

FINISHED = 5_000_000
REDRIVEN = 100_000  # dead letters of one redrive
STEADY_SECONDS = 60
HELD_SECONDS = 600
DRAINS = 5
MEMORY_JOBS = 1_000_000
IDLE_SECONDS = 60.0
CALM_SECONDS = 30.0  # until what a start brings with it has passed

# As if they had come in over fifty days, the newest of them a day ago. On the shelf on which the new ones will stand.
_SHELF = """
insert into jobs_shelf (id, kind, project_id, priority, cap, weight, paused, low_due_at)
overriding system value values (0, 'bench.noop', %s, 0, 0, 1, false, now()) on conflict do nothing
"""
_FINISHED = """
with numbered as (
    select n, now() - interval '1 day' - make_interval(secs => (%(all)s - n) * 50 * 86400.0 / %(all)s) as at
    from generate_series(%(first)s::int, %(last)s::int) n
), made as (
    insert into jobs_job (id, project_id, created_at, due_at, started_at, finished_at, position, shelf_id,
                          claim_no, seq, attempt, priority, gate, cancel_requested, kind, stage, status,
                          payload, output)
    select uuidv7(at - clock_timestamp()), %(project)s, at, at, at, at, 0, 0, 1, 2, 1, 0, 0, false, 'bench.noop',
           'process', 'processed', jsonb_build_object('number', n), jsonb_build_object('number', n)
    from numbered
    returning id, project_id, finished_at
)
insert into jobs_attempt (job_id, project_id, claim_no, attempt, stage, started_at, ended_at, outcome)
select id, project_id, 1, 1, 'process', finished_at, finished_at, 'done' from made
"""
_SLICE = 250_000


def finish(run: stage.Run, project: str, jobs: int) -> None:
    """Make the rows of so many finished jobs, with their attempts."""
    with psycopg.connect(run.database_url, autocommit=True) as link:
        link.execute(_SHELF, (project,))
        for first in range(1, jobs + 1, _SLICE):
            last = min(jobs, first + _SLICE - 1)
            link.execute(_FINISHED, {"project": project, "all": jobs, "first": first, "last": last})
        link.execute("vacuum analyze jobs_job")
        link.execute("vacuum analyze jobs_attempt")


def drained(run: stage.Run, jobs: int) -> float:
    """Jobs a second out of a queue that is filled first."""
    run.command("enqueue", str(jobs))
    answer = run.command("drain", str(jobs))
    return float(answer["jobs"]) / float(answer["seconds"])


@dataclass(frozen=True)
class Behind:
    """Jobs a second out of a filled queue, with millions of finished jobs in the same tables."""

    once = False
    side = stage.OURS

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement."""
        project = on.prepare(self.side)["project_id"]
        number = FINISHED if full else 20_000
        run = on.copied(self.side, "finished", lambda made: finish(made, project, number))
        return {"rate": drained(run, _jobs(seconds))}


@dataclass(frozen=True)
class Redriven:
    """Dead letters a second that a redrive queues once more."""

    once = False
    side = stage.OURS

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement. Raises `SideFailed`: some were left."""
        run, jobs = on.run(self.side), REDRIVEN if full else 5_000
        run.command("enqueue", str(jobs))
        answer = run.command("redriven", str(jobs))
        if answer["jobs"] != jobs:
            message = f"{answer['jobs']} of {jobs} dead letters were redriven"
            raise stage.SideFailed(message)
        return {"rate": jobs / float(answer["seconds"])}


@dataclass(frozen=True)
class Held:
    """Jobs a second out of a filled queue, after a snapshot has been held for ten minutes of work, and still is.

    `lag`: seconds by which the consumers of the log are behind at the end; `open`: age of the writer that holds them.
    """

    once = True
    side = stage.OURS

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement."""
        run = on.run(self.side)
        with holder(run.database_url):
            run.command("paced", str(HELD_SECONDS if full else 5))
            # Ten minutes for one number would be luck: the drain is repeated, and its median counts.
            rates = [drained(on.again(run), _jobs(seconds)) for _ in range(DRAINS if full else 1)]
            behind = run.command("behind")
        return {"rate": statistics.median(rates), "lag": behind["lag"], "open": behind["open"]}


@contextmanager
def holder(database_url: str) -> Iterator[None]:
    """A connection with a snapshot for all of its transaction, and with a transaction id."""
    with psycopg.connect(database_url, autocommit=True) as link:
        link.execute("set idle_in_transaction_session_timeout = 0")
        link.execute("begin isolation level repeatable read")
        link.execute("select pg_current_xact_id()")
        yield
        link.execute("rollback")


@dataclass(frozen=True)
class Steady:
    """Jobs a second while they are created and processed for a minute: in its first and in its last ten seconds."""

    once = False
    side = stage.OURS

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement."""
        found = on.run(self.side).command("steady", str(STEADY_SECONDS if full else 4))
        return {"first": found["first"], "last": found["last"]}


@dataclass(frozen=True)
class Memory:
    """Megabytes that a worker's processes have gained at most since they were warm, over a million jobs."""

    once = True
    side = stage.OURS

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement."""
        run = on.run(self.side)
        jobs = MEMORY_JOBS if full else 30_000
        run.command("enqueue", str(jobs))
        found = run.command("memory", str(jobs))
        return {"gained": found["gained"], "held": found["held"]}


@dataclass(frozen=True)
class Idle:
    """What the whole platform does while nobody asks anything of it, for a minute.

    `statements`: SQL statements a second; `cpu`: percent of one core that its processes take; `servers`: the same of
    PostgreSQL and Redis.
    """

    once = True
    side = stage.OURS

    def measure(self, on: stage.Stage, *, full: bool, seconds: float) -> Values:
        """One measurement."""
        run = on.run(self.side)
        length = IDLE_SECONDS if full else 5.0
        with Stack(run.directory, quiet=True, environ=run.environment) as stack, _every_statement(on) as log:
            _pass(CALM_SECONDS if full else 1.0)
            platform = [psutil.Process(pid) for pid in stack.pids.values()]
            servers = [psutil.Process(pid) for pid in on.embedded.pids.values()]
            began, written = time.monotonic(), log.stat().st_size
            used = _cpu(platform), _cpu(servers)
            _pass(length)
            spent = time.monotonic() - began
            now = _cpu(platform), _cpu(servers)
            with log.open("rb") as lines:
                lines.seek(written)
                statements = sum(b" LOG:  statement:" in line or b" LOG:  execute " in line for line in lines)
        return {
            "statements": statements / spent,
            "cpu": 100 * (now[0] - used[0]) / spent,
            "servers": 100 * (now[1] - used[1]) / spent,
        }


def _pass(seconds: float) -> None:
    threading.Event().wait(seconds)


@contextmanager
def _every_statement(on: stage.Stage) -> Iterator[Path]:
    """Have PostgreSQL write every statement into its log, whose path is yielded."""
    postmaster = psutil.Process(on.embedded.pids["postgres"])
    command = postmaster.cmdline()
    settings = Path(command[command.index("-D") + 1]) / "postgresql.auto.conf"
    before = settings.read_text()
    settings.write_text(before + "log_statement = 'all'\n")
    postmaster.send_signal(signal.SIGHUP)
    try:
        yield on.data / "logs" / "postgres.log"
    finally:
        settings.write_text(before)
        postmaster.send_signal(signal.SIGHUP)


def _cpu(parents: list[psutil.Process]) -> float:
    """Seconds of a processor that these processes and all below them have used."""
    used = 0.0
    for process in {found for parent in parents for found in (parent, *parent.children(recursive=True))}:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            used += times.user + times.system
    return used


def _jobs(seconds: float) -> int:
    """So many that they last about as long as other drains."""
    return int(max(2000, 25_000 * seconds))
