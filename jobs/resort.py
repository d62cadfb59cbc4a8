"""The last resort: a process that is no worker runs a few due jobs of one kind, because no worker does.

For messages that tell people just that. The process claims as a worker does, under the same fence: if workers come back
meanwhile, or if it dies, no job has two outcomes.
"""

import datetime as dt
import os

from jobs import registry, slots, store, workers
from jobs.bell import bell
from jobs.outbox import Outbox
from jobs.runner import Shift, run_batch

MOST = 10

_LATE = """
select exists (
    select from jobs_shelf s
    join jobs_job j on j.shelf_id = s.id and j.status = 'queued' and j.gate = 0
    where s.kind = %s and not s.paused and j.due_at < (select platform_now()) - %s
)
"""


def run_late(kind_name: str, late: dt.timedelta) -> int:
    """Run up to ten jobs of a kind without a limit, if one is due for so long. Returns how many were claimed."""
    link = store.connection_of_django()
    row = link.execute(_LATE, (kind_name, late)).fetchone()
    if not (row and row[0]):
        return 0
    kind = registry.get(kind_name)
    worker = workers.announce("last resort", [], [], on=link)
    pen = slots.take(worker, os.getpid())
    try:
        jobs = store.claim_many(kind_name, batch=MOST, worker=worker)
        if jobs:
            run_batch(Shift(kind, jobs, Outbox(worker, bell), pen))
        return len(jobs)
    finally:
        pen.release()
        workers.leave(worker, on=link)
