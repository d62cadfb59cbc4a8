"""Following the log as it grows: one reader for all who follow it in this process.

    place = await feed.join(follower)
    ...
    feed.leave(follower)

The reader is a task of the event loop; what it asks the database runs in one thread. It asks only while somebody
follows. Every follower gets the rows that are behind the place from which he joined, in the order of the log, each
once; what lies before it he reads by himself. Who does not take what he gets is let go, and may come back with the id
of the last event that he has seen.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import structlog
from django.db import DatabaseError

from events import log, selectors, sse
from events.log import Followed, LoggedEvent
from events.selectors import EventRow, Place

logger = structlog.get_logger(__name__)

T = TypeVar("T")
Ask = Callable[[Callable[[], T]], Awaitable[T]]
"""Runs a function that asks the database, in a thread that may wait for it."""

EVERY_SECONDS = 0.25
AGAIN_SECONDS = 0.05  # between two parts of the log, when there is more: followers take what they got meanwhile
RECOVERY_SECONDS = 1.0  # after an error of the database
MOST_FRAMES = 4 * log.FOLLOW_ROWS
MOST_BYTES = 4 * log.FOLLOW_BYTES
"""What may wait for one follower."""
MOST_BYTES_OF_ALL = 256 * 1024 * 1024
"""What may wait for all of them together."""

OVERFLOW = sse.frame("overflow", {"code": "too_slow"})
BROKEN = sse.frame("overflow", {"code": "internal_error"})
WENT_BACK = sse.frame("overflow", {"code": "log_went_back"})


class Follower:
    """Somebody who follows a project, or one subject of it. `prefix`: how the types begin that he wants."""

    def __init__(self, project_id: UUID, subject_id: UUID | None = None, prefix: str = "") -> None:
        self.project_id = project_id
        self.subject_id = subject_id
        self.prefix = prefix
        self.after: Place = (0, 0)  # up to here he has got everything otherwise
        self.woken = asyncio.Event()
        self.held = 0  # bytes that wait for him
        self.closed = False
        self._frames: deque[bytes] = deque()

    def wants(self, row: EventRow | LoggedEvent) -> bool:
        """Whether an event is for him: of his project, whatever else."""
        return (
            row.project_id == self.project_id
            and row.place > self.after
            and (self.subject_id is None or row.subject_id == self.subject_id)
            and row.type.startswith(self.prefix)
        )

    def take_note(self, row: EventRow | LoggedEvent) -> None:
        """Hear of an event that is for him, before it is handed over."""

    def put(self, frame: bytes) -> None:
        """Hand over a frame, if he keeps up; else that is the end."""
        if self.closed:
            return
        if len(self._frames) >= MOST_FRAMES or self.held + len(frame) > MOST_BYTES:
            self.close(OVERFLOW, drop=True)
            return
        self._frames.append(frame)
        self.held += len(frame)
        self.woken.set()

    def close(self, last: bytes, *, drop: bool = False) -> None:
        """Nothing comes behind this frame. `drop`: nor does what still waits."""
        if self.closed:
            return
        if drop:
            self._frames.clear()
            self.held = 0
        self._frames.append(last)
        self.held += len(last)
        self.closed = True
        self.woken.set()

    def take(self) -> bytes:
        """All that waits for him."""
        self.woken.clear()
        taken = b"".join(self._frames)
        self._frames.clear()
        self.held = 0
        return taken


class Feed:
    """The reader of the log and those who follow it. Lives in one event loop."""

    def __init__(self, ask: Ask[Any]) -> None:
        self._ask = ask
        self._by_project: defaultdict[UUID, set[Follower]] = defaultdict(set)
        self._by_subject: defaultdict[UUID, set[Follower]] = defaultdict(set)
        self._reader: asyncio.Task[None] | None = None
        self._doubtful = False  # the database was away: it may have come back without its last rows
        self._turn = asyncio.Lock()  # a part of the log is read for those who follow when the reading begins
        self.place: Place = (0, 0)

    async def join(self, follower: Follower) -> Place:
        """Follow from the place that is returned. Raises the database's error when nobody else follows yet."""
        async with self._turn:
            if self._reader is None:
                self.place = await self._ask(log.head)
                self._reader = asyncio.create_task(self._read(), name="feed")
            self._of(follower).add(follower)
            return self.place

    def leave(self, follower: Follower) -> None:
        """Follow no more. Harmless when he does not."""
        self._of(follower).discard(follower)
        for key, followers in ((follower.project_id, self._by_project), (follower.subject_id, self._by_subject)):
            if key is not None and not followers[key]:
                del followers[key]
        if not self._by_project and not self._by_subject and self._reader is not None:
            self._reader.cancel()
            self._reader = None

    def _of(self, follower: Follower) -> set[Follower]:
        if follower.subject_id is not None:
            return self._by_subject[follower.subject_id]
        return self._by_project[follower.project_id]

    async def _read(self) -> None:
        try:
            while True:
                pause = await self._read_part()
                await asyncio.sleep(pause)
        except Exception:
            logger.exception("the reader of the log broke", handler="feed", action="read")
            self._reader = None
            self._close_all(BROKEN)

    async def _read_part(self) -> float:
        """Read and hand out a part of the log. Returns how many seconds to wait for the next."""
        async with self._turn:
            try:
                part = await self._ask(self._next_part())
            except (DatabaseError, psycopg.Error) as error:
                logger.warning("cannot read the log", handler="feed", action="read", details=str(error)[:200])
                self._doubtful = True
                return RECOVERY_SECONDS
            if part is None:  # after a fail-over: what takes the place of the lost rows must not be skipped
                logger.warning("the log went back", handler="feed", action="read")
                self._close_all(WENT_BACK)
                self.place = await self._ask(log.head)
                return EVERY_SECONDS
            self._doubtful = False
            self._hand_out(part)
        return AGAIN_SECONDS if part.more else EVERY_SECONDS

    def _next_part(self) -> Callable[[], Followed | None]:
        """What is to be asked next. It answers None when the log no longer has the row that was read last."""
        place, projects, subjects, doubtful = self.place, list(self._by_project), list(self._by_subject), self._doubtful

        def ask() -> Followed | None:
            if doubtful and not selectors.holds(place):
                return None
            return log.follow(place, projects=projects, subjects=subjects)

        return ask

    def _hand_out(self, part: Followed) -> None:
        for row in part.rows:
            found = self._for(row)
            if found:
                frame = sse.encode(row)
                for follower in found:
                    follower.take_note(row)
                    follower.put(frame)
        self.place = part.place
        self._let_go()

    def _for(self, row: LoggedEvent) -> list[Follower]:
        known = (self._by_project.get(row.project_id, ()), self._by_subject.get(row.subject_id, ()))
        return [follower for followers in known for follower in followers if follower.wants(row)]

    def _close_all(self, last: bytes) -> None:
        for follower in self._everybody():
            follower.close(last, drop=True)

    def _everybody(self) -> list[Follower]:
        return [f for known in (self._by_project, self._by_subject) for some in known.values() for f in some]

    def _let_go(self) -> None:
        """Of those who hold too much together, the slowest go first."""
        everybody = self._everybody()
        held = sum(follower.held for follower in everybody)
        for follower in sorted(everybody, key=lambda f: f.held, reverse=True):
            if held <= MOST_BYTES_OF_ALL:
                break
            held -= follower.held
            follower.close(OVERFLOW, drop=True)
