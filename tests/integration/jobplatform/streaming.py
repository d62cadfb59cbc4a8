"""The process `live` without its server: the ASGI application in this process, and clients of it."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Self

from django.db import connection

from jobplatform.live import Live

PATIENCE = 60.0  # seconds; a deadline, not a wait


@dataclass
class Event:
    """One event of a stream, as a browser sees it."""

    event: str
    id: str
    data: Any


@dataclass
class Reader:
    """Reads a stream of events as https://html.spec.whatwg.org/multipage/server-sent-events.html says."""

    events: list[Event] = field(default_factory=list)
    last_id: str = ""
    heartbeats: int = 0
    _rest: str = ""

    def feed(self, body: bytes) -> None:
        *blocks, self._rest = (self._rest + body.decode()).split("\n\n")
        for block in blocks:
            lines = [line for line in block.split("\n") if not line.startswith(":")]
            self.heartbeats += block.startswith(": heartbeat")
            fields = dict(line.split(": ", 1) for line in lines)
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                self.events.append(Event(fields["event"], fields.get("id", ""), json.loads(fields["data"])))

    @property
    def logged(self) -> list[str]:
        """The ids of the events of the log, in the order in which they came."""
        return [event.id for event in self.events if event.id]

    @property
    def types(self) -> list[str]:
        return [event.event for event in self.events]


class Stream(Reader):
    """One request to the application. `stuck`: takes nothing while it is set."""

    def __init__(self, live: Live, path: str, key: str, **headers: str) -> None:
        super().__init__()
        path, _, query = path.partition("?")
        sent = {"host": "testserver", "authorization": f"Bearer {key}"} | headers
        self.scope: dict[str, Any] = {
            "type": "http", "http_version": "1.1", "method": "GET", "path": path, "raw_path": path.encode(),
            "query_string": query.encode(), "headers": [(k.replace("_", "-").encode(), v.encode()) for k, v in sent.items()],
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "scheme": "http", "root_path": "",
        }  # fmt: skip
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self.ended = False
        self.changed = asyncio.Event()
        self.free = asyncio.Event()
        self.free.set()
        self._gone = asyncio.Event()
        self._live = live

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self._live(self.scope, self._receive, self._send))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    async def leave(self) -> None:
        self._gone.set()
        self.free.set()
        await asyncio.wait_for(self.task, PATIENCE)

    async def _receive(self) -> Any:
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.free.wait()
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            self.body += message["body"]
            self.ended = not message["more_body"]
            if self.status == 200:
                self.feed(message["body"])
        self.changed.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until a condition holds of what came."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def opened(self) -> None:
        await self.until(lambda: self.status)


@contextlib.asynccontextmanager
async def live_process() -> AsyncIterator[Live]:
    """The application, from its start to its end."""
    live = Live()
    messages: asyncio.Queue[Any] = asyncio.Queue()
    done: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.create_task(live({"type": "lifespan"}, messages.get, done.put))
    await messages.put({"type": "lifespan.startup"})
    assert (await done.get())["type"] == "lifespan.startup.complete"
    try:
        yield live
    finally:
        await messages.put({"type": "lifespan.shutdown"})
        await asyncio.wait_for(life, PATIENCE)


async def in_thread(fn: Callable[..., Any], *arguments: Any) -> Any:
    """Call something that uses Django's connection, in a thread that leaves none behind."""

    def call() -> Any:
        try:
            return fn(*arguments)
        finally:
            connection.close()

    return await asyncio.to_thread(call)
