"""`manage.py jobs watch` and `tail`: what happens, as it happens, in a terminal."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import orjson
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from events import log, selectors
from events.selectors import EventFilter, EventRow, Place
from events.serializers import show_event
from jobplatform.management.terminal import Terminal, clock, printable, status_text
from jobs import selectors as jobs
from jobs.errors import JobNotFound
from jobs.selectors import SETTLED, JobFilter, WatchedRow
from jobs.states import LIVE, Status

EVERY_SECONDS = 0.5
PAGE_ROWS = 500
MOST_WATCHED = 200
GOOD = frozenset({Status.PROCESSED, Status.CONFIRMED})


def unfinished(project_id: UUID) -> list[UUID]:
    """The newest jobs of a project that have not ended, at most MOST_WATCHED."""
    found: list[UUID] = []
    for status in sorted(LIVE - SETTLED):
        scan = jobs.jobs(project_id, JobFilter(status=status), edge=None, descending=True, limit=MOST_WATCHED)
        found += [row.id for row in scan.rows]
    return sorted(found)[-MOST_WATCHED:]


def watch(terminal: Terminal, project_id: UUID, ids: Sequence[UUID], *, patience: float | None) -> bool | None:
    """Show jobs until nothing moves them on by itself. True: all were done; None: patience ended first.

    Raises:
        JobNotFound: the project has no such job.
    """
    ends = None if patience is None else time.monotonic() + patience
    pairs = [(job_id, project_id) for job_id in ids]
    seen: dict[UUID, WatchedRow] = {}
    with _display(terminal) as show:
        while True:
            rows = jobs.watched(pairs)
            for job_id in ids:
                row = rows.get(job_id)
                if row is None:
                    raise JobNotFound(job_id=job_id)
                if row != seen.get(job_id):
                    show(row)
            seen = rows
            if all(row.status in SETTLED for row in rows.values()):
                return all(row.status in GOOD for row in rows.values())
            if ends is not None and time.monotonic() >= ends:
                return None
            terminal.rest(EVERY_SECONDS)


@contextmanager
def _display(terminal: Terminal) -> Iterator[Any]:
    """A function that shows a job that has changed."""
    if terminal.as_json:
        yield lambda row: terminal.json(shown(row))
        return
    if not terminal.is_terminal:
        yield lambda row: terminal.line(row.id, row.kind, row.status, _note(row))
        return
    with _bars(terminal) as bars:
        tasks: dict[UUID, TaskID] = {}

        def show(row: WatchedRow) -> None:
            if row.id not in tasks:
                tasks[row.id] = bars.add_task("", total=None, state="", note="")
            done, total = _measure(row)
            bars.update(
                tasks[row.id],
                description=f"{printable(row.kind)} …{str(row.id)[-6:]}".replace("[", "\\["),
                completed=done,
                total=total,
                state=status_text(row.status).markup,
                note=printable(_note(row)).replace("[", "\\["),
            )
            if row.status in SETTLED:
                bars.stop_task(tasks[row.id])

        yield show


def _bars(terminal: Terminal) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}"),
    )
    return Progress(*columns, console=terminal.console)


def _measure(row: WatchedRow) -> tuple[float, float | None]:
    """How much is done of how much; None: nobody says."""
    if row.status in GOOD:
        return 1, 1
    said = orjson.loads(row.progress) if row.progress else {}
    total = said.get("total") or None
    if total is None and row.status != Status.PROCESSING:
        return 0, 1
    return said.get("done") or 0, total


def _note(row: WatchedRow) -> str:
    if row.error and row.status not in GOOD:
        error = orjson.loads(row.error)
        return f"{error.get('code', '')}: {error.get('message', '')}"
    said = orjson.loads(row.progress) if row.progress else {}
    parts = f"{said['done']:g}/{said['total']:g}" if "done" in said and "total" in said else ""
    return f"{parts} {said.get('note') or ''}".strip()


def shown(row: WatchedRow) -> dict[str, Any]:
    """A job that is watched, for a program."""
    return {
        "id": row.id,
        "kind": row.kind,
        "status": row.status,
        "attempt": row.attempt,
        "progress": None if row.progress is None else orjson.Fragment(row.progress),
        "error": None if row.error is None else orjson.Fragment(row.error),
    }


def tail(
    terminal: Terminal, project_id: UUID, *, job_id: UUID | None, prefix: str, after: Place | None, most: int | None
) -> None:
    """Show events as they come, from now on or behind a place, `most` of them or without an end."""
    place = log.head() if after is None else after
    wanted = EventFilter(subject_id=job_id, settled=True)
    count = 0
    while True:
        scan = selectors.events(project_id, wanted, edge=place, descending=False, limit=PAGE_ROWS)
        for row in scan.rows:
            if row.type.startswith(prefix):
                show(terminal, row)
                count += 1
                if count == most:
                    return
        place = scan.stopped_at or (scan.rows[-1].place if scan.rows else place)
        if scan.stopped_at is None and len(scan.rows) < PAGE_ROWS:
            terminal.rest(EVERY_SECONDS)


def show(terminal: Terminal, row: EventRow) -> None:
    """One event."""
    if terminal.as_json:
        terminal.json(show_event(row))
    else:
        terminal.line(clock(row.occurred_at), row.type, row.subject_id, f"#{row.seq}", row.data)
