"""The spans behind `jobplatform.tracing`. Imported only where traces are asked for.

The SDK reads its own variables (`OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_BSP_*`, ...).
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode, TraceFlags
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jobplatform.telemetry import safe

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Addresses whose requests are nobody's story."""
MOST_LINKS = 100
"""Jobs of one creation that get a span; the others have their trace from their first attempt on."""
_KINDS = {"producer": SpanKind.PRODUCER, "consumer": SpanKind.CONSUMER}

_propagator = TraceContextTextMapPropagator()
_forced: ContextVar[UUID | None] = ContextVar("forced_trace", default=None)
_provider: TracerProvider
_tracer: trace.Tracer


class _Ids(RandomIdGenerator):
    """Random ids, but for the first span of a job's trace: those are the job's."""

    def generate_trace_id(self) -> int:
        job_id = _forced.get()
        return super().generate_trace_id() if job_id is None else job_id.int

    def generate_span_id(self) -> int:
        job_id = _forced.get()
        return super().generate_span_id() if job_id is None else _first_span(job_id)


class _Fair(Sampler):
    """The sampler of the settings, for ids that are UUIDs.

    A sampler of a share compares the lower half of a trace's id with a bound. Of a UUID, the two highest bits there are
    always the same, so that it would take all or nothing: they make room for the random ones behind them.
    """

    def __init__(self, chosen: Sampler) -> None:
        self._chosen = chosen

    def should_sample(self, parent_context: Context | None, trace_id: int, *args: Any, **kwargs: Any) -> SamplingResult:
        """As the chosen one says."""
        fair = (trace_id & (2**62 - 1)) << 2 | trace_id >> 64 & 3
        return self._chosen.should_sample(parent_context, fair, *args, **kwargs)

    def get_description(self) -> str:
        """For people."""
        return str(self._chosen.get_description())


def _first_span(job_id: UUID) -> int:
    return int.from_bytes(job_id.bytes[8:])


def start(process: str) -> None:
    """Make this process's tracer. A forked child makes its own: threads do not survive a fork."""
    global _provider, _tracer  # noqa: PLW0603 - one per process
    resource = Resource.create({"service.name": "jobplatform", "service.instance.id": process})
    _provider = TracerProvider(resource=resource, id_generator=_Ids())
    _provider.sampler = _Fair(_provider.sampler)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("jobplatform")


def stop() -> None:
    """Send what is left."""
    _provider.shutdown()


def headers() -> dict[str, str]:
    """The context of the current span as headers."""
    found: dict[str, str] = {}
    _propagator.inject(found)
    return found


@contextmanager
def span(name: str, kind: str, parent: Mapping[str, Any]) -> Iterator[None]:
    """A span; `parent`: headers from which it goes on."""
    context = _propagator.extract({name: value for name, value in parent.items() if isinstance(value, str)})
    with _tracer.start_as_current_span(name, context=context if parent else None, kind=_KINDS[kind]):
        yield


# ---------------------------------------------------------------------------------------------- jobs


def submitted(jobs: Iterable[tuple[UUID, str]]) -> None:
    """Begin the trace of each job, and link it with the current span both ways."""
    here = trace.get_current_span()
    links = [Link(here.get_span_context())] if here.get_span_context().is_valid else []
    for _, (job_id, kind) in zip(range(MOST_LINKS), jobs, strict=False):
        token = _forced.set(job_id)
        try:
            first = _tracer.start_span(
                f"submit {kind}", Context(), SpanKind.PRODUCER, {"job.id": str(job_id), "job.kind": kind}, links
            )
        finally:
            _forced.reset(token)
        here.add_link(first.get_span_context())
        first.end()


def _of_job(job_id: UUID) -> Context:
    """The context of a job's trace. Whether it is recorded was decided by its id, as the sampler decides."""
    decided = _provider.sampler.should_sample(Context(), job_id.int, "submit").decision is Decision.RECORD_AND_SAMPLE
    flags = TraceFlags(TraceFlags.SAMPLED if decided else TraceFlags.DEFAULT)
    first = SpanContext(job_id.int, _first_span(job_id), is_remote=True, trace_flags=flags)
    return trace.set_span_in_context(NonRecordingSpan(first), Context())


def traced(handle: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose runs are spans."""
    if inspect.iscoroutinefunction(handle):

        async def run_async(run: Any) -> Any:
            with _attempt(run) as end:
                return end(await handle(run))

        return run_async

    def run_sync(run: Any) -> Any:
        with _attempt(run) as end:
            return end(handle(run))

    return run_sync


@contextmanager
def _attempt(run: Any) -> Iterator[Callable[[Any], Any]]:
    """One run of a handler: a child of the job's first span, linked with the doorbell that brought it about."""
    context = _of_job(run.id)
    doorbell = trace.get_current_span().get_span_context()
    if run.attempt == 1:
        created = int.from_bytes(run.id.bytes[:6]) * 1_000_000  # a UUIDv7 begins with its time in milliseconds
        _tracer.start_span("wait", context, start_time=created).end()
    about = {
        "job.id": str(run.id),
        "job.kind": run.kind,
        "job.attempt": run.attempt,
        "job.project": str(run.project_id),
    }
    links = [Link(doorbell)] if doorbell.is_valid else []
    current = _tracer.start_span(f"run {run.kind}", context, SpanKind.CONSUMER, about, links)

    def end(outcome: Any) -> Any:
        current.set_attribute("job.outcome", type(outcome).__name__)
        return outcome

    with trace.use_span(current, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield end
        except BaseException as error:
            _failed(current, error)
            raise


def _failed(current: Span, error: BaseException) -> None:
    text = str(safe(f"{type(error).__name__}: {error}"))
    current.set_attribute("error.type", type(error).__name__)
    current.set_status(StatusCode.ERROR, text)


# ---------------------------------------------------------------------------------------------- requests


def wsgi(application: Callable[..., Iterable[bytes]]) -> Callable[..., Iterable[bytes]]:
    """An application whose requests are spans."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path, method = environ.get("PATH_INFO", ""), environ["REQUEST_METHOD"]
        if path in QUIET:
            return application(environ, start_response)
        sent = {"traceparent": environ.get("HTTP_TRACEPARENT", ""), "tracestate": environ.get("HTTP_TRACESTATE", "")}
        about = {"http.request.method": method, "url.path": str(safe(path))}
        with _tracer.start_as_current_span(
            f"{method} request", _propagator.extract(sent, Context()), SpanKind.SERVER, about
        ) as current:

            def noted(status: str, *rest: Any) -> Any:
                current.set_attribute("http.response.status_code", int(status[:3]))
                return start_response(status, *rest)

            return application(environ, noted)

    return answer
