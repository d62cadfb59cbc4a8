"""From the request over the doorbell to the handler and outwards: one readable story at a collector."""

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from pytest_django import DjangoDbBlocker

from tests.acceptance.jobs.web import JOBS, Web
from tests.databases import Cluster
from tests.processes import Platform

pytestmark = pytest.mark.timeout(240)

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HANDLERS = ("tests.handlers.good", "tests.handlers.calling")


@dataclass
class Collector:
    """An HTTP server that takes spans at /v1/traces, and notes who else calls."""

    spans: list[Span] = field(default_factory=list)
    called_with: list[str | None] = field(default_factory=list)
    url: str = ""

    def named(self, name: str, trace: str | None = None) -> list[Span]:
        return [span for span in self.spans if span.name == name and trace in {None, span.trace_id.hex()}]


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = ExportTraceServiceRequest()
            request.ParseFromString(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in request.resource_spans:
                for scope in resource.scope_spans:
                    collector.spans.extend(scope.spans)
            self._done()

        def do_GET(self) -> None:
            collector.called_with.append(self.headers["traceparent"])
            self._done()

        def _done(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Silent."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()


@pytest.fixture
def start(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Any]:
    """A platform that traces as these variables say."""
    with django_db_blocker.unblock():
        platforms: list[Platform] = []

        def make(**env: str) -> Web:
            # Whatever is traced is sent at once.
            env |= {"ALLOWED_HOSTS": "127.0.0.1", "OTEL_BSP_SCHEDULE_DELAY": "100"}
            platform = Platform(cluster, os.environ["BROKER_URL"], env=env, handlers=HANDLERS)
            platforms.append(platform.__enter__())
            platform.relay()
            platform.worker(concurrency=1)
            return Web(platform)

        yield make
        for platform in platforms:
            platform.__exit__(None, None, None)


def create(web: Web, kind: str, url: str, **headers: str) -> UUID:
    answer = web.call("POST", JOBS, {"kind": kind, "payload": {"url": url}}, **headers)
    assert answer.status == 202, answer.content
    job = UUID(answer.body["id"])
    web.platform.wait_ended([job])
    assert web.platform.job(job)["status"] == "processed"
    return job


def about(span: Span) -> dict[str, Any]:
    return {item.key: item.value.string_value or item.value.int_value for item in span.attributes}


def test_a_request_becomes_a_job_with_attempts_that_call_on(collector: Collector, start: Any) -> None:
    web = start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    job = create(web, "test.calls", f"{collector.url}/called", traceparent=f"00-{TRACE}-{CALLER}-01")
    of_job = job.hex
    web.platform.wait_until(
        lambda: (
            len(collector.named("run test.calls", of_job)) == 2
            and collector.named("submit test.calls")
            and collector.named("answer test.calls")
            and collector.named("POST request", TRACE)
        ),
        "the spans to arrive",
    )

    (request,) = collector.named("POST request", TRACE)
    assert request.parent_span_id.hex() == CALLER
    assert about(request) == {
        "http.request.method": "POST", "url.path": JOBS, "http.response.status_code": 202,
    }  # fmt: skip
    (first,) = collector.named("submit test.calls", of_job)
    assert [(link.trace_id.hex(), link.span_id) for link in request.links] == [(of_job, first.span_id)]
    assert [(link.trace_id.hex(), link.span_id) for link in first.links] == [(TRACE, request.span_id)]
    (wait,) = collector.named("wait", of_job)
    runs = sorted(collector.named("run test.calls", of_job), key=lambda span: span.start_time_unix_nano)
    assert {span.parent_span_id for span in (wait, *runs)} == {first.span_id}
    assert wait.start_time_unix_nano < wait.end_time_unix_nano <= runs[0].start_time_unix_nano + 10**9
    assert [about(span)["job.attempt"] for span in runs] == [1, 2]
    assert (runs[0].status.code, about(runs[0])["error.type"]) == (2, "ValueError")
    assert "hunter2" not in str(collector.spans)
    assert about(runs[1])["job.outcome"] == "Done"
    # Each run is linked with the doorbell that was answered, which goes on from the one that was rung. A pump listens
    # on for a while before its span ends.
    linked = {run.links[0].span_id for run in runs}

    def rung() -> bool:
        """Relay and worker send their spans each in its own time."""
        parents = {span.span_id: span.parent_span_id for span in collector.named("answer test.calls")}
        rings = {span.span_id for span in collector.named("ring test.calls")}
        return linked <= parents.keys() and {parents[answer] for answer in linked} <= rings

    web.platform.wait_until(rung, "every pump to end, and the doorbells that it goes on from")
    # What the handler called was told of the run that called.
    assert collector.called_with == [f"00-{of_job}-{run.span_id.hex()}-01" for run in runs]


def test_the_settings_of_opentelemetry_decide_what_is_recorded(collector: Collector, start: Any) -> None:
    env = {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.5"}
    web = start(OTEL_EXPORTER_OTLP_ENDPOINT=collector.url, **env)
    url = f"{collector.url}/called"
    jobs = [create(web, "test.calls_async", url) for _ in range(16)]
    told = [sent.split("-") for sent in collector.called_with if sent]
    recorded = {trace for _, trace, _, flags in told if flags == "01"}
    for name in ("run test.calls_async", "submit test.calls_async"):
        web.platform.wait_until(
            lambda name=name: {span.trace_id.hex() for span in collector.named(name)} == recorded,
            "the recorded ones to arrive",
        )

    assert [trace for _, trace, _, _ in told] == [job.hex for job in jobs]
    assert recorded == {job.hex for job in jobs if not job.int >> 61 & 1}  # all of a trace, or nothing
    assert 0 < len(recorded) < len(jobs)


def test_without_an_address_nothing_of_it_is_imported(collector: Collector, start: Any) -> None:
    web = start()
    create(web, "test.calls", f"{collector.url}/called", traceparent=f"00-{TRACE}-{CALLER}-01")

    assert collector.called_with == [None, None]
    driver = web.platform.driver()
    assert [driver.call("loaded", name)["ok"] for name in ("opentelemetry.exporter", "jobplatform.spans")] == [[], []]
