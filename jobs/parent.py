"""The parent of a Celery worker watches its children.

The jobs of a dead one come back within a second; one whose handler does not return at its timeout is ended.
"""

import os
import signal
import threading
import time

import psutil
import structlog
from django.db import connection

from jobs import slots, store, workers
from jobs.slots import Slot

logger = structlog.get_logger(__name__)

TICK_SECONDS = 0.25
GRACE_SECONDS = 5.0  # a handler that Python's own signal cannot interrupt has so long after its timeout


def watch_children() -> None:
    """Start the watching thread. Called once in the parent, after its children were forked."""
    threading.Thread(target=_watch, name="children", daemon=True).start()


def _watch() -> None:
    killed: set[int] = set()
    while True:
        time.sleep(TICK_SECONDS)  # the tick of the watch, not a wait for an event
        for slot in slots.taken():
            try:
                _look(slot, killed)
            except store.DATABASE_ERRORS as error:
                logger.warning("rescue interrupted", handler="parent", action="rescue", details=str(error)[:200])
                store.drop_broken_connection()


def _look(slot: Slot, killed: set[int]) -> None:
    if _alive(slot.pid):
        if slot.deadline and time.monotonic() > slot.deadline + GRACE_SECONDS and slot.pid not in killed:
            killed.add(slot.pid)
            logger.error("handler does not return", handler="parent", action="kill", details=f"pid {slot.pid}")
            os.kill(slot.pid, signal.SIGKILL)
        return
    reason = "timeout" if slot.pid in killed else "worker_died"
    started = (slot.job_id, slot.claim_no) if slot.job_id else None
    workers.rescue(slot.worker, started=started, seen=not slot.window, reason=reason)
    killed.discard(slot.pid)
    slots.free(slot)
    connection.close()


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
