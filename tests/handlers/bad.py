"""Handlers that misbehave. `culprit` in the payload chooses one of many; the others work and report."""

import asyncio
import contextlib
import ctypes
import logging
import os
import re
import resource
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from http.client import HTTPConnection
from typing import Any

from django.db import connection, transaction
from pydantic import BaseModel

from jobs import Block, Done, Park, Reject, Retry, RetryIn, Run, exponential, handler
from tests import effects

SOON = Retry(max_attempts=2, backoff=exponential(0.1, factor=1, cap=0.1))


class Deed(BaseModel):
    """What to do: a name of `DEEDS`; empty: work."""

    deed: str = ""
    n: int = 0


# ------------------------------------------------------------------------------------------------ ends of a process
def segfault() -> None:
    ctypes.string_at(0)


def hard_exit() -> None:
    os._exit(0)


def hard_exit_with_error() -> None:
    os._exit(3)


def killed() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def aborted() -> None:
    os.abort()


# ------------------------------------------------------------------------------------------------ never coming back
def loop() -> None:
    while True:
        pass


def stubborn_loop() -> None:
    """Swallow whatever is raised at us."""
    while True:
        try:
            threading.Event().wait(60)
        except BaseException:  # noqa: BLE001, S110 - that is its vice
            pass


def regular_expression() -> None:
    """C code that holds the interpreter's lock and hears no signal."""
    re.match(r"(a+)+$", "a" * 64 + "b")


def blocked_read() -> None:
    reading, _writing = os.pipe()
    os.read(reading, 1)


def silent_server() -> None:
    """Ask somebody over HTTP who takes the request and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        link = HTTPConnection(*server.getsockname())
        link.request("GET", "/")
        link.getresponse()


def sleeping_query() -> None:
    """Wait for the database, on the connection that the engine uses as well."""
    connection.cursor().execute("select pg_sleep(20)")


# ------------------------------------------------------------------------------------------------ exceptions
class Unpicklable(Exception):
    """Carries what cannot be sent anywhere, and says more than anybody wants to read."""

    def __init__(self) -> None:
        super().__init__("x" * 50_000_000)
        self.lock = threading.Lock()


class Mute(Exception):
    """Cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError


class Exits(Exception):
    """Ends the process of whoever asks what it is."""

    def __str__(self) -> str:
        raise SystemExit(7)

    @property
    def code(self) -> str:
        raise KeyboardInterrupt


class Tricky(Exception):
    """Its code is a trap."""

    @property
    def code(self) -> str:
        message = "no code for you"
        raise RuntimeError(message)


def endless_text() -> None:
    raise Unpicklable


def nul_in_text() -> None:
    message = "a\x00b \ud800 c"
    raise ValueError(message)


def mute() -> None:
    raise Mute


def exits_when_asked() -> None:
    raise Exits


def tricky() -> None:
    raise Tricky


def system_exit() -> None:
    sys.exit(0)


def interrupt() -> None:
    raise KeyboardInterrupt


def generator_exit() -> None:
    raise GeneratorExit


def memory() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - a file of the kernel
        size = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + 64 * 1024 * 1024, hard))
    try:
        bytearray(1024 * 1024 * 1024)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def recursion() -> None:
    recursion()


# ------------------------------------------------------------------------------------------------ the connection
def open_transaction() -> None:
    connection.cursor().execute("begin")


def broken_transaction() -> None:
    connection.cursor().execute("begin; select 1")
    connection.cursor().execute("select no_such_column")


def open_atomic() -> None:
    transaction.atomic().__enter__()


def no_autocommit() -> None:
    transaction.set_autocommit(False)
    connection.cursor().execute("select 1")


def closed_connection() -> None:
    connection.close()


def ended_backend() -> None:
    connection.cursor().execute("select pg_terminate_backend(pg_backend_pid())")


def no_alarm() -> None:
    signal.signal(signal.SIGALRM, signal.SIG_IGN)


DEEDS: dict[str, Callable[[], None]] = {
    deed.__name__: deed
    for deed in (
        segfault, hard_exit, hard_exit_with_error, killed, aborted,
        loop, stubborn_loop, regular_expression, blocked_read, silent_server, sleeping_query,
        endless_text, nul_in_text, mute, exits_when_asked, tricky, system_exit, interrupt, generator_exit, memory, recursion,
        open_transaction, broken_transaction, open_atomic, no_autocommit, closed_connection, ended_backend, no_alarm,
    )
}  # fmt: skip


class ExitsAsNumber:
    """Ends the process of whoever takes it for a number."""

    def __float__(self) -> float:
        raise SystemExit(7)


class Strange:
    """Not JSON, and not printable either."""

    def __repr__(self) -> str:
        raise RuntimeError


def _endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


