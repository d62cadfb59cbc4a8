"""Following single jobs as they go: their events from the feed of the log, and beside them what is no event.

Progress is written to a job's row and appends no event, and only the row tells that a job has ended for good. So one
statement a second looks at the rows of all jobs that somebody follows in this process, and one more where an event may
have been the last.
"""

import asyncio
from typing import Any
from uuid import UUID

import orjson
import psycopg
import structlog
from django.db import DatabaseError

from events import sse
from events.feed import Ask, Feed, Follower
from events.log import LoggedEvent
from events.selectors import EventRow
from jobs import selectors
from jobs.selectors import WatchedRow
from jobs.states import ENDED, TRANSITIONS

logger = structlog.get_logger(__name__)

EVERY_SECONDS = 1.0
TURN_SECONDS = 0.25
GONE = sse.frame("end", {"status": None})

_MAY_END = frozenset(t.event for t in TRANSITIONS if t.target in ENDED)


class JobFollower(Follower):
    """Somebody who follows one job. `seen`: the `seq` of the last event that he has got."""

    def __init__(self, project_id: UUID, job_id: UUID, seen: int) -> None:
        super().__init__(project_id, job_id)
        self.job_id = job_id
        self.seen = seen
        self.progress: str | None = None
        self.hasty = True  # to be looked at without waiting for the next second

    def take_note(self, row: EventRow | LoggedEvent) -> None:
        """An event of the job, which may be its last."""
        self.seen = max(self.seen, row.seq)
        self.hasty = self.hasty or row.type in _MAY_END


class JobWatch:
    """Progress and end of the jobs that are followed. Lives in one event loop, and asks only while there are any."""

    def __init__(self, ask: Ask[Any], feed: Feed) -> None:
        self._ask = ask
        self._feed = feed
        self._followers: set[JobFollower] = set()
        self._watch: asyncio.Task[None] | None = None

    def join(self, follower: JobFollower) -> None:
        """Tell somebody who has joined the feed, and read what lies before, of progress and end."""
        self._followers.add(follower)
        if self._watch is None:
            self._watch = asyncio.create_task(self._look(), name="job-watch")

    def leave(self, follower: JobFollower) -> None:
        """Tell no more. Harmless when nothing was told."""
        self._followers.discard(follower)
        if not self._followers and self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _look(self) -> None:
        clock = asyncio.get_running_loop().time
        due_at = 0.0
        while True:
            everybody = clock() >= due_at
            wanted = [f for f in self._followers if everybody or f.hasty]
            if everybody:
                due_at = clock() + EVERY_SECONDS
            if wanted:
                await self._look_at(wanted)
            await asyncio.sleep(TURN_SECONDS)

    async def _look_at(self, followers: list[JobFollower]) -> None:
        pairs = {(follower.job_id, follower.project_id) for follower in followers}
        try:
            rows = await self._ask(lambda: selectors.watched(pairs))
        except (DatabaseError, psycopg.Error) as error:
            logger.warning("cannot look at jobs", handler="live", action="watch", details=str(error)[:200])
            return
        for follower in followers:
            follower.hasty = False
            self._tell(follower, rows.get(follower.job_id))

    def _tell(self, follower: JobFollower, row: WatchedRow | None) -> None:
        if row is None:  # it was deleted
            follower.close(GONE)
            return
        if row.progress is not None and row.progress != follower.progress:
            follower.progress = row.progress
            follower.put(sse.frame("progress", orjson.Fragment(row.progress)))
        if row.status in ENDED and (follower.seen >= row.seq or self._feed.place[0] > row.position):
            follower.close(sse.frame("end", {"id": row.id, "status": row.status}))
