"""Ways in which a job may reach its handler, by the engine's own steps in this process, and what is there afterwards."""

import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from django.db import connection

from ingestion import services as ingestion
from jobs import bulk, services, slots, store, window, workers
from jobs.bell import bell
from jobs.models import BulkAct
from jobs.outbox import Outbox
from jobs.registry import Kind
from jobs.runner import Shift, run_batch
from jobs.services import JobRequest
from jobs.store import Claimed
from reconciliation.models import Redrive
from reconciliation.services import plans

PROJECT = UUID(int=7)
COMPANY, MESSAGE = (UUID(f"0192b3c4-8a1f-7c3e-9d2a-5f6e7d8c9b0{last}") for last in "ab")


# ------------------------------------------------------------------------------------------------ what there is to do
def _message() -> UUID:
    received = ingestion.receive(
        project_id=PROJECT, company_id=COMPANY, message_id=MESSAGE, body=b'{"data": {}}',
        message_time=_ask("select timestamptz '2026-01-01'")[0][0],
    )  # fmt: skip
    return received.message.id


def _bulk() -> UUID:
    BulkAct.objects.create(
        id=MESSAGE, project_id=PROJECT, verb="cancel", filter={"kind": "no.such"}, actor="tests", reason="because",
        until=MESSAGE,
    )  # fmt: skip
    request = JobRequest(bulk.KIND, {"act_id": str(MESSAGE)})
    return services.submit_many(project_id=PROJECT, requests=[request])[0].id


def _redrive() -> UUID:
    Redrive.objects.create(id=MESSAGE, project_id=PROJECT, filter={"kind": "no.such"}, actor="tests", reason="because")
    request = JobRequest(plans.DRIVE, {"redrive_id": str(MESSAGE)})
    return services.submit_many(project_id=PROJECT, requests=[request])[0].id


ARRANGED: dict[str, Callable[[], UUID]] = {"message.process": _message, bulk.KIND: _bulk, plans.DRIVE: _redrive}
"""Kinds whose example says nothing unless its subject exists: what makes it, and the job. The others are submitted."""


def arrange(kind: Kind[Any]) -> UUID:
    """Create a job of a kind, from its example; returns its id."""
    if kind.name in ARRANGED:
        return ARRANGED[kind.name]()
    assert kind.example is not None
    request = JobRequest(kind.name, kind.example)
    return services.submit_many(project_id=PROJECT, requests=[request])[0].id


# ------------------------------------------------------------------------------------------------ deliveries
class _Mortal(Shift):
    """A shift that ends with its process: what the engine would take for a failed attempt is judged by nobody."""

    deaths: tuple[type[BaseException], ...] = ()

    def finish(self, job: Claimed, result: Any, error: BaseException | None) -> None:
        if isinstance(error, self.deaths):
            raise error
        super().finish(job, result, error)


class Worker:
    """A worker process as the database sees it; its handlers run here."""

    def __init__(self, kind: Kind[Any], name: str) -> None:
        self.kind = kind
        self.id = workers.announce(name, [kind.queue], [kind.name], on=store.connection_of_django())

    def claim(self) -> list[Claimed]:
        """Claim what is due."""
        with connection.cursor() as cursor:
            cursor.execute("update jobs_shelf set low_due_at = '-infinity'")
            cursor.execute("update jobs_job set due_at = due_at - interval '1 day' where status = 'queued'")
        for capped in (False, True):
            if jobs := store.claim_many(self.kind.name, batch=1, worker=self.id, capped=capped):
                return jobs
        return []

    def run(self, jobs: list[Claimed], *deaths: type[BaseException]) -> dict[str, int]:
        """Run claimed jobs and commit their outcomes, as far as the claim still holds. Returns counts by outcome.

        `deaths`: what ends the process where a handler raises it. It is raised here, and nothing is committed.
        """
        pen = slots.take(self.id, os.getpid())
        shift = _Mortal(self.kind, jobs, Outbox(self.id, bell), pen)
        shift.deaths = deaths
        try:
            if self.kind.is_async:
                window.run_window(shift, refill=lambda _room: [])
            else:
                run_batch(shift)
        finally:
            pen.release()
        return shift.outbox.counts

    def dies(self, jobs: list[Claimed]) -> None:
        """Somebody finds this worker dead and takes its jobs back."""
        for job in jobs:
            workers.rescue(self.id, started=(job.id, job.claim_no), seen=True)