# Answers that no handler should give. Some are refused by the type, some only by their value.
ANSWERS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "true": lambda: True,
    "text": lambda: "done",
    "the_class": lambda: Done,
    "output_not_json": lambda: Done({"x": Strange()}),
    "output_endless": lambda: Done(_endless()),
    "output_nul": lambda: Done({"x": "\x00"}),
    "output_nul_key": lambda: Done({"\x00": 1}),
    "output_surrogate": lambda: Done({"x": "\ud800"}),
    "output_large_number": lambda: Done({"x": 10**400}),
    "output_large": lambda: Done({"x": "y" * 2_000_000}),
    "quality_text": lambda: Done({}, quality="high"),  # type: ignore[arg-type]
    "quality_exits": lambda: Done({}, quality=ExitsAsNumber()),  # type: ignore[arg-type]
    "quality_nan": lambda: Done({}, quality=float("nan")),
    "metrics_text": lambda: Done({}, metrics={"x": "y"}),  # type: ignore[dict-item]
    "metrics_list": lambda: Done({}, metrics=[1]),  # type: ignore[arg-type]
    "metrics_strange": lambda: Done({}, metrics={"\ud800": 1}),
    "within_text": lambda: Done({}, within="x"),  # type: ignore[arg-type]
    "park_text": lambda: Park("tomorrow"),  # type: ignore[arg-type]
    "park_forever": lambda: Park(float("inf")),
    "park_nan": lambda: Park(float("nan")),
    "park_far": lambda: Park(1e300),
    "retry_text": lambda: RetryIn("soon"),  # type: ignore[arg-type]
    "retry_never": lambda: RetryIn(float("inf")),
    "retry_far": lambda: RetryIn(1e300),
    "retry_nan": lambda: RetryIn(float("nan")),
    "reject_number": lambda: Reject(123),  # type: ignore[arg-type]
    "reject_surrogate": lambda: Reject("bad", "\ud800 \x00"),
    "reject_code": lambda: Reject("\ud800"),
    "block_none": lambda: Block(None),  # type: ignore[arg-type]
}


@handler("test.bad", payload=Deed, public=False, retry=SOON, timeout=1)
def bad(job: Run[Deed]) -> Done:
    """Does its deed; without one it works."""
    effects.report("ran", job)
    if job.payload.deed:
        DEEDS[job.payload.deed]()
    return Done({"n": job.payload.n})


@handler("test.bad_async", payload=Deed, public=False, retry=SOON, timeout=1)
async def bad_async(job: Run[Deed]) -> Done:
    """The same, async: many run at once."""
    effects.report("ran", job)
    await asyncio.sleep(0.01)
    if job.payload.deed:
        DEEDS[job.payload.deed]()
    return Done({"n": job.payload.n})


@handler("test.window", payload=Deed, public=False, retry=SOON, timeout=1)
async def in_a_window(job: Run[Deed]) -> Done:
    """Waits a little, as well-behaved neighbours do, or does what is bad for a whole window."""
    effects.report("ran", job)
    match job.payload.deed:
        case "holds_the_loop":
            await asyncio.sleep(0.05)
            time.sleep(1.5)  # noqa: ASYNC251 - its vice
        case "holds_it_again_and_again":
            for _ in range(100):
                await asyncio.sleep(0)
                time.sleep(0.4)  # noqa: ASYNC251 - its vice
        case "waits_too_long":
            await asyncio.sleep(3600)
        case "deaf":
            while True:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.sleep(3600)
        case "ends_the_process":
            os._exit(0)
        case _:
            await asyncio.sleep(0.2)
    return Done({"n": job.payload.n})


@handler("test.nonsense", payload=Deed, public=False, retry=SOON)
def nonsense(job: Run[Deed]) -> Any:
    """Answers something that is no answer."""
    effects.report("ran", job)
    return ANSWERS[job.payload.deed]() if job.payload.deed else Done({"n": job.payload.n})


@handler("test.nonsense_async", payload=Deed, public=False, retry=SOON)
async def nonsense_async(job: Run[Deed]) -> Any:
    """The same, async."""
    effects.report("ran", job)
    return ANSWERS[job.payload.deed]() if job.payload.deed else Done({"n": job.payload.n})


@handler("test.bad_notes", payload=Deed, public=False, retry=SOON)
def bad_notes(job: Run[Deed]) -> Done:
    """Logs and reports progress that cannot be stored."""
    effects.report("ran", job)
    match job.payload.deed:
        case "log_surrogate":
            job.log("a", value="\ud800\x00")
        case "log_strange":
            job.log("a", value=Strange())
        case "log_endless":
            job.log("a", value=_endless())
        case "log_large":
            for _ in range(2000):
                job.log("x" * 5000, value="y" * 20_000)
        case "progress_strange":
            job.progress(Strange(), 10, "\ud800\x00")  # type: ignore[arg-type]
        case "step_strange":
            job.step("\ud800", lambda: "x")
        case "step_nul":
            job.step("s", lambda: "\x00")
    return Done({"n": job.payload.n})


# ------------------------------------------------------------------------------------------------ inside the commit
def _slow() -> None:
    with connection.cursor() as cursor:
        cursor.execute("set local statement_timeout = '50ms'")
        cursor.execute("select pg_sleep(5)")


def _wrong() -> None:
    with connection.cursor() as cursor:
        cursor.execute("select 1 / 0")


def _swallowed() -> None:
    try:
        _wrong()
    except Exception:  # noqa: BLE001, S110 - that is its vice: the transaction is broken now
        pass


def _committing() -> None:
    with connection.cursor() as cursor:
        cursor.execute("commit")


WITHINS: dict[str, Callable[[], None]] = {
    "slow": _slow,
    "wrong": _wrong,
    "swallowed": _swallowed,
    "committing": _committing,
    "crash": killed,
    "leave": hard_exit,
    "exit": system_exit,
    "ended_backend": ended_backend,
}


@handler("test.bad_within", payload=Deed, public=False, retry=SOON)
def bad_within(job: Run[Deed]) -> Done:
    """Misbehaves inside the commit of its outcome."""
    effects.report("ran", job)
    if not job.payload.deed:
        return Done({"n": job.payload.n})
    return Done({}, within=WITHINS[job.payload.deed])


class Text(BaseModel):
    """A text."""

    text: str = ""


class Loud(Exception):
    """Says what it was given."""


@handler("test.evil", payload=Text, public=False, retry=SOON)
def evil(job: Run[Text]) -> Done:
    """Puts a text wherever a handler can put one."""
    job.log(job.payload.text, value=job.payload.text)
    logging.getLogger(job.payload.text).error(job.payload.text)
    logging.getLogger("handler").warning("%s", job.payload.text, stack_info=True)
    raise Loud(job.payload.text)
