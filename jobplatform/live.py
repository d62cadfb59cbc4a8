"""The process `live`: streams of events as Server-Sent Events, apart from the API so that neither starves the other.

A request is first answered by Django, in one of a few threads: limits, credential, scope, job and cursor are looked at
as everywhere else. Where the answer is that somebody may follow something, the rest is done here, in the event loop: a
client costs a task and a bounded queue, no thread and no database connection. The log is read by one reader for all
(events/feed.py), the rows of jobs are looked at for all (jobs/live.py), and so are the keys, in case one is revoked.
"""

import asyncio
import contextlib
import io
import random
import signal
import threading
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import FrameType
from typing import Any, TypeVar
from uuid import UUID

import psycopg
import structlog
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.base import BaseHandler
from django.db import DatabaseError, connection
from django.http import HttpResponse
from django.http.response import HttpResponseBase

from events import selectors, sse
from events.feed import Feed, Follower
from events.selectors import EventFilter, Place, Scan
from events.streams import EVENT_STREAM, StreamAnswer, Wanted
from jobplatform.api import problems
from jobplatform.api.problems import Problem
from jobplatform.api.refusals import plain
from jobs.live import JobFollower, JobWatch
from projects.selectors import usable

logger = structlog.get_logger(__name__)

T = TypeVar("T")
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

HEARTBEAT_SECONDS = 15.0
RECHECK_SECONDS = 10.0  # keys may be revoked
PERSON_SECONDS = 60.0  # a person's stream ends after so long: coming back, the session is looked at again
SEND_SECONDS = 30.0  # who does not take a part of what is sent within so long is gone
STOP_SECONDS = 0.5
KNOCKERS = 4  # threads, each with its own database connection
MOST_KNOCKING = 2000  # all clients of a process that ended come back at once
PAGES = 32  # parts of the log that wait to be sent to clients who came back
PAGES_OF_PROJECT = 8  # of them: clients of one project that take nothing keep no other project's from catching up
PAGE_ROWS = 200

REVOKED = sse.frame("revoked", {"code": "api_key_revoked"})

_HEADERS = {
    "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx passes on what comes when it comes
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}


class _Django(BaseHandler):
    """All of Django that answers a request, for a thread."""

    def __init__(self) -> None:
        super().__init__()
        self.load_middleware()


class _Line:
    """The answer to one client."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def write(self, body: bytes, *, more: bool = True) -> None:
        """Send a part. Raises TimeoutError when the client does not take it."""
        async with asyncio.timeout(SEND_SECONDS):
            if not self.started:
                self.started = True
                await _start(self._send, 200, _HEADERS)
            await self._send({"type": "http.response.body", "body": body, "more_body": more})


class Client:
    """Somebody to whom something is streamed."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.follower = (
            Follower(wanted.project_id, prefix=wanted.prefix)
            if wanted.subject_id is None
            else JobFollower(wanted.project_id, wanted.subject_id, wanted.seen)
        )
        longest = settings.LIVE_STREAM_SECONDS * random.uniform(0.9, 1.0)  # noqa: S311 - so that not all come back at once
        self.seconds = longest if wanted.key_id else min(longest, PERSON_SECONDS)
        self.task: asyncio.Task[None] | None = None