def once(kind: Kind[Any]) -> None:
    """One delivery, nothing else."""
    worker = Worker(kind, "one")
    worker.run(worker.claim())


def twice(kind: Kind[Any]) -> None:
    """The same claim is run a second time after it was committed, and its doorbell rings again."""
    worker = Worker(kind, "one")
    jobs = worker.claim()
    worker.run(list(jobs))

    assert worker.run(list(jobs)) == {"late": len(jobs)}
    assert worker.claim() == []


def crashed_before_commit(kind: Kind[Any]) -> None:
    """The handler ran to its end, its process died before the commit; somebody else runs the job again."""
    first, second = Worker(kind, "one"), Worker(kind, "two")
    jobs = first.claim()
    first.dies(jobs)
    assert _kept_out(first.run(list(jobs)), jobs)  # all of it but the commit, which the fence keeps out
    second.run(second.claim())


def late_worker(kind: Kind[Any]) -> None:
    """A worker that was thought dead runs its job after somebody else has done it."""
    first, second = Worker(kind, "one"), Worker(kind, "two")
    jobs = first.claim()
    first.dies(jobs)
    second.run(second.claim())
    assert _kept_out(first.run(list(jobs)), jobs)


def _kept_out(counts: dict[str, int], jobs: list[Claimed]) -> bool:
    """Nothing was committed: the fence was met at the end, or before, by a handler that told of its progress."""
    return counts in ({"late": len(jobs)}, {})


DISTURBED = (twice, crashed_before_commit, late_worker)


# ------------------------------------------------------------------------------------------------ what is there
ENGINE = re.compile(
    r"(jobs_(attempt|doorbell|worker|shelf|tally|timing)|events_(event_\d+|era|clock|consumer)|django_.*|auth_permission)\Z"
)
IDS = "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}|^[0-9a-f]{64}$"
"""Ids within a text, and hashes of them."""
VOLATILE = {"uuid", "timestamp with time zone", "interval"}


def what_is_there(job: UUID, storage: Path) -> dict[str, Any]:
    """Rows of every table but the engine's own book-keeping, without ids and times; and the objects in storage.

    What is written on chain holds ids: of hashes and bytes of confirmations is not spoken here.
    """
    found: dict[str, Any] = {}
    columns = _ask(
        "select table_name, column_name from information_schema.columns where table_schema = 'public'"
        " and data_type <> all(%s) and (data_type, table_name ~ '^confirmations_') <> ('bytea', true)"
        " and column_name <> 'id' and column_default is null order by 1, 2",
        list(VOLATILE),
    )
    tables: dict[str, list[str]] = {}
    for table, column in columns:
        if not ENGINE.match(table) and table not in {"jobs_job", "events_event"}:
            tables.setdefault(table, []).append(column)
    for table, names in tables.items():
        listed = ", ".join(f"""regexp_replace("{name}"::text, '{IDS}', '#', 'g')""" for name in names)
        found[table] = Counter(_ask(f'select {listed} from "{table}"'))
    found["jobs"] = Counter(_ask("select kind, status, output::text from jobs_job where id <> %s", job))
    found["job"] = _ask("select status, output::text from jobs_job where id = %s", job)
    own = ("job.released", "job.retrying", "job.processing")
    found["events"] = Counter(
        _ask("select type from events_event where not (subject_id = %s and type = any(%s))", job, list(own))
    )
    found["objects"] = {
        str(path.relative_to(storage)): path.read_bytes() for path in sorted(storage.rglob("*")) if path.is_file()
    }
    return found


def _ask(query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    connection.ensure_connection()
    raw: psycopg.Connection[Any] = connection.connection
    return psycopg.Cursor(raw).execute(query.encode(), parameters).fetchall()
