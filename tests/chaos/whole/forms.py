"""The forms of a run of the whole platform: chaos, soak, upgrade. Each ends with the checker."""

import contextlib
import random
import signal
import statistics
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psutil
import psycopg

from jobplatform import processes
from jobplatform.children import ROOT
from tests.chaos.whole import before
from tests.chaos.whole.checker import Line
from tests.chaos.whole.faults import RECONNECTS
from tests.chaos.whole.fleet import GENEROUS, GRACE, HANDLERS, Fleet, send
from tests.chaos.whole.kinds import KINDS
from tests.chaos.whole.running import Chaos, Outcome, Plan, Say

MEGABYTE = 1024 * 1024
SAMPLES = 90
GROWTH = 0.10  # of the memory of a process, from the second third of a run to the last
SPARE = 16 * MEGABYTE  # whatever its size
FILES = 6
# Where migrations are killed: what somebody does in a transaction that he leaves open, and the step that waits for it.
HELD_UP = (
    ("lock table jobs_job in access share mode", "alter table%"),
    ("select 1", "create index concurrently%"),
)


def chaos(fleet: Fleet, plan: Plan, say: Say) -> Outcome:
    """Anything may be killed, frozen, cut or emptied."""
    with fleet:
        return Chaos(fleet, plan, say).run()


# ------------------------------------------------------------------------------------------------ soak
def soak(fleet: Fleet, plan: Plan, say: Say) -> Outcome:
    """Nobody dies, but connections break again and again: nothing gets stuck, and no process grows."""
    with fleet:
        meter = Meter(fleet, plan.seconds / SAMPLES)
        outcome = Chaos(fleet, replace(plan, sorts=RECONNECTS), say).run(meter.sample)
        outcome.lines.append(meter.line())
        return outcome


@dataclass(slots=True)
class Meter:
    """Memory and open files of each process of a fleet. `every`: seconds."""

    fleet: Fleet
    every: float
    seen: dict[tuple[str, int], list[tuple[int, int]]] = field(default_factory=dict)
    _next: float = 0.0

    def sample(self, now: float) -> bool:
        """Look, if it is time."""
        if now < self._next:
            return False
        self._next = now + self.every
        for name in self.fleet.members:
            for pid in self.fleet.family(name):
                with contextlib.suppress(psutil.Error):
                    process = psutil.Process(pid)
                    sizes = process.memory_info().rss, process.num_fds()
                    self.seen.setdefault((name, pid), []).append(sizes)
        return False

    def line(self) -> Line:
        """Of each process that lived through the run: the last third beside the one before."""
        return flat(self.seen)


def flat(seen: dict[tuple[str, int], list[tuple[int, int]]]) -> Line:
    """No process has grown: (memory in bytes, open files) by process, oldest first."""
    longest = max(map(len, seen.values()), default=0)
    lasting = {who: samples for who, samples in seen.items() if len(samples) > longest * 0.9}
    line = Line("memory and open files of no process grow", len(lasting))
    if not lasting or longest < 9:
        line.breaks("meter", f"only {longest} samples of {len(lasting)} processes")
        return line
    most = 0.0
    for (name, pid), samples in lasting.items():
        third = len(samples) // 3
        middle, last = samples[third : 2 * third], samples[2 * third :]
        memory = [statistics.median(size for size, _ in part) for part in (middle, last)]
        files = [statistics.median(number for _, number in part) for part in (middle, last)]
        most = max(most, memory[1] - memory[0])
        if memory[1] > memory[0] + max(SPARE, GROWTH * memory[0]):
            line.breaks(f"{name} {pid}", f"{memory[0] / MEGABYTE:.1f} → {memory[1] / MEGABYTE:.1f} MB")
        if files[1] > files[0] + FILES:
            line.breaks(f"{name} {pid}", f"{files[0]:g} → {files[1]:g} open files")
    line.said = f"at most {most / MEGABYTE:.1f} MB more in the last third than in the one before"
    return line


