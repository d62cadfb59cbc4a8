"""A worker process without Celery around it, driven by a test line by line: for faults at a chosen statement.

    python -m tests.driver          (reads one JSON array per line: ["pump", kind], ["consume", name] or
                                     ["submit", kind, number, mark, project])

It answers each line with one line: `{"ok": ...}`, or `{"error": "<class>"}` when the call raised.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any
from uuid import UUID

import django

django.setup()

from django.db import transaction  # noqa: E402 - models are ready only now

from jobs import pump, services, tasks  # noqa: E402
from jobs.services import JobRequest  # noqa: E402


def ring(kind: str) -> Any:
    """One doorbell."""
    return pump.answer(tasks.post(), kind, None)


def consume(name: str) -> Any:
    """One doorbell of a consumer of the log."""
    return pump.consume(tasks.post(), name, None)


def submit(kind: str, number: int, mark: str, project: str) -> list[str]:
    """What a caller does who creates jobs inside a transaction of his own."""
    with transaction.atomic():
        requests = [JobRequest(kind=kind, payload={"n": n}, metadata={"mark": mark}) for n in range(number)]
        return [str(job.id) for job in services.submit_many(project_id=UUID(project), requests=requests)]


def loaded(package: str) -> list[str]:
    """Which modules of a package are loaded."""
    return [name for name in sys.modules if f"{name}.".startswith(f"{package}.")]


CALLS: dict[str, Callable[..., Any]] = {"pump": ring, "consume": consume, "submit": submit, "loaded": loaded}


def main() -> None:
    """Announce this process as a worker, then do as told."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # logs go where errors go
    tasks._queues[:] = ["default"]
    tasks._child_starts()
    print(json.dumps({"ok": os.getpid()}), file=answers, flush=True)
    for line in sys.stdin:
        name, *arguments = json.loads(line)
        try:
            answer = {"ok": CALLS[name](*arguments)}
        except Exception as error:  # noqa: BLE001 - the test decides what may fail
            answer = {"error": type(error).__name__, "text": str(error)}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
