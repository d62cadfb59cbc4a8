"""What goes wrong in a chaos run, and when: one seed, one schedule.

The schedule names sorts, moments and numbers; who the number points at is looked up when the moment has come, for the
processes of then have ids that no seed can know.
"""

import contextlib
import random
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import psycopg
import redis

from tests.chaos.whole.fleet import GENEROUS, WIRED, Fleet, send
from tests.chaos.whole.history import Journal
from tests.wire import When

WORKERS = ("worker", "worker2", "events")
LONGEST_FREEZE = 16.0  # seconds; longer than a worker may be silent
LONGEST_DOWN = 5.0
CRASHES_OF_POSTGRES = ("postgres stopped at once", "postgres killed", "backend killed")
UNITS = ("COMMIT", "commit", "claim", "submit", "submit_one", "take_key", "INSERT INTO API_IDEMPOTENCY", "note")


@dataclass(frozen=True, slots=True)
class Planned:
    """One fault of a schedule. `at`: seconds from the start; `pick` and `size` choose among what there is then."""

    at: float
    sort: str
    pick: float
    size: float


class Faults:
    """Carries a schedule out. `longest`: the bound of a freeze in seconds."""

    def __init__(self, fleet: Fleet, journal: Journal, *, longest: float = LONGEST_FREEZE) -> None:
        self._fleet = fleet
        self._journal = journal
        self._longest = longest
        self._frozen: list[tuple[float, list[int]]] = []

    def do(self, planned: Planned) -> None:
        """Let it happen, now."""
        SORTS[planned.sort][1](self, planned)

    def thaw(self, *, everything: bool = False) -> None:
        """Let go on who has been frozen for long enough."""
        now = time.monotonic()
        for until, pids in [item for item in self._frozen if everything or item[0] <= now]:
            self._frozen.remove((until, pids))
            for pid in pids:
                send(pid, signal.SIGCONT)

    # -- sorts

    def _child(self, planned: Planned) -> None:
        name = self._choose([name for name in (*WORKERS, "web") if len(self._fleet.family(name)) > 1], planned)
        if name:
            children = self._fleet.family(name)[1:]
            victim = children[int(planned.size * len(children))]
            self._note(planned, f"a child of {name}", [victim])
            send(victim, signal.SIGKILL)

    def _parent(self, planned: Planned) -> None:
        name = self._choose(list(self._fleet.members), planned)
        family = self._fleet.family(name)
        if family:
            self._note(planned, name, family)
            send(family[0], signal.SIGKILL)

    def _host(self, planned: Planned) -> None:
        """A worker with all its children at once, so that nobody sees another one die."""
        name = self._choose(WORKERS, planned)
        family = self._fleet.family(name)
        self._note(planned, name, family)
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for pid in reversed(family):
                send(pid, number)

    def _freeze(self, planned: Planned) -> None:
        name = self._choose([*WORKERS, *WORKERS, "relay", "relay2", "beat", "web"], planned)
        family = self._fleet.family(name)
        if not family:
            return
        if name in WORKERS and planned.size < 0.3:
            family = [family[int(planned.pick * 997) % len(family)]]  # one process of it
        seconds = 0.5 + planned.size * (self._longest - 0.5)
        until = time.monotonic() + seconds
        for pid in family:
            send(pid, signal.SIGSTOP)
        self._frozen.append((until, family))
        self._note(planned, name, family, until=until, detail=f"{seconds:.1f} s")

    def _deploy(self, planned: Planned) -> None:
        name = self._choose(list(self._fleet.members), planned)
        if pid := self._fleet.members[name].pid:
            self._note(planned, name, self._fleet.family(name))
            send(pid, signal.SIGTERM)

    def _redis(self, planned: Planned) -> None:
        self._down("redis", planned, signal.SIGKILL)

    def _redis_lost(self, planned: Planned) -> None:
        self._down("redis", planned, signal.SIGKILL)
        for file in Path(self._fleet.server("redis").directory).glob("appendonly*"):
            file.unlink()

    def _flush(self, planned: Planned) -> None:
        address = urlsplit(self._fleet.embedded.broker_url).path
        with contextlib.suppress(redis.RedisError), redis.Redis(unix_socket_path=address) as client:
            self._note(planned, "redis")
            client.flushall()

    def _postgres_stop(self, planned: Planned) -> None:
        self._down("postgres", planned, signal.SIGQUIT)

    def _postgres_kill(self, planned: Planned) -> None:
        self._down("postgres", planned, signal.SIGKILL)

    def _backend(self, planned: Planned) -> None:
        """One killed backend makes the server end all of them and recover."""
        pids = self._backends()
        if pids:
            victim = pids[int(planned.pick * len(pids))]
            self._note(planned, "a backend", [victim])
            send(victim, signal.SIGKILL)

    def _sessions(self, planned: Planned) -> None:
        """Half of the connections to PostgreSQL are ended, whatever they are at."""
        pids = self._backends()
        chosen = random.Random(planned.pick).sample(pids, len(pids) // 2)
        self._note(planned, "postgres", detail=f"{len(chosen)} sessions")
        with contextlib.suppress(psycopg.Error):
            self._fleet.rows("select pg_terminate_backend(p) from unnest(%s::int[]) p", chosen)

    def _wire(self, planned: Planned) -> None:
        """A connection breaks before a statement reached the server, or before its answer came back."""
        when = When.REQUEST_LOST if planned.size < 0.4 else When.REPLY_LOST
        wanted = {name.removesuffix("2") for name in WIRED}
        unit = UNITS[int(planned.pick * len(UNITS))]
        self._fleet.wire.seen.clear()
        self._fleet.wire.trap(
            when,
            lambda application, name: application in wanted and name.lower().startswith(unit.lower()),
            nth=1 + int(planned.size * 10),
        )
        self._note(planned, "a connection", detail=f"{unit}: {when.name.lower().replace('_', ' ')}")

    # -- inside

    def _backends(self) -> list[int]:
        with contextlib.suppress(psycopg.Error):
            return [
                row["pid"]
                for row in self._fleet.rows(
                    "select pid from pg_stat_activity where backend_type = 'client backend'"
                    " and datname = current_database() and pid <> pg_backend_pid() order by backend_start"
                )
            ]
        return []

    def _down(self, server: str, planned: Planned, number: signal.Signals) -> None:
        pid = self._fleet.server(server).pid
        if pid is None:
            return
        seconds = planned.size * LONGEST_DOWN
        until = time.monotonic() + seconds
        self._fleet.held[server] = until
        try:
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return
        self._note(planned, server, [pid], until=until, detail=f"down for {seconds:.1f} s")
        send(pid, number)
        psutil.wait_procs(family, timeout=GENEROUS)

    def _choose(self, names: Sequence[str], planned: Planned) -> str:
        return names[int(planned.pick * len(names))] if names else ""

    def _note(
        self, planned: Planned, victim: str, pids: Sequence[int] = (), *, until: float = 0.0, detail: str = ""
    ) -> None:
        self._journal.fault(planned.sort, victim, pids, until=until, detail=detail)


def schedule(seed: str, seconds: float, between: tuple[float, float], sorts: Sequence[str]) -> list[Planned]:
    """The faults of a seed, in order."""
    chance = random.Random(f"{seed}/faults")
    weights = [SORTS[sort][0] for sort in sorts]
    planned: list[Planned] = []
    at = chance.uniform(*between)
    while at < seconds:
        (sort,) = chance.choices(sorts, weights)
        planned.append(Planned(round(at, 2), sort, chance.random(), chance.random()))
        at += chance.uniform(*between)
    return planned


Do = Callable[[Faults, Planned], None]
SORTS: Mapping[str, tuple[float, Do]] = {
    "child killed": (5, Faults._child),
    "parent killed": (4, Faults._parent),
    "host killed": (2, Faults._host),
    "frozen": (4, Faults._freeze),
    "deployed": (3, Faults._deploy),
    "redis killed": (1.5, Faults._redis),
    "redis emptied": (1.5, Faults._redis_lost),
    "redis flushed": (1.5, Faults._flush),
    "postgres stopped at once": (1.5, Faults._postgres_stop),
    "postgres killed": (1.5, Faults._postgres_kill),
    "backend killed": (1, Faults._backend),
    "sessions ended": (2, Faults._sessions),
    "connection cut": (4, Faults._wire),
}
RECONNECTS = ("sessions ended", "redis flushed", "redis killed", "connection cut")
