"""What the monitoring asks: does the process run (`/healthz`), can it work (`/readyz`), how does it go (`/metrics`)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import psycopg
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from events import log
from jobplatform import telemetry
from jobplatform.api.problems import Problem
from jobplatform.api.refusals import plain
from jobplatform.api.renderers import dumps
from jobs import figures
from jobs.states import LIVE_SECONDS

View = Callable[[HttpRequest], HttpResponse]
Check = Mapping[str, Any]

_migrated = False


def _reading(view: View) -> View:
    def read(request: HttpRequest) -> HttpResponse:
        if request.method not in {"GET", "HEAD"}:
            return plain(Problem(405, "method_not_allowed", "This address is for reading.", headers={"Allow": "GET"}))
        response = view(request)
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    return read


@_reading
def healthz(_request: HttpRequest) -> HttpResponse:
    """The process answers. It asks nobody else, so that a database that is away does not get the process killed."""
    return HttpResponse(b'{"status":"alive"}', content_type="application/json")


@_reading
def readyz(_request: HttpRequest) -> HttpResponse:
    """Whether requests can be served: 200 or 503.

    The relay and the workers are shown beside it and decide nothing: without them jobs are accepted, and wait.
    """
    try:
        checks = {"database": {"ok": True}, "migrations": _migrations(), **_processes()}
    except (DatabaseError, psycopg.Error) as error:
        checks = {"database": {"ok": False, "detail": type(error).__name__}}
    ready = all(checks.get(name, {"ok": True})["ok"] for name in ("database", "migrations"))
    body = {"status": "ready" if ready else "not_ready", "checks": checks}
    return HttpResponse(dumps(body), status=200 if ready else 503, content_type="application/json")


@_reading
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics in Prometheus' text format."""
    return telemetry.metrics_response(request)


def _migrations() -> Check:
    """Applied ones stay applied while this process lives, so they are looked at until all are."""
    global _migrated  # noqa: PLW0603 - remembered by the process
    if not _migrated:
        with connection.cursor() as cursor:  # reconnects, and tells at once that the database is away
            cursor.execute("select 1")
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
        if missing:
            return {"ok": False, "detail": f"{len(missing)} migrations are not applied."}
        _migrated = True
    return {"ok": True}


def _processes() -> Mapping[str, Check]:
    heard = figures.heard()
    return {
        "relay": {"ok": _fresh(heard.relay), "age_seconds": heard.relay},
        "workers": {"ok": heard.workers > 0, "live": heard.workers, "age_seconds": heard.worker},
    }


def _fresh(age: float | None) -> bool:
    return age is not None and age < LIVE_SECONDS


# ------------------------------------------------------------------------------------------------ metrics


def collect() -> Iterable[Metric]:
    """Metrics of the whole platform, counted in the database: every web process tells the same."""
    yield from _queues()
    yield from _counters()
    yield from _workers()
    yield from _consumers()
    yield from _database()


def _gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"jobplatform_{name}", text, labels=labels)


def _queues() -> Iterable[Metric]:
    due = _gauge("jobs_due", f"Jobs due now, counted up to {figures.MOST_COUNTED} in all.", ("kind",))
    age = _gauge("jobs_due_age_seconds", "How long the oldest of them is due.", ("kind",))
    for depth in figures.depths():
        due.add_metric((depth.kind,), depth.due)
        age.add_metric((depth.kind,), depth.age)
    yield due
    yield age


def _counters() -> Iterable[Metric]:
    complete = figures.count_events()
    events = CounterMetricFamily(
        "jobplatform_events", "Events of the log: `job.processed` is a job that was done, ...", labels=("type", "kind")
    )
    for (type_, kind), total in figures.event_totals().items():
        events.add_metric((type_, kind), total)
    yield events
    behind = _gauge("events_uncounted", "1 while jobplatform_events_total is still catching up with the log.")
    behind.add_metric((), 0 if complete else 1)
    yield behind
    refused = CounterMetricFamily("jobplatform_jobs_refused", "Creations that were refused.", labels=("code",))
    for code, total in figures.refusals().items():
        refused.add_metric((code,), total)
    yield refused


def _workers() -> Iterable[Metric]:
    live = _gauge("workers_live", "Worker processes that are alive.", ("queue",))
    busy = _gauge("doorbells_in_flight", "Doorbells rung and not yet done: busy worker processes.", ("queue",))
    for queue, workers, doorbells in figures.slots():
        live.add_metric((queue,), workers)
        busy.add_metric((queue,), doorbells)
    yield live
    yield busy
    heard = figures.heard()
    age = _gauge("relay_age_seconds", "When the relay was last heard of.")
    if heard.relay is not None:
        age.add_metric((), heard.relay)
    yield age


def _consumers() -> Iterable[Metric]:
    lag = _gauge("consumer_lag_seconds", "Age of the oldest event that a consumer has not read.", ("consumer",))
    failures = _gauge("consumer_failures", "Failures in a row of a consumer.", ("consumer",))
    for name, (seconds, failed) in log.lag().items():
        lag.add_metric((name,), seconds)
        failures.add_metric((name,), failed)
    yield lag
    yield failures


def _database() -> Iterable[Metric]:
    oldest = _gauge("oldest_transaction_seconds", "Age of the oldest open transaction: it holds back the log.")
    oldest.add_metric((), figures.oldest_transaction())
    yield oldest
    dead = _gauge("dead_rows", "Rows that vacuum has yet to remove.", ("table",))
    rows = _gauge("rows_estimated", "Rows, as the statistics know.", ("table",))
    for table, alive, gone in figures.table_sizes():
        dead.add_metric((table,), gone)
        rows.add_metric((table,), alive)
    yield dead
    yield rows


telemetry.register_metrics(collect)
