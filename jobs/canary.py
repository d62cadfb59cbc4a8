"""Canaries: jobs of the platform's own that prove each queue from the relay over the broker and a worker to the commit.

A worker may live, answer pings and take nothing. So each queue that live workers serve has a kind of its own, and now
and then a job of it; how long it took, and when one last came through, are metrics. One job is on its way per queue
at a time, and the one before is deleted.
"""

import re
import zlib
from collections.abc import Iterable
from functools import partial
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from pydantic import BaseModel

from events.consumers import QUEUE as EVENTS
from jobs import Batch, Done, Retry, Run, exponential, handler, registry, services
from jobs.errors import JobsError
from jobs.states import CANARIES, ENDED, PLATFORM

logger = structlog.get_logger(__name__)

LOOK_SECONDS = 10
"""How often the relay looks for queues that need one; a new queue has its first so soon."""

_MISSING = """
insert into jobs_canary (queue, submitted_at) select queue, '-infinity' from unnest(%(queues)s::text[]) q (queue)
on conflict do nothing
"""
_TURN = """
select c.queue, c.job_id
from jobs_canary c
left join jobs_job j on j.project_id = %(platform)s and j.id = c.job_id
where c.queue = any(%(queues)s::text[])
  and c.submitted_at < clock_timestamp() - %(every)s * interval '1 second'
  and (j.id is null or j.status = any(%(ended)s::text[]))
order by c.queue
for update of c skip locked
"""
_SENT = "update jobs_canary set job_id = %s, submitted_at = clock_timestamp() where queue = %s"
_PASSED = """
update jobs_canary
set passed_at = clock_timestamp(), seconds = extract(epoch from clock_timestamp() - submitted_at)
where job_id = %s
"""
_FORGET = (
    "delete from jobs_attempt where job_id = %(job_id)s and project_id = %(platform)s",
    "delete from jobs_job where project_id = %(platform)s and id = %(job_id)s",
)


class Nothing(BaseModel):
    """Nothing to say."""


def name_of(queue: str) -> str:
    """The kind of the canaries of a queue."""
    plain = re.sub(r"[^a-z0-9_]", "_", queue.lower())
    if plain != queue or not plain[:1].isalpha():  # two names may not become one
        plain = f"q_{plain[:40]}_{zlib.crc32(queue.encode()):x}"
    return f"{CANARIES}{plain}"


def register() -> None:
    """Have a kind of canaries for every queue that a kind or a consumer uses."""
    registry.for_each_queue(_register)
    _register(EVENTS)


def _register(queue: str) -> None:
    name = name_of(queue)
    if registry.find(name) is None:
        handler(
            name,
            payload=Nothing,
            queue=queue,
            priority=100,
            retry=Retry(max_attempts=3, backoff=exponential(1)),
            batch=Batch(1),
            timeout=60,
            expect=0.5,
            public=False,
            confirm="never",
            example={},
        )(sing)


def sing(job: Run[Nothing]) -> Done:
    """Prove that the queue works, and note how long it took."""
    return Done(within=partial(_pass, job.id))


def _pass(job_id: UUID) -> None:
    with connection.cursor() as cur:
        cur.execute(_PASSED, [job_id])


def send(queues: Iterable[str], *, every: float) -> int:
    """Send a canary to each of these queues whose turn it is. Returns how many. Any number of relays may call it."""
    known = [queue for queue in queues if registry.find(name_of(queue)) is not None]
    values: dict[str, Any] = {"queues": known, "every": every, "platform": PLATFORM, "ended": sorted(ENDED)}
    try:
        return _send(values)
    except JobsError as error:  # an app's gate may refuse; whoever sends has other things to do
        logger.warning("canaries refused", handler="canary", action="send", details=str(error)[:200])
        return 0


def _send(values: dict[str, Any]) -> int:
    with transaction.atomic(), connection.cursor() as cur:
        cur.execute(_TURN, values)
        turns = cur.fetchall()
        if not turns:
            cur.execute(_MISSING, values)
            if cur.rowcount:
                cur.execute(_TURN, values)
                turns = cur.fetchall()
        for queue, before in turns:
            if before is not None:
                for statement in _FORGET:
                    cur.execute(statement, {"job_id": before, "platform": PLATFORM})
            job_id = services.submit(project_id=PLATFORM, kind=name_of(queue), payload={})
            cur.execute(_SENT, [job_id, queue])
    return len(turns)
