"""Metrics of the whole platform for Prometheus, counted in the database: every web process tells the same.

A scrape is some twenty cheap statements, however much data there is. Labels are bounded: kinds and queues that are
registered, codes, tables and consumers of ours; never a project, and nothing that a client wrote. What each means for
an operator, and what to do, is told in docs/operations.md; a test compares the two.
"""

import platform
import time
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import cache

from django.conf import settings
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from events import log, sealing
from jobplatform import chain_metrics
from jobs import figures, registry, tallies, tuning
from reconciliation import selectors

MOST_UNREAD = 5_000
"""Unread rows of a consumer are counted up to so many."""
OTHER = "other"
"""The label of kinds that are not registered (any more)."""

# What an event says of the attempt that ended with it.
OUTCOMES = {
    "job.processed": "done",
    "job.retrying": "retried",
    "job.failed": "failed",
    "job.rejected": "rejected",
    "job.blocked": "blocked",
    "job.parked": "parked",
    "job.cancelled": "cancelled",
    "job.released": "released",
}


def collect() -> Iterator[Metric]:
    """Every metric family."""
    yield from _build()
    yield from _queues()
    yield from _counters()
    yield from _timings()
    yield from _slots()
    yield from _processes()
    yield from _undecided()
    yield from _reconciled()
    if settings.RPC_URLS:
        yield from chain_metrics.collect()
    yield from _consumers()
    yield from _database()


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"jobplatform_{name}", text, labels=labels)


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"jobplatform_{name}", text, value=value)


def _counter(name: str, text: str, labels: tuple[str, ...]) -> CounterMetricFamily:
    return CounterMetricFamily(f"jobplatform_{name}", text, labels=labels)


def _known(kind: str) -> str:
    return kind if not kind or registry.find(kind) else OTHER


def _queue_of(kind: str) -> str:
    found = registry.find(kind)
    return found.queue if found else OTHER


# ---------------------------------------------------------------------------------------------- the platform