# ------------------------------------------------------------------------------------------------ upgrade
def upgrade(fleet: Fleet, plan: Plan, say: Say) -> Outcome:
    """From the version before to this one, under load: its migrations are killed half way, then run to their end; the
    processes of the old version go on, and are replaced one by one.
    """
    with tempfile.TemporaryDirectory(prefix="jp-") as directory:
        fleet.tree = before.unpack(Path(directory).resolve())
        fleet.handlers = HANDLERS[:1]
        with fleet:
            killed: list[str] = []
            steps = Steps(plan, _replacing(fleet, plan, say, killed), killed)
            chaos = Chaos(fleet, replace(plan, sorts=("connection cut",), promises=KINDS), say)
            outcome = chaos.run(steps.take)
            outcome.lines.append(steps.line(fleet))
            return outcome


Step = Callable[[], None]


@dataclass(slots=True)
class Steps:
    """Things to do at even distances in the middle of a run."""

    plan: Plan
    steps: list[Step]
    killed: list[str]
    taken: int = 0

    def take(self, now: float) -> bool:
        """The next one, if it is time. True: there are more."""
        share = (now / self.plan.seconds - 0.2) / 0.6
        if self.taken < len(self.steps) and share * len(self.steps) > self.taken:
            self.steps[self.taken]()
            self.taken += 1
        return self.taken < len(self.steps)

    def line(self, fleet: Fleet) -> Line:
        """All has been done, and every process runs the new version."""
        line = Line("every process was replaced by one of the new version", len(fleet.members))
        for name, child in fleet.members.items():
            if child.tree != ROOT:
                line.breaks(name, f"still runs {child.tree}")
        migrations = fleet.rows("select count(*) as n from django_migrations where app in ('jobs', 'events')")[0]["n"]
        shipped = sum(len(list((ROOT / app / "migrations").glob("0*.py"))) for app in ("jobs", "events"))
        if migrations != shipped:
            line.breaks("migrations", f"{migrations} of {shipped} applied")
        invalid = fleet.rows("select indexrelid::regclass::text as name from pg_index where not indisvalid")
        for row in invalid:
            line.breaks(row["name"], "an index that was never finished")
        if len(self.killed) != len(HELD_UP):
            line.breaks("migrations", f"killed at {self.killed} only")
        line.said = f"{shipped} migrations; killed at {' and at '.join(self.killed)}"
        return line


def _replacing(fleet: Fleet, plan: Plan, say: Say, killed: list[str]) -> list[Step]:
    names = sorted({*fleet.members, *fleet.names(ROOT)})  # the new version may have more
    random.Random(f"{plan.seed}/upgrade").shuffle(names)
    tries: list[Step] = [partial(_kill_migration, fleet, held, say, killed) for held in HELD_UP]
    return [*tries, partial(_migrate, fleet, say), *(partial(_replace, fleet, name, say) for name in names)]


def _kill_migration(fleet: Fleet, held: tuple[str, str], say: Say, killed: list[str]) -> None:
    """Somebody's transaction holds the migration up at a step; there its process and its session die."""
    statement, step = held
    at_it = (
        "select pid from pg_stat_activity where wait_event_type = 'Lock' and query ilike %s"
        " and datname = current_database() and pid <> pg_backend_pid()"
    )
    with psycopg.connect(fleet.embedded.database_url) as holder:
        holder.execute("set transaction isolation level repeatable read")
        holder.execute(statement.encode())
        process = fleet.migration(ROOT)
        fleet.wait_until(lambda: fleet.rows(at_it, step) or process.poll() is not None, f"a migration at {step}")
        pids = [row["pid"] for row in fleet.rows(at_it, step)]
        send(process.pid, signal.SIGKILL)
        for pid in pids:
            fleet.rows("select pg_terminate_backend(%s)", pid)
        holder.rollback()
    process.wait(GENEROUS)
    if pids:
        killed.append(step.strip("%"))
    say(f"a migration was killed at {step.strip('%')}" if pids else "a migration was not held up")


def _migrate(fleet: Fleet, say: Say) -> None:
    fleet.upgrade(ROOT)
    say("migrated")


def _replace(fleet: Fleet, name: str, say: Say) -> None:
    old = fleet.members.get(name)
    if old is not None and old.process is not None:
        send(old.process.pid, signal.SIGTERM)
        if not processes.wait_until(lambda: not old.alive, seconds=GRACE):
            processes.signal_group(old.process, signal.SIGKILL)
            old.process.wait(GENEROUS)
    fleet.start(name)
    say(f"{name} replaced")


FORMS: dict[str, Callable[[Fleet, Plan, Say], Outcome]] = {"chaos": chaos, "soak": soak, "upgrade": upgrade}
