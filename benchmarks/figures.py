"""What is measured (figures), and which of them are compared (claims). Every figure is measured once per round."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks import chain, endurance, lists, web
from benchmarks.results import Row, compare, percentile
from benchmarks.stage import OURS, SideFailed, Stage

Values = Mapping[str, float]  # what one measurement found, by the name of the value
Runs = Mapping[str, Mapping[str, list[float]]]  # figure -> value -> one entry per run


@dataclass(frozen=True)
class Length:
    """How long one measurement lasts."""

    seconds: float  # of a drain, a life cycle, a load
    samples: int  # of the idle pick-up


FULL = Length(seconds=8.0, samples=400)
QUICK = Length(seconds=1.0, samples=40)


@dataclass(frozen=True)
class Drain:
    """Jobs a second out of a filled queue, or through the whole life cycle.

    How many jobs make the wanted seconds is found by a first run of `begin_with` jobs, which does not count.
    """

    side: str
    begin_with: int
    whole_life: bool = False
    without: tuple[str, ...] = ()  # indexes that are dropped first
    fill: str = "enqueue"  # the command that fills the queue
    empty: str = "drain"  # the command that empties it

    def measure(self, on: Stage, length: Length, jobs: int | None) -> tuple[Values, int]:
        """One measurement. `jobs` is None at first; returns what was found, and the jobs for the next one."""
        if jobs is None:
            rate = self._rate(on, self.begin_with)
            jobs = max(self.begin_with // 4, int(rate * length.seconds))
        return {"rate": self._rate(on, jobs)}, jobs

    def _rate(self, on: Stage, jobs: int) -> float:
        run = on.run(self.side)
        for index in self.without:
            run.execute(f"drop index {index}")
        if self.whole_life:
            answer = run.command("lifecycle", str(jobs))
        else:
            run.command(self.fill, str(jobs))
            answer = run.command(self.empty, str(jobs))
        return float(answer["jobs"]) / float(answer["seconds"])


@dataclass(frozen=True)
class PickUp:
    """Milliseconds until an idle worker starts a job.

    `p50`, `p99`: from its commit; for a peer without one, from the moment at which its message goes out. `out_…`: from
    the moment at which COMMIT, or the message, goes out. `called_…`: from the start of the call that sends it.
    """

    side: str

    def measure(self, on: Stage, length: Length, jobs: int | None) -> tuple[Values, int | None]:
        samples = on.run(self.side).command("pickup", str(length.samples))["samples"]
        columns = ([one / 1e6 for one in column] for column in zip(*samples, strict=True))
        since = zip(("called_", "out_", ""), columns, strict=True)
        return {
            f"{prefix}p{percent}": percentile(column, percent) for prefix, column in since for percent in (50, 99)
        }, jobs


@dataclass(frozen=True)
class Post:
    """Jobs a second accepted over HTTP."""

    target: web.Target

    @property
    def side(self) -> str:
        """Whose server it is."""
        return self.target.side

    def measure(self, on: Stage, length: Length, jobs: int | None) -> tuple[Values, int | None]:
        return {"rate": web.measure(on, self.target, seconds=length.seconds)}, jobs


@dataclass(frozen=True)
class Waiters:
    """Milliseconds that one POST in a hundred takes at least: alone, and beside 200 requests that wait for a job."""

    side = OURS

    def measure(self, on: Stage, length: Length, jobs: int | None) -> tuple[Values, int | None]:
        alone, beside = web.beside_waiters(on, seconds=length.seconds)
        return {"alone": alone, "beside": beside}, jobs


@dataclass(frozen=True)
class Lists:
    """Milliseconds that the slowest list of the API takes, with five million jobs in the database."""

    side = OURS

    def measure(self, on: Stage, length: Length, jobs: int | None) -> tuple[Values, int | None]:
        slowest = lists.measure(on, jobs=lists.JOBS if length is FULL else lists.FEW)
        return {"p50": slowest.p50, "p95": slowest.p95}, jobs


Chained = chain.Gas | chain.Signing | chain.Replay | chain.Proof | chain.Confirming


@dataclass(frozen=True)
class Lasting:
    """One of those of endurance.py or chain.py."""

    what: (
        endurance.Behind
        | endurance.Redriven
        | endurance.Held
        | endurance.Steady
        | endurance.Memory
        | endurance.Idle
        | Chained
    )

    @property
    def side(self) -> str:
        """Whose it is."""
        return self.what.side

    @property
    def once(self) -> bool:
        """Whether one measurement is enough: it is long, or hardly varies."""
        return self.what.once

    def measure(self, on: Stage, length: Length, jobs: int | None) -> tuple[Values, int | None]:
        return self.what.measure(on, full=length is FULL, seconds=length.seconds), jobs


FIGURES: Mapping[str, Drain | PickUp | Post | Waiters | Lists | Lasting] = {
    "our drain": Drain(OURS, 20_000),
    "prefork drain": Drain("celery_prefork", 1000),
    "pgqueuer drain": Drain("pgqueuer_asyncpg", 20_000),
    "our life cycle": Drain(OURS, 20_000, whole_life=True),
    "our pick-up": PickUp(OURS),
    "prefork pick-up": PickUp("celery_prefork"),
    "our POST": Post(web.OUR_SINGLE),
    "plain view": Post(web.PLAIN),
    "our batch": Post(web.OUR_BATCH),
    "our POST beside waiters": Waiters(),
    "our lists": Lists(),
    "our drain without the indexes of lists": Drain(OURS, 20_000, without=("jobs_job_rare",)),
    "our drain of keys": Drain(OURS, 20_000, fill="keyed"),
    "our drain on two machines": Drain(OURS, 20_000, empty="drain_two"),
    "our drain behind millions": Lasting(endurance.Behind()),
    "our drain behind a snapshot": Lasting(endurance.Held()),
    "our redrive": Lasting(endurance.Redriven()),
    "our minute": Lasting(endurance.Steady()),
    "our memory": Lasting(endurance.Memory()),
    "our idleness": Lasting(endurance.Idle()),
    "our gas": Lasting(chain.Gas()),
    "our confirmations in batches": Lasting(chain.Confirming(OURS, "batch")),
    "our confirmations one by one": Lasting(chain.Confirming(OURS, "single")),
    "plain task with web3": Lasting(chain.Confirming(chain.PEER)),
    "our replay": Lasting(chain.Replay(OURS)),
    "web3's get_logs": Lasting(chain.Replay(chain.PEER)),
    "our signatures": Lasting(chain.Signing(OURS)),
    "eth_account's signatures": Lasting(chain.Signing(chain.PEER)),
    "our proof": Lasting(chain.Proof()),
    "solo drain": Drain("celery_solo", 2000),
    "results drain": Drain("celery_results", 400),
    "procrastinate drain": Drain("procrastinate_async", 1000),
    "DBOS drain": Drain("dbos_queue", 500),
    "solo pick-up": PickUp("celery_solo"),
}

PREFORK = "Celery prefork"
PLAIN_VIEW = "plain Django view, one INSERT"


@dataclass(frozen=True)
class Claim:
    """A row to be: which value of which figure stands against which."""

    name: str
    unit: str
    ours: tuple[str, str]
    peer: tuple[str, str] | None
    peer_name: str | None
    must: float | None = None
    aim: float | None = None
    lower_is_better: bool = False

    @property
    def figures(self) -> tuple[str, ...]:
        """The figures that must be measured for it."""
        return (self.ours[0],) if self.peer is None else (self.ours[0], self.peer[0])

    def row(self, runs: Runs) -> Row:
        """The row, once every figure has its runs."""
        return compare(
            self.name,
            self.unit,
            runs[self.ours[0]][self.ours[1]],
            None if self.peer is None else runs[self.peer[0]][self.peer[1]],
            peer_name=self.peer_name,
            must=self.must,
            aim=self.aim,
            lower_is_better=self.lower_is_better,
        )


def _drain(name: str, figure: str, peer_name: str, *, must: float | None = None, aim: float | None = None) -> Claim:
    return Claim(name, "jobs/s", ("our drain", "rate"), (figure, "rate"), peer_name, must, aim)


def _pick_up(name: str, value: str, figure: str, peer_name: str, *, must: float | None = None) -> Claim:
    aim = None if must is None else 0.7
    ours, peer = ("our pick-up", value), (figure, value)
    return Claim(name, "ms", ours, peer, peer_name, must, aim, lower_is_better=True)


def _gas(name: str, value: str, *, must: float, floor: float) -> Claim:
    """`floor`: what the least that may be charged for the bytes of the call comes to (EIP-7623)."""
    return Claim(f"gas of a job, {name}", "gas", ("our gas", value), None, None, must, floor, lower_is_better=True)


def _on_chain(name: str, figure: str, *, must: float, aim: float) -> Claim:
    ours, peer = (figure, "rate"), ("plain task with web3", "rate")
    return Claim(name, "jobs/s", ours, peer, "Celery task with web3", must, aim)


CLAIMS: tuple[Claim, ...] = (
    _drain("drain against Celery prefork", "prefork drain", PREFORK, must=15, aim=35),
    _drain("drain against pgqueuer", "pgqueuer drain", "pgqueuer", must=1, aim=2.5),
    Claim(
        "whole life cycle against Celery prefork's drain",
        "jobs/s",
        ("our life cycle", "rate"),
        ("prefork drain", "rate"),
        PREFORK,
        must=8,
        aim=15,
    ),
    _pick_up("idle pick-up p50", "p50", "prefork pick-up", PREFORK, must=1),
    _pick_up("idle pick-up p99", "p99", "prefork pick-up", PREFORK, must=1),
    Claim(
        "POST /jobs, one job a request",
        "jobs/s",
        ("our POST", "rate"),
        ("plain view", "rate"),
        PLAIN_VIEW,
        must=0.6,
        aim=0.9,
    ),
    Claim(
        "POST /jobs/batch, 1,000 jobs a request",
        "jobs/s",
        ("our batch", "rate"),
        ("plain view", "rate"),
        PLAIN_VIEW,
        must=6,
        aim=10,
    ),
    Claim(
        "POST /jobs beside 200 requests that wait for a job, p99",
        "ms",
        ("our POST beside waiters", "beside"),
        ("our POST beside waiters", "alone"),
        "ours without them",
        must=1.5,
        lower_is_better=True,
    ),
    Claim(
        "slowest list of the API with 5 million jobs, p50",
        "ms",
        ("our lists", "p50"),
        None,
        None,
        must=50,
        lower_is_better=True,
    ),
    _drain(
        "drain with the index of lists against without it",
        "our drain without the indexes of lists",
        "ours without it",
        must=0.95,
    ),
    Claim(
        "drain where every job has a lane, a limit and one of 200 projects, against none",
        "jobs/s",
        ("our drain of keys", "rate"),
        ("our drain", "rate"),
        "ours without them",
        must=0.5,
        aim=0.8,
    ),
    Claim(
        "redrive of 100,000 dead letters, against draining them",
        "jobs/s",
        ("our redrive", "rate"),
        ("our drain", "rate"),
        "our drain",
        must=0.5,
    ),
    Claim(
        "drain with 5 million finished jobs, against an empty table",
        "jobs/s",
        ("our drain behind millions", "rate"),
        ("our drain", "rate"),
        "ours without them",
        must=0.85,
        aim=0.95,
    ),
    Claim(
        "drain after a snapshot and a transaction id were held for 10 minutes, and still are, against none",
        "jobs/s",
        ("our drain behind a snapshot", "rate"),
        ("our drain", "rate"),
        "ours without them",
        must=0.8,
        aim=0.9,
    ),
    Claim(
        "a minute of create and process: last 10 s against first 10 s",
        "jobs/s",
        ("our minute", "last"),
        ("our minute", "first"),
        "its first 10 s",
        must=0.9,
    ),
    Claim(
        "drain by the workers of two machines, against one",
        "jobs/s",
        ("our drain on two machines", "rate"),
        ("our drain", "rate"),
        "ours on one",
        must=1,
    ),
    Claim(
        "idle platform, SQL statements a second",
        "/s",
        ("our idleness", "statements"),
        None,
        None,
        must=10,
        aim=4,
        lower_is_better=True,
    ),
    Claim(
        "idle platform, share of one core",
        "%",
        ("our idleness", "cpu"),
        None,
        None,
        must=3,
        lower_is_better=True,
    ),
    Claim(
        "memory that a process of the worker gains over 1 million jobs",
        "MB",
        ("our memory", "gained"),
        None,
        None,
        must=5,
        lower_is_better=True,
    ),
    _gas("one job a transaction", "single", must=24_500, floor=23_240),
    _gas("100 jobs a transaction", "batch", must=3300, floor=2310),
    _gas("1,000 jobs under one anchor", "anchor", must=30, floor=22.9),
    _on_chain("jobs from queue to confirmed, batches, one signer", "our confirmations in batches", must=10, aim=20),
    _on_chain("jobs from queue to confirmed, one a transaction", "our confirmations one by one", must=2, aim=3),
    Claim(
        "replay of 100,000 logs into PostgreSQL, against fetching and decoding them",
        "logs/s",
        ("our replay", "rate"),
        ("web3's get_logs", "rate"),
        "web3's get_logs",
        must=10,
        aim=25,
    ),
    Claim(
        "signing a transaction",
        "/s",
        ("our signatures", "rate"),
        ("eth_account's signatures", "rate"),
        "eth_account as installed",
        must=3,
    ),
    Claim(
        "proof of a job among 10,000 of an anchor, processor time of the request",
        "ms",
        ("our proof", "cpu"),
        None,
        None,
        must=5,
        lower_is_better=True,
    ),
    # Shown without a bound.
    Claim("consumers behind a snapshot of 10 minutes", "s", ("our drain behind a snapshot", "lag"), None, None),
    Claim("idle platform, share of one core of PostgreSQL and Redis", "%", ("our idleness", "servers"), None, None),
    Claim("slowest list of the API with 5 million jobs, p95", "ms", ("our lists", "p95"), None, None),
    _drain("drain against Celery solo x 2", "solo drain", "Celery solo x 2"),
    _drain("drain against Celery with django-celery-results", "results drain", "Celery + django-celery-results"),
    _drain("drain against procrastinate", "procrastinate drain", "procrastinate"),
    _drain("drain against DBOS", "DBOS drain", "DBOS"),
    _pick_up("idle pick-up p50 against Celery solo x 2", "p50", "solo pick-up", "Celery solo x 2"),
    _pick_up("idle pick-up p99 against Celery solo x 2", "p99", "solo pick-up", "Celery solo x 2"),
    _pick_up("idle pick-up p50 from the sending of COMMIT", "out_p50", "prefork pick-up", PREFORK),
    _pick_up("idle pick-up p99 from the sending of COMMIT", "out_p99", "prefork pick-up", PREFORK),
    _pick_up("idle pick-up p50 from the start of the call", "called_p50", "prefork pick-up", PREFORK),
    _pick_up("idle pick-up p99 from the start of the call", "called_p99", "prefork pick-up", PREFORK),
)


def chosen(part: str) -> list[Claim]:
    """The claims whose name contains `part`, whatever its case. Raises `LookupError` when there is none."""
    found = [claim for claim in CLAIMS if part.lower() in claim.name.lower()]
    if not found:
        message = f"No row is named like {part!r}. There are: {', '.join(claim.name for claim in CLAIMS)}."
        raise LookupError(message)
    return found


def alternate(
    on: Stage, names: list[str], *, rounds: int, length: Length, tell: Callable[[str], None]
) -> dict[str, dict[str, list[float]]]:
    """Measure every named figure once per round, round after round, so that slow minutes hit all alike.

    Every other round goes backwards: what comes first or last is not always the same.

    A peer that fails in a figure that only shown rows need is told, and has no runs: the others are worth measuring.

    Raises `SideFailed` when a figure fails that a row with a bound needs.
    """
    bounded = {name for claim in CLAIMS if claim.must is not None for name in claim.figures}
    failed: set[str] = set()
    runs: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    sizes: dict[str, int | None] = dict.fromkeys(names)
    for number in range(1, rounds + 1):
        for name in [name for name in names[:: 1 if number % 2 else -1] if name not in failed]:
            if number > 1 and getattr(FIGURES[name], "once", False):
                continue
            try:
                values, sizes[name] = FIGURES[name].measure(on, length, sizes[name])
            except SideFailed as failure:
                if name in bounded:
                    raise
                failed.add(name)
                runs[name] = {}
                tell(f"round {number}/{rounds}: {name} is left out: {failure}")
                continue
            for value, found in values.items():
                runs[name].setdefault(value, []).append(found)
            tell(
                f"round {number}/{rounds}: {name} " + ", ".join(f"{key} {found:,.5g}" for key, found in values.items())
            )
    return runs
