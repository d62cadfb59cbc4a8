"""The last part of `make demo`: a provider is down, jobs die, and come back under control by a reconciliation."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

NUMBER, CANARY = 40, 5
CODE = "connection_refused_error"
PATIENCE_SECONDS = 60.0
LOOK_SECONDS = 0.2

Call = Callable[..., tuple[int, dict[str, Any]]]


@dataclass
class Step:
    """One step of the incident: what should come of it, and what did."""

    title: str
    expect: str
    found: str = ""
    took: float = 0.0

    @property
    def right(self) -> bool:
        """Whether it went as it should."""
        return self.found == self.expect


def play(call: Call, down: Path) -> Iterator[list[Step]]:
    """Do it all, and yield after each change. `down`: the file that says that the provider is down."""
    steps = [
        Step(f"the provider is down, {NUMBER} invoices are to be sent", f"{NUMBER} dead letters of one cause"),
        Step(f"reconciled, {CANARY} first, while it is down still", f"stopped: {CANARY} of {NUMBER} failed again"),
        Step("the provider is up: started once more", f"done: {NUMBER - CANARY} recovered"),
        Step("and those that had gone first", f"done: {CANARY} recovered"),
        Step("all clear", "no dead letter of this cause"),
    ]
    ask = {"errors_allowed_to_retry": [CODE], "reason": "the demo's incident"}
    down.touch()
    try:
        jobs = [{"kind": "invoice.send", "payload": {"number": number}} for number in range(1, NUMBER + 1)]
        call("/jobs/batch", json.dumps({"jobs": jobs}).encode())
        yield from _until(steps, 0, lambda: _dead(call))
        _, plan = call("/reconciliations", json.dumps({**ask, "canary": CANARY, "stop_above": 50}).encode())
        yield from _until(steps, 1, lambda: _standing(call, plan["id"], "failed", f" of {NUMBER} failed again"))
    finally:
        down.unlink()
    call(f"/reconciliations/{plan['id']}/start", b"{}")
    yield from _until(steps, 2, lambda: _standing(call, plan["id"], "recovered", " recovered"))
    _, plan = call("/reconciliations", json.dumps(ask).encode())
    yield from _until(steps, 3, lambda: _standing(call, plan["id"], "recovered", " recovered"))
    yield from _until(steps, 4, lambda: _dead(call))


def _until(steps: list[Step], at: int, look: Callable[[], str]) -> Iterator[list[Step]]:
    step, began = steps[at], time.monotonic()
    while not step.right and time.monotonic() < began + PATIENCE_SECONDS:
        step.found = look()
        step.took = time.monotonic() - began
        yield steps[: at + 1]
        time.sleep(LOOK_SECONDS)


def _dead(call: Call) -> str:
    _, page = call("/dead-letters")
    found = [row for row in page["results"] if row["code"] == CODE]
    return f"{found[0]['dead']} dead letters of one cause" if found else "no dead letter of this cause"


def _standing(call: Call, key: str, name: str, words: str) -> str:
    _, plan = call(f"/reconciliations/{key}")
    return f"{plan['status']}: {plan[name]}{words}"


def right(steps: list[Step]) -> bool:
    """Whether all went as it should."""
    return len(steps) > 1 and all(step.right for step in steps)


def table(steps: list[Step]) -> Table:
    """What happened."""
    shown = Table(title="An incident", title_justify="left")
    for name in ("what", "came to", "seconds"):
        shown.add_column(name)
    for step in steps:
        shown.add_row(step.title, ("✔ " if step.right else "… ") + step.found, f"{step.took:.1f}")
    return shown
