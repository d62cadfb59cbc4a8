"""Run a handler in a test: no database, no worker, the same payload validation."""

import asyncio
import inspect
from collections.abc import Callable, Mapping
from typing import Any
from uuid import UUID

from uuid_utils.compat import uuid7

from jobs.registry import Kind
from jobs.run import Run, Woken


class TestDesk:
    """A desk that keeps everything in memory: `steps`, `lines` and `shown` can be looked at afterwards."""

    __test__ = False  # pytest: not a test class

    def __init__(
        self, steps: Mapping[str, Any] | None = None, *, cancelled: bool = False, woken: Woken | None = None
    ) -> None:
        self.steps: dict[str, Any] = dict(steps or {})
        self.lines: list[tuple[str, Mapping[str, Any]]] = []
        self.shown: list[tuple[float, float, str]] = []
        self._cancelled = cancelled
        self._woken = woken

    def step(self, _run: Run[Any], name: str, work: Callable[[], Any]) -> Any:
        """Do the work of a step once."""
        if name not in self.steps:
            self.steps[name] = work()
        return self.steps[name]

    def progress(self, _run: Run[Any], done: float, total: float, note: str) -> None:
        """Keep progress."""
        self.shown.append((done, total, note))

    def log(self, _run: Run[Any], message: str, values: Mapping[str, Any]) -> None:
        """Keep a line."""
        self.lines.append((message, values))

    def cancelled(self, _run: Run[Any]) -> bool:
        """What the test said."""
        return self._cancelled

    def woken(self, _run: Run[Any]) -> Woken | None:
        """What the test said."""
        return self._woken


def run_once(  # one keyword per attribute of a run
    kind: Kind[Any],
    payload: Mapping[str, Any],
    *,
    project_id: UUID,
    attempt: int = 1,
    metadata: Mapping[str, Any] | None = None,
    desk: TestDesk | None = None,
) -> Any:
    """Validate the payload and call the handler once; returns its outcome, raises what it raises."""
    run = Run(
        id=uuid7(),
        kind=kind.name,
        attempt=attempt,
        payload=kind.payload.model_validate(payload),
        project_id=project_id,
        metadata=dict(metadata or {}),
        lane=None,
        desk=desk or TestDesk(),
    )
    answer = kind(run)
    if not inspect.isawaitable(answer):
        return answer

    async def wait() -> Any:
        return await answer

    return asyncio.run(wait())
