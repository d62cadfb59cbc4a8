"""Traces: one story from the request over the doorbell to the handler and outwards. Off unless an address is set.

The trace of a job is known by the job's id: its 16 bytes are the trace's id, so that every process that meets the job
finds the trace without a column (docs/decisions/0011). While `OTEL_EXPORTER_OTLP_ENDPOINT` is empty nothing of
OpenTelemetry is imported, and each function here returns at once.

A handler takes the story on to whom it calls: `httpx.get(url, headers=tracing.headers())`.
"""

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from django.conf import settings

Application = Callable[[dict[str, Any], Any], Iterable[bytes]]

_spans: Any = None  # the module jobplatform.spans, once this process traces


def start(process: str) -> bool:
    """Trace from here on in this process, if it is asked for. Call it after a fork. Returns whether it does."""
    global _spans  # noqa: PLW0603 - one tracer per process
    if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
        spans = importlib.import_module("jobplatform.spans")
        spans.start(process)
        _spans = spans
    return _spans is not None


def stop() -> None:
    """Send what is left. The process ends."""
    if _spans is not None:
        _spans.stop()


def headers() -> dict[str, str]:
    """What a request to somebody else takes with it (`traceparent`); nothing while nobody traces."""
    return {} if _spans is None else dict(_spans.headers())


def submitted(jobs: Iterable[tuple[UUID, str]]) -> None:
    """Jobs (id, kind) were created here: each begins a trace of its own, linked with what runs here."""
    if _spans is not None:
        _spans.submitted(jobs)


def traced(handle: Callable[..., Any]) -> Callable[..., Any]:
    """A handler whose runs are spans in the traces of their jobs."""
    return handle if _spans is None else _spans.traced(handle)


def wsgi(application: Application) -> Application:
    """An application whose requests are spans, children of the caller's where it says so (`traceparent`)."""
    return application if _spans is None else _spans.wsgi(application)


@contextmanager
def ringing(kind: str) -> Iterator[dict[str, str]]:
    """A doorbell is rung: a span whose context goes along as headers of the message."""
    if _spans is None:
        yield {}
    else:
        with _spans.span(f"ring {kind}", "producer", {}):
            yield headers()


@contextmanager
def answering(kind: str, message: Callable[[], Mapping[str, Any]]) -> Iterator[None]:
    """A doorbell is answered: a span that goes on from the one that rang. `message()`: the headers that came along."""
    if _spans is None:
        yield
    else:
        with _spans.span(f"answer {kind}", "consumer", message()):
            yield
