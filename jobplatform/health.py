"""What the monitoring asks: does this process run (`/healthz`), does the platform get on (`/readyz`), `/metrics`."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import psycopg
import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, HttpResponse
from kombu import Connection

from jobplatform import metrics as everything
from jobplatform import telemetry
from jobplatform.api.encoding import dumps
from jobplatform.api.problems import Problem
from jobplatform.api.refusals import plain
from jobs import figures

logger = structlog.get_logger(__name__)

View = Callable[[HttpRequest], HttpResponse]
Check = Mapping[str, Any]

RELAY_SECONDS = 10.0
"""Without a round of any relay for so long, nothing new is rung."""
BEAT_SECONDS = 20.0
"""Beat sleeps five seconds between its looks, and notes them now and then."""
WORKER_SECONDS = 20.0
"""A pump that finds nothing may listen for a while; without progress for so long it is stalled."""
BROKER_SECONDS = 2.0
"""The broker is asked once in so many seconds, and has so long to answer."""

_migrated = False
_broker_asked = (float("-inf"), "")


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
def readyz(request: HttpRequest) -> HttpResponse:
    """Whether the platform gets on: 200, or 503 with the reasons.

    Database, broker and migrations; a relay that makes rounds; beat, if there is one; no worker process that lives and
    gets nowhere. That there is a worker at all decides nothing: without one jobs are accepted, and wait. Names of
    hosts and numbers of processes are for who may see the metrics.
    """
    try:
        checks = {
            "database": {"ok": True},
            "migrations": _migrations(),
            "broker": _broker(),
            **_processes(named=telemetry.may_see_metrics(request)),
        }
    except (DatabaseError, psycopg.Error) as error:
        checks = {"database": {"ok": False, "detail": type(error).__name__}, "broker": _broker()}
    reasons = list(_reasons(checks))
    body = {"status": "not_ready" if reasons else "ready", "reasons": reasons, "checks": checks}
    return HttpResponse(dumps(body), status=503 if reasons else 200, content_type="application/json")


@_reading
def metrics(request: HttpRequest) -> HttpResponse:
    """The metrics in Prometheus' text format."""
    return telemetry.metrics_response(request)


def _reasons(checks: Mapping[str, Check]) -> Iterator[str]:
    for name, check in checks.items():
        if not check["ok"]:
            yield f"{name}: {check['detail']}"


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


def _broker() -> Check:
    """Whether the broker answers. Anybody may ask us, so we do not ask it for each of them."""
    global _broker_asked  # noqa: PLW0603 - remembered by the process
    at, problem = _broker_asked
    if time.monotonic() - at > BROKER_SECONDS:
        problem = _ask_broker()
        _broker_asked = (time.monotonic(), problem)
    return {"ok": False, "detail": problem} if problem else {"ok": True}


def _ask_broker() -> str:
    options = {"socket_timeout": BROKER_SECONDS, "socket_connect_timeout": BROKER_SECONDS}
    broker = Connection(settings.BROKER_URL, connect_timeout=BROKER_SECONDS, transport_options=options)
    try:
        broker.connect()
        broker.channel()  # with Redis, only a channel really connects
    except Exception as error:  # noqa: BLE001 - every transport has errors of its own
        logger.warning("broker away", handler="readyz", action="ask", details=str(error)[:200])
        return "It does not answer."
    finally:
        broker.release()
    return ""


def _processes(*, named: bool) -> Mapping[str, Check]:
    pulses, workers = figures.pulses(), figures.workers()
    found: dict[str, Check] = {"relay": _rounds(pulses.get("relay"), RELAY_SECONDS, named=named)}
    if "beat" in pulses:
        found["beat"] = _rounds(pulses["beat"], BEAT_SECONDS, named=named)
    found["workers"] = {"ok": True, "live": len(workers)}
    stalled = [worker for worker in workers if worker.quiet > WORKER_SECONDS]
    if stalled:
        who = ", ".join(f"{worker.id} (process {worker.pid} on {worker.host})" for worker in stalled[:10])
        detail = f"{len(stalled)} of {len(workers)} make no progress{f': {who}' if named else ''}."
        found["workers"] = {"ok": False, "live": len(workers), "detail": detail}
    return found


def _rounds(pulse: figures.Pulse | None, most: float, *, named: bool) -> Check:
    if pulse is None:
        return {"ok": False, "detail": "None was ever seen."}
    about: dict[str, Any] = {"age_seconds": round(pulse.age, 1)}
    if named:
        about["process"] = f"{pulse.pid} on {pulse.host}"
    if pulse.age <= most:
        return {"ok": True, **about}
    return {"ok": False, "detail": f"No round for {pulse.age:.0f} s.", **about}


telemetry.register_metrics(everything.collect)
