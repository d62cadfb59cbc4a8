"""What runs longer than its kind's `expect=` is said in the log while it runs, so that one can look at it.

How many did is counted from their ends (`jobs/tallies.py`). A line a minute and kind and process is enough.
"""

import time
from collections.abc import Iterable
from uuid import UUID

import structlog

from jobs.registry import Running

logger = structlog.get_logger(__name__)

EVERY_SECONDS = 60.0


class Late:
    """What one process has said so far."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}
        self._seen: dict[UUID, int] = {}

    def look(self, expect: float | None, running: Iterable[tuple[Running, float]], now: float) -> None:
        """Look at what runs: jobs, and since when (monotonic seconds)."""
        if expect is None:
            return
        late = {job.id: (job, now - began) for job, began in running if now - began > expect}
        for job, seconds in late.values():
            if self._seen.get(job.id) != job.attempt:
                self._say(job, seconds, expect)
        self._seen = {job_id: job.attempt for job_id, (job, _) in late.items()}

    def _say(self, job: Running, seconds: float, expect: float) -> None:
        now = time.monotonic()
        if now - self._said.get(job.kind, float("-inf")) < EVERY_SECONDS:
            self._unsaid[job.kind] = self._unsaid.get(job.kind, 0) + 1
            return
        self._said[job.kind] = now
        before = self._unsaid.pop(job.kind, 0)
        more = f", and {before} more since the last line" if before else ""
        logger.warning(
            "runs longer than expected",
            handler=job.kind,
            action="late",
            details=f"{seconds:.1f} s of {expect:g} s{more}",
            job=job.id,
            kind=job.kind,
            attempt=job.attempt,
            project=job.project_id,
        )
