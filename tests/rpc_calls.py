"""What goes through the proxy of tests/rpc_proxy.py: calls of JSON-RPC, and the log of them that tests wait on."""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from tests.rpc_faults import Fault

GENEROUS = 30.0  # seconds; a deadline, not a wait
UPGRADE = "(upgrade)"
"""The method of what a client asks before it speaks through a WebSocket."""

Reply = dict[str, Any]
Moment = Literal["asked", "done", "answered"]
"""`asked`: it has come; `done`: the node has carried it out; `answered`: its answer leaves for the client."""


class HangUp(Exception):
    """The connection is closed without an answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of HTTP to a request as a whole."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Call:
    """One call. Its moments are seconds of `time.monotonic`; None: it never came to that."""

    method: str
    params: list[Any] = field(default_factory=list)
    request_id: Any = None
    by_socket: bool = False
    asked_at: float | None = None
    done_at: float | None = None
    answered_at: float | None = None

    def at(self, moment: Moment) -> float | None:
        """When it came to that."""
        return {"asked": self.asked_at, "done": self.done_at, "answered": self.answered_at}[moment]


class Calls:
    """The log: every call, in the order in which they came. Safe to be shared by threads."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self._calls: list[Call] = []

    def add(self, *calls: Call) -> None:
        """Take note of calls that have come."""
        with self.changed:
            for call in calls:
                call.asked_at = time.monotonic()
            self._calls += calls
            self.changed.notify_all()

    def mark(self, calls: Sequence[Call], moment: Moment) -> None:
        """Take note that calls have come to this moment."""
        with self.changed:
            for call in calls:
                setattr(call, f"{moment}_at", time.monotonic())
            self.changed.notify_all()

    def of(self, method: str | None = None, *, moment: Moment = "asked") -> list[Call]:
        """The calls of a method, or of all, that have come to this moment."""
        with self.changed:
            return [call for call in self._calls if method in (None, call.method) and call.at(moment) is not None]

    def wait_for(
        self,
        method: str,
        number: int = 1,
        *,
        moment: Moment = "answered",
        when: Callable[[Call], bool] = lambda call: True,
        seconds: float = GENEROUS,
    ) -> Call:
        """Wait until so many calls of a method have come to this moment since the beginning; return the last of them.

        Raises AssertionError, with what did come, when they do not in time.
        """

        def found() -> list[Call]:
            return [call for call in self.of(method, moment=moment) if when(call)]

        with self.changed:
            if not self.changed.wait_for(lambda: len(found()) >= number, seconds):
                came = ", ".join(call.method for call in self._calls) or "nothing"
                message = f"{seconds:g} s in vain for {method} number {number} to be {moment}. What came: {came}"
                raise AssertionError(message)
            return found()[number - 1]


class Exchange:
    """One request of HTTP and the calls in it. `ask` asks the node directly, and is not logged."""

    def __init__(
        self,
        calls: Sequence[Call],
        *,
        batch: bool,
        ask: Callable[..., Any],
        changed: threading.Condition,
        connected: Callable[[], bool],
    ) -> None:
        self.calls = calls
        self.batch = batch
        self.ask = ask
        self.status = 200
        self._changed = changed
        self._connected = connected

    @cached_property
    def head(self) -> int:
        """The node's highest block, asked once: all calls of a request see the same."""
        return int(self.ask("eth_blockNumber"), 16)

    def hold(self, fault: "Fault") -> None:
        """Wait until the fault is switched off. Raises `HangUp`: the proxy has been stopped meanwhile."""
        with self._changed:
            self._changed.wait_for(lambda: not (fault.active and self._connected()))
        if not self._connected():
            raise HangUp
