"""One Celery task per kind: the doorway of its doorbell, and nothing more. Also how worker processes come and go."""

import gc
import os
import platform
import time
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

import structlog
from celery import Celery, current_task, signals
from django.conf import settings
from django.db import connections

from events import consumers, log
from jobplatform import tracing
from jobs import alarm, parent, pump, registry, slots, stall, store
from jobs.watch import Watch

logger = structlog.get_logger(__name__)

RESTART_SECONDS = 0.5

_post: pump.Post | None = None
_queues: list[str] = []


def register(app: Celery) -> None:
    """Make one task of each registered kind and of each consumer of the log, by their names."""
    for kind in registry.kinds():
        app.task(name=kind.name)(_doorway(kind.name))
    for subscription in consumers.SUBSCRIPTIONS.values():
        app.task(name=subscription.kind)(_consume(subscription.name))


def _doorway(kind: str) -> Callable[..., dict[str, Any]]:
    def ring(doorbell: str | None = None) -> dict[str, Any]:
        with tracing.answering(kind, _message):
            return pump.answer(post(), kind, _uuid(doorbell))

    ring.__name__ = kind.replace(".", "_")
    return ring


def _consume(name: str) -> Callable[..., dict[str, Any]]:
    def read(doorbell: str | None = None) -> dict[str, Any]:
        with tracing.answering(f"events.{name}", _message):
            return pump.consume(post(), name, _uuid(doorbell))

    read.__name__ = name
    return read


def _message() -> Mapping[str, Any]:
    """The headers of the doorbell that is answered."""
    request = getattr(current_task, "request", None)
    return dict(getattr(request, "headers", None) or {})


def post() -> pump.Post:
    """What this worker process works with.

    Raises:
        RuntimeError: outside a worker process.
    """
    if _post is None:
        message = "Jobs run in the child processes of a Celery worker (prefork pool) only."
        raise RuntimeError(message)
    return _post


def _uuid(text: str | None) -> UUID | None:
    # A message is only a doorbell: one that was forged or garbled still rings, and says nothing else.
    try:
        return UUID(text) if text else None
    except (ValueError, AttributeError, TypeError):
        return None


# ---------------------------------------------------------------------------------------------- worker processes


@signals.celeryd_after_setup.connect
def _note_queues(instance: Any, **_: Any) -> None:
    _queues[:] = sorted(instance.app.amqp.queues.consume_from)


@signals.worker_init.connect
def _parent_starts(**_: Any) -> None:
    slots.make()
    # What is loaded stays shared with the children: a collection of theirs would write to all of it, and so copy it.
    gc.collect()
    gc.freeze()


@signals.worker_ready.connect
def _parent_ready(**_: Any) -> None:
    parent.watch_children()


@signals.worker_shutting_down.connect
def _parent_stops(**_: Any) -> None:
    slots.stop()


@signals.worker_process_init.connect
def _child_starts(**_: Any) -> None:
    try:
        _begin()
    except store.DATABASE_ERRORS as error:
        # Without its post the process would take doorbells and do nothing. Celery starts another in its place.
        logger.warning("no database", handler="worker", action="start", details=str(error)[:200])
        time.sleep(RESTART_SECONDS)  # the database is away; there is no named moment to wait for
        os._exit(os.EX_UNAVAILABLE)


def _begin() -> None:
    global _post  # noqa: PLW0603 - one post per process
    connections.close_all()  # nothing that the parent opened may be shared
    log.adopt_cluster()
    alarm.install()
    name = f"{settings.WORKER_NAME}@{platform.node()}"
    served = [kind.name for kind in registry.kinds() if kind.queue in _queues]
    served += [sub.kind for sub in consumers.SUBSCRIPTIONS.values() if consumers.QUEUE in _queues]
    watch = Watch(name, list(_queues), served)
    _post = pump.Post(watch, slots.take(watch.worker, os.getpid()))
    _guard(_post)
    watch.start()
    if tracing.start(f"{name} {os.getpid()}"):
        registry.wrap_handlers(tracing.traced)


def _guard(post: pump.Post) -> None:
    """End this process when its pump or its watch gets nowhere."""

    def pump_mark(now: float) -> object:
        deadline, shift = post.pen.deadline(), post.watch.shift
        in_handler = shift is not None and shift.running and now < deadline
        if in_handler or not post.at_work.locked():
            return now  # it has time left, or nothing to do
        at = None if shift is None else (id(shift), len(shift.waiting), len(shift.running), len(shift.outbox))
        return deadline, at, consumers.batches

    lines = stall.Line("the pump", pump_mark), stall.Line("the watch", lambda _now: post.watch.ticks)
    guard = stall.Guard(settings.WORKER_STALLED_SECONDS, *lines)
    post.watch.quiet = lambda: guard.quiet
    guard.start()


@signals.worker_process_shutdown.connect
def _child_stops(**_: Any) -> None:
    if _post is not None:
        _post.watch.stop(_post.leave)
        _post.pen.release()
    tracing.stop()