class Live:
    """The ASGI application, and what all of its clients share."""

    def __init__(self) -> None:
        self._django = _Django()
        self._knockers = ThreadPoolExecutor(KNOCKERS, "knock")
        self._reader = ThreadPoolExecutor(1, "reader")
        self._feed = Feed(self._ask)
        self._jobs = JobWatch(self._ask, self._feed)
        self._pages = asyncio.Semaphore(PAGES)
        self._pages_of: defaultdict[UUID, asyncio.Semaphore] = defaultdict(lambda: asyncio.Semaphore(PAGES_OF_PROJECT))
        self._clients: set[Client] = set()
        self._of_project: Counter[UUID] = Counter()
        self._knocking = 0
        self._guard: asyncio.Task[None] | None = None
        self._stopping = False

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or start and stop with the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            answer = await self._knock(scope)
            if isinstance(answer, StreamAnswer) and scope["method"] == "GET":
                answer = await self._serve(Client(answer.wanted), receive, send)
            if answer is not None:
                await _reply(send, answer, scope["method"])
        else:
            await send({"type": "websocket.close", "code": 1008})

    # -- starting and stopping

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._hear_signals()
            if message["type"] == "lifespan.shutdown":
                await self._hang_up()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return

    def _hear_signals(self) -> None:
        """Servers wait for the answers that are under way, and tell us of the end only then: too late for streams."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            before = signal.getsignal(number)

            def heard(given: int, frame: FrameType | None, before: Any = before) -> None:
                loop.call_soon_threadsafe(self._stop)
                if callable(before):
                    before(given, frame)

            with contextlib.suppress(ValueError):  # not in the main thread: a server of a test
                signal.signal(number, heard)

    def _stop(self) -> None:
        self._stopping = True
        for client in self._clients:
            client.follower.close(b": the server stops\n\n")
            if client.task is not None:
                asyncio.get_running_loop().call_later(STOP_SECONDS, client.task.cancel)

    async def _hang_up(self) -> None:
        """Close the threads' connections to the database."""
        loop = asyncio.get_running_loop()
        for pool, number in ((self._knockers, KNOCKERS), (self._reader, 1)):
            together = threading.Barrier(number)  # so that each thread gets one
            await asyncio.gather(*(loop.run_in_executor(pool, _close, together) for _ in range(number)))
            pool.shutdown()

    # -- the door

    async def _knock(self, scope: Message) -> HttpResponseBase | None:
        path = scope["path"]
        if path != "/healthz" and not (path.startswith("/api/") and path.endswith("/stream")):
            return plain(Problem(404, "not_found", "This process serves streams only."))
        if self._stopping or self._knocking >= MOST_KNOCKING:
            return plain(Problem(503, "overloaded", "Try again in a moment.", headers={"Retry-After": "1"}))
        self._knocking += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._knockers, self._answer, scope)
        finally:
            self._knocking -= 1

    def _answer(self, scope: Message) -> HttpResponseBase:
        try:
            request = ASGIRequest(scope, io.BytesIO())
        except UnicodeDecodeError:
            return plain(Problem(400, "bad_request", "The request is malformed."))
        response: HttpResponseBase = self._django.get_response(request)
        response.close()
        if response.status_code >= 500:  # noqa: PLR2004 - the database may be gone: the next one finds a new connection
            connection.close()
        return response

    def _refusal(self, wanted: Wanted) -> Problem | None:
        if len(self._clients) >= settings.LIVE_CLIENTS:
            return Problem(503, "too_many_streams", "No stream is free here.", headers={"Retry-After": "10"})
        if self._of_project[wanted.project_id] >= settings.LIVE_CLIENTS_PER_PROJECT:
            detail = "The project has as many streams open as it may have at the same time."
            return Problem(429, "too_many_streams_of_project", detail, headers={"Retry-After": "10"})
        return None

    # -- one client

    async def _serve(self, client: Client, receive: Receive, send: Send) -> HttpResponse | None:
        """Stream until there is an end. Returns what to answer instead, where nothing was streamed."""
        refusal = self._refusal(client.wanted)
        if refusal is not None:
            return plain(refusal)
        line = _Line(send)
        self._admit(client)
        client.task = asyncio.create_task(self._stream(client, line))
        gone = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({client.task, gone}, return_when=asyncio.FIRST_COMPLETED)
            if client.task.done() and not client.task.cancelled():
                client.task.result()
        except TimeoutError:
            return None if line.started else plain(Problem(503, "overloaded", headers={"Retry-After": "1"}))
        except (DatabaseError, psycopg.Error) as error:
            problem = problems.of(error)
            if problem is None:
                raise
            return None if line.started else plain(problem)
        finally:
            gone.cancel()
            client.task.cancel()
            self._dismiss(client)
        return None

    def _admit(self, client: Client) -> None:
        self._clients.add(client)
        self._of_project[client.wanted.project_id] += 1
        if self._guard is None:
            self._guard = asyncio.create_task(self._recheck(), name="recheck")

    def _dismiss(self, client: Client) -> None:
        self._clients.discard(client)
        self._of_project[client.wanted.project_id] -= 1
        self._of_project += Counter()  # forget who has none
        self._feed.leave(client.follower)
        if isinstance(client.follower, JobFollower):
            self._jobs.leave(client.follower)
        if not self._clients and self._guard is not None:
            self._guard.cancel()
            self._guard = None

    async def _stream(self, client: Client, line: _Line) -> None:
        clock = asyncio.get_running_loop().time
        follower, deadline = client.follower, clock() + client.seconds
        if client.wanted.after is None:
            follower.after = await self._join(follower)
            await line.write(sse.opening(follower.after))
        else:
            await line.write(sse.opening(client.wanted.after))
            await self._catch_up(client, line)
        if isinstance(follower, JobFollower):
            self._jobs.join(follower)
        while not follower.closed and clock() < deadline:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(HEARTBEAT_SECONDS, deadline - clock())):
                    await follower.woken.wait()
            if follower.woken.is_set():
                await line.write(follower.take())
            else:
                await line.write(sse.heartbeat(max(self._feed.place, follower.after)))
        await line.write(follower.take(), more=False)

    async def _join(self, follower: Follower) -> Place:
        async with asyncio.timeout(SEND_SECONDS):
            return await self._feed.join(follower)

    async def _catch_up(self, client: Client, line: _Line) -> None:
        """Send what lies behind the client's cursor, up to where the feed goes on."""
        follower = client.follower
        follower.after = client.wanted.after or (0, 0)
        joined: Place | None = None
        while not follower.closed:
            async with self._pages_of[client.wanted.project_id], self._pages:
                page = await self._ask_beside(lambda: _page(client.wanted, follower.after))
                rows = [row for row in page.rows if joined is None or row.place <= joined]
                frames = [sse.encode(row) for row in rows if row.type.startswith(client.wanted.prefix)]
                if frames:
                    await line.write(b"".join(frames))
            for row in rows:
                follower.take_note(row)
            whole = page.stopped_at is None and len(page.rows) < PAGE_ROWS
            edge = page.stopped_at or (page.rows[-1].place if page.rows else follower.after)
            follower.after = edge if joined is None else min(edge, joined)
            if joined is not None and whole:
                return
            if whole:
                joined = await self._join(follower)
            if joined is not None and joined <= follower.after:
                return

    # -- what all share

    async def _ask(self, ask: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._reader, _asked, ask)

    async def _ask_beside(self, ask: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._knockers, _asked, ask)

    async def _recheck(self) -> None:
        """End the streams of keys that are no longer good."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS)
            keys = {client.wanted.key_id for client in self._clients if client.wanted.key_id}
            if not keys:
                continue
            try:
                good = await self._ask(partial(usable, keys))
            except (DatabaseError, psycopg.Error) as error:
                logger.warning("cannot look at keys", handler="live", action="recheck", details=str(error)[:200])
                continue
            for client in self._clients:
                wanted = client.wanted
                if wanted.key_id and wanted.scope not in good.get(wanted.key_id, ()):
                    client.follower.close(REVOKED, drop=True)


def _page(wanted: Wanted, after: Place) -> Scan:
    """A part of what is wanted, of the rows that can no longer change."""
    about = EventFilter(subject_id=wanted.subject_id, settled=True)
    return selectors.events(wanted.project_id, about, edge=after, descending=False, limit=PAGE_ROWS)


def _asked(ask: Callable[[], T]) -> T:
    try:
        return ask()
    except (DatabaseError, psycopg.Error):
        connection.close()  # the next one finds a new one
        raise


def _close(together: threading.Barrier) -> None:
    together.wait()
    connection.close()


async def _left(receive: Receive) -> None:
    """Return when the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def _start(send: Send, status: int, headers: Any) -> None:
    pairs = [(name.lower().encode("latin-1"), str(value).encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})


async def _reply(send: Send, answer: HttpResponseBase, method: str) -> None:
    if isinstance(answer, StreamAnswer):  # HEAD
        await _start(send, 200, _HEADERS)
        body = b""
    else:
        body = getattr(answer, "content", b"") if method != "HEAD" else b""
        await _start(send, answer.status_code, dict(answer.items()) | {"Content-Length": str(len(body))})
    await send({"type": "http.response.body", "body": body, "more_body": False})
