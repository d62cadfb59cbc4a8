"""Our side of what is measured of a redrive; a command beside those of ours.py.

python -m benchmarks.ours redriven N     the N jobs in the queue become dead letters and are redriven  -> {"jobs", ...}
"""

import time
from typing import Any

from benchmarks.peers import protocol

DEAD = """
update jobs_job
set status = 'failed', attempt = 1, finished_at = now(), gate = 0,
    error = '{"code": "down", "message": "No answer.", "retryable": true, "fingerprint": "0123456789abcdef"}'
where kind = 'bench.noop' and status = 'queued'
"""
KNOWN = """
insert into reconciliation_deadletter (
    job_id, project_id, died_at, seq, deaths, dead, kind, stage, status, code, fingerprint
)
select id, project_id, now(), seq, 1, true, kind, stage, status, 'down', '0123456789abcdef'
from jobs_job where kind = 'bench.noop' and status = 'failed'
"""


def redriven(ours: Any, jobs: int) -> dict[str, object]:
    """The clock runs from the plan until the last job is queued; one process does it, as its own job would."""
    from django.db import connection

    from reconciliation.models import Redrive
    from reconciliation.services import driving, plans
    from reconciliation.services.plans import Plan

    with connection.cursor() as cursor:
        for statement in (DEAD, KNOWN, "vacuum analyze jobs_job", "analyze reconciliation_deadletter"):
            cursor.execute(statement)
    began = time.monotonic()
    plan = Plan(filter={"errors_allowed_to_retry": ["down"]})
    row = plans.begin(project_id=ours.project, plan=plan, actor="bench", reason="bench")
    while row.redriven < jobs and time.monotonic() < began + protocol.DRAIN_WITHIN:
        driving.step(row.id)
        row = Redrive.objects.get(id=row.id)
    return {"jobs": row.redriven, "seconds": time.monotonic() - began}


COMMANDS = {redriven.__name__: redriven}