@cache
def version() -> str:
    """The version of this checkout."""
    project = tomllib.loads((settings.BASE_DIR / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["version"])


def _build() -> Iterable[Metric]:
    build = _gauge("build_info", "1; what runs here.", ("version", "python"))
    build.add_metric((version(), platform.python_version()), 1)
    yield build


def _queues() -> Iterable[Metric]:
    due: dict[tuple[str, str], int] = defaultdict(int)
    age: dict[tuple[str, str], float] = defaultdict(float)
    for depth in figures.depths():
        labels = (_known(depth.kind), _queue_of(depth.kind))
        due[labels] += depth.due
        age[labels] = max(age[labels], depth.age)
    number = _gauge("jobs_due", f"Jobs due now, counted up to {figures.MOST_COUNTED} in all.", ("kind", "queue"))
    oldest = _gauge("jobs_due_age_seconds", "For how long the oldest of them is due.", ("kind", "queue"))
    for labels, value in due.items():
        number.add_metric(labels, value)
        oldest.add_metric(labels, age[labels])
    yield number
    yield oldest
    canary = _gauge("canary_seconds", "How long the last canary of a queue took, from creation to commit.", ("queue",))
    passed = _gauge("canary_age_seconds", "Since when no canary of a queue has come through.", ("queue",))
    for item in figures.canaries():
        if item.seconds is not None:
            canary.add_metric((item.queue,), item.seconds)
        passed.add_metric((item.queue,), item.age)
    yield canary
    yield passed


# ---------------------------------------------------------------------------------------------- what happened


def _counters() -> Iterable[Metric]:
    complete = tallies.count()
    by_label: dict[tuple[str, str], int] = defaultdict(int)
    for (type_, kind), total in tallies.events().items():
        by_label[type_, _known(kind)] += total
    events = _counter("events", "Events of the log.", ("type", "kind"))
    attempts = _counter("attempts", "Ends of attempts at a job, by what came of them.", ("kind", "outcome"))
    for (type_, kind), total in by_label.items():
        events.add_metric((type_, kind), total)
        if type_ in OUTCOMES:
            attempts.add_metric((kind, OUTCOMES[type_]), total)
    yield events
    yield attempts
    yield _one("events_uncounted", "1 while the counters are still catching up with the log.", 0 if complete else 1)
    refused = _counter("jobs_refused", "Creations that were refused.", ("code",))
    for code, total in figures.refusals().items():
        refused.add_metric((code,), total)
    yield refused


def _timings() -> Iterable[Metric]:
    tuning.refresh()
    timings = tallies.timings()
    yield _histogram("job_duration_seconds", "How long attempts ran.", timings["duration"])
    yield _histogram("job_wait_seconds", "How long jobs that ended had been due when they started.", timings["wait"])
    late = _counter("jobs_late", "Attempts that ran longer than the kind's `expect=`.", ("kind",))
    for item in timings["late"]:
        if registry.find(item.kind):
            late.add_metric((item.kind,), item.total)
    yield late
    expected = _gauge("job_expected_seconds", "The kind's `expect=`.", ("kind",))
    for kind in registry.kinds():
        if kind.expect is not None:
            expected.add_metric((kind.name,), kind.expect)
    yield expected


def _histogram(name: str, text: str, items: list[tallies.Histogram]) -> Metric:
    family = HistogramMetricFamily(f"jobplatform_{name}", text, labels=("kind",))
    for item in items:
        if registry.find(item.kind):
            # As the client library writes bounds: 0.001, 5.0, +Inf.
            buckets = [("+Inf" if le == float("inf") else str(float(le)), total) for le, total in item.cumulative]
            family.add_metric((item.kind,), buckets, item.seconds)
    return family


# ---------------------------------------------------------------------------------------------- processes


def _slots() -> Iterable[Metric]:
    slots = _gauge("slots", "Worker processes that are alive: so many pumps run at a time.", ("queue",))
    busy = _gauge("slots_busy", "Worker processes that have answered a doorbell.", ("queue",))
    ringing = _gauge("doorbells_in_flight", "Doorbells that were rung and whose pump has not ended.", ("queue",))
    unanswered = _gauge("doorbell_unanswered_seconds", "For how long the oldest one waits for a worker.", ("queue",))
    for item in figures.slots():
        slots.add_metric((item.queue,), item.live)
        busy.add_metric((item.queue,), item.busy)
        ringing.add_metric((item.queue,), item.ringing)
        unanswered.add_metric((item.queue,), item.unanswered)
    yield from (slots, busy, ringing, unanswered)


def _processes() -> Iterable[Metric]:
    before = time.time()
    skews = {"web": (before + time.time()) / 2 - figures.clock()}
    workers = figures.workers()
    quiet = max((worker.quiet for worker in workers), default=0.0)
    yield _one("worker_quiet_seconds", "The longest time that a live worker process has made no progress.", quiet)
    if workers:
        skews["worker"] = max((worker.skew for worker in workers), key=abs)
    pulses = figures.pulses()
    for role in ("relay", "beat"):
        age = _gauge(f"{role}_age_seconds", f"Since when no {role} has made a round.")
        slowest = _gauge(f"{role}_round_seconds", f"The slowest round of the {role} lately.")
        if role in pulses:
            age.add_metric((), pulses[role].age)
            slowest.add_metric((), pulses[role].slowest)
            skews[role] = pulses[role].skew
        yield age
        yield slowest
    skew = _gauge("clock_skew_seconds", "How far a process's clock is ahead of the database's.", ("process",))
    for process, seconds in skews.items():
        skew.add_metric((process,), seconds)
    yield skew


def _undecided() -> Iterable[Metric]:
    found = figures.undecided()
    text = f"Open interventions, counted up to {figures.MOST_OPEN}: a person has to decide."
    yield _one("interventions_open", text, found.interventions)
    yield _one("lanes_blocked", "Lanes whose first job stands blocked, as far as those were counted.", found.lanes)


def _reconciled() -> Iterable[Metric]:
    causes, dead = selectors.standing()
    yield _one("dead_letters", "Jobs that stand failed or rejected.", dead)
    yield _one("dead_letter_causes", "How many different errors they died of.", causes)
    found = _gauge("findings", "What stands between two states and was not put right.", ("invariant",))
    repaired = _counter("findings_repaired", "What stood between two states and was put right.", ("invariant",))
    for name, finding in selectors.findings().items():
        found.add_metric((name,), finding.number)
        repaired.add_metric((name,), finding.repaired)
    redrives = _gauge("redrives_open", "Redrives that have not ended, by how they stand.", ("status",))
    for status, number in selectors.open_redrives().items():
        redrives.add_metric((status,), number)
    firing = _gauge("alarms_firing", "Alarms of the platform's own rules that fire, by severity.", ("severity",))
    for severity, number in selectors.firing_by_severity().items():
        firing.add_metric((severity,), number)
    yield from (found, repaired, redrives, firing)


# ---------------------------------------------------------------------------------------------- the log, the database


def _consumers() -> Iterable[Metric]:
    lag = _gauge("consumer_lag_seconds", "Age of the oldest event that a consumer has not read.", ("consumer",))
    rows = _gauge("consumer_lag_rows", f"Events that it has not read, counted up to {MOST_UNREAD}.", ("consumer",))
    failures = _gauge("consumer_failures", "Failures in a row of a consumer.", ("consumer",))
    for item in log.unread(MOST_UNREAD):
        lag.add_metric((item.consumer,), item.seconds)
        rows.add_metric((item.consumer,), item.number)
        failures.add_metric((item.consumer,), item.failures)
    yield from (lag, rows, failures)
    yield _one("log_days_ahead", "Days after today for which the log has partitions.", log.days_ahead())
    text = "Age of the oldest audit record that has no seal yet."
    yield _one("audit_unsealed_seconds", text, sealing.unsealed_seconds())


def _database() -> Iterable[Metric]:
    open_ = figures.transactions()
    yield _one("oldest_transaction_seconds", "Age of the oldest open transaction.", open_.oldest)
    text = "Age of the oldest open transaction that has written: it holds back every consumer of the log."
    yield _one("log_held_seconds", text, open_.writer)
    text = "Age of the oldest snapshot: it holds back vacuum. The holder is the application's name."
    snapshot = _gauge("oldest_snapshot_seconds", text, ("holder",))
    snapshot.add_metric((open_.holder[:40],), open_.snapshot)
    yield snapshot
    dead = _gauge("dead_rows", "Rows that vacuum has yet to remove.", ("table",))
    rows = _gauge("rows_estimated", "Rows, as the statistics know.", ("table",))
    for table, alive, gone in figures.table_sizes():
        dead.add_metric((table,), gone)
        rows.add_metric((table,), alive)
    yield dead
    yield rows
