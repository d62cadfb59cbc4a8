"""`manage.py jobs`: the jobs of a project in a terminal.

Exit codes: 0 done; 1 refused, or a job did not end well; 2 the command line does not fit; 124 --timeout is over.
"""

import argparse
import getpass
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import DatabaseError

from events import selectors as log
from events.serializers import place_of, show_event
from jobplatform.api import problems, strict_json
from jobplatform.api.problems import Problem
from jobplatform.api.query import rfc3339
from jobplatform.api.validation import validated
from jobplatform.management import following, reconciling
from jobplatform.management.terminal import Terminal, clock, status_text
from jobs import selectors, services, standing
from jobs.bell import bell
from jobs.errors import JobsError
from jobs.selectors import JobFilter, JobRow
from jobs.serializers import CreateJob, explain, show_attempt, show_job
from jobs.states import Status
from projects.selectors import project_named, projects
from reconciliation.errors import ReconciliationError

MOST_SHOWN = 1000
MOST_NAMES = 10
HEARD_SECONDS = 2.0  # how long a new job's bell may take
REFUSED, USAGE, INTERRUPTED, TIMED_OUT, NO_READER = 1, 2, 130, 124, 141

Options = dict[str, Any]


class Command(BaseCommand):
    help = "Jobs of a project: list, show, submit, cancel, retry, watch, tail, dead-letters, redrive."

    def add_arguments(self, parser: CommandParser) -> None:
        """The command line."""
        acts = parser.add_subparsers(dest="act", required=True, metavar="|".join(ACTS))
        common = CommandParser(add_help=False)
        common.add_argument("--project", metavar="SLUG|ID", help="whose jobs; may be left out where there is only one")
        common.add_argument("--json", action="store_true", help="one JSON object a line, as the API shows it")

        def act(name: str, text: str) -> argparse.ArgumentParser:
            made: argparse.ArgumentParser = acts.add_parser(name, help=text, description=text, parents=[common])
            return made

        _list_arguments(act("list", "Jobs, newest first."))
        act("show", "One job, with its attempts, its events, and why it stands there.").add_argument("id", type=UUID)
        _submit_arguments(act("submit", "Create a job and print it."))
        for name, text in (("cancel", "Stop a job."), ("retry", "Queue an ended or blocked job once more.")):
            made = act(name, text)
            made.add_argument("id", type=UUID)
            made.add_argument("--reason", default="", help="kept in the audit record")
        made = act("watch", "Progress of jobs until all have ended; exit code 0 if all were done.")
        made.add_argument("id", type=UUID, nargs="*", help="default: all of the project that have not ended")
        made.add_argument("--timeout", type=float, metavar="SECONDS", help="exit code 124 when it is over")
        reconciling.letters_arguments(act("dead-letters", "Why jobs stand failed or rejected, by cause."))
        reconciling.redrive_arguments(act("redrive", "Queue dead letters once more, by a plan that is stored."))
        made = act("tail", "Events as they come, until Ctrl-C.")
        made.add_argument("--type", default="", metavar="PREFIX", help="only types that begin so: job.failed")
        made.add_argument("--job", type=UUID, metavar="ID", help="only events of this job")
        made.add_argument("--after", type=_place, metavar="EVENT", help="behind this event; 0: from the start")
        made.add_argument("--count", type=int, metavar="N", help="end after so many")

    def handle(self, *_args: Any, **options: Any) -> None:
        """Do it, and turn what went wrong into one sentence and an exit code."""
        terminal = Terminal(getattr(self.stdout, "_out", None), as_json=options["json"], no_color=options["no_color"])
        try:
            with terminal.interruptible():
                code = ACTS[options["act"]](terminal, _project(options["project"]), options)
        except (Problem, JobsError, ReconciliationError, DatabaseError, psycopg.Error) as error:
            problem = problems.of(error)
            if problem is None:
                raise
            raise CommandError(_sentence(problem), returncode=REFUSED) from error
        except KeyboardInterrupt:
            code = INTERRUPTED
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else Python complains at its end
            code = NO_READER
        if code:
            sys.exit(code)


def _list_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kind")
    parser.add_argument("--status", choices=[status.value for status in Status])
    parser.add_argument("--stage")
    parser.add_argument("--lane")
    parser.add_argument("--error-code")
    parser.add_argument("--created-after", type=rfc3339, metavar="TIME")
    parser.add_argument("--created-before", type=rfc3339, metavar="TIME")
    parser.add_argument("--metadata", type=_pair, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--limit", type=int, default=20, help="default 20")


def _submit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("kind")
    parser.add_argument("payload", nargs="?", default="{}", help="JSON, @file, or - for standard input")
    parser.add_argument("--lane")
    parser.add_argument("--priority", type=int)
    parser.add_argument("--due", metavar="TIME", help="not before, as in 2026-11-22T06:00:00Z")
    parser.add_argument("--max-attempts", type=int)
    parser.add_argument("--metadata", type=_pair, action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--wait", action="store_true", help="watch it until it has ended")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="of --wait; exit code 124 when it is over")


# ------------------------------------------------------------------------------------------------ the acts
def _list(terminal: Terminal, project_id: UUID, options: Options) -> int:
    wanted = JobFilter(
        kind=options["kind"],
        status=Status(options["status"]) if options["status"] else None,
        stage=options["stage"],
        lane=options["lane"],
        error_code=options["error_code"],
        created_after=options["created_after"],
        created_before=options["created_before"],
        metadata=dict(options["metadata"]),
    )
    most = options["limit"]
    if not 0 < most <= MOST_SHOWN:
        message = f"--limit is 1 to {MOST_SHOWN}."
        raise _usage(message)
    rows: list[JobRow] = []
    edge: UUID | None = None
    while len(rows) < most:
        scan = selectors.jobs(project_id, wanted, edge=edge, descending=True, limit=most - len(rows))
        rows += scan.rows
        edge = scan.stopped_at
        if edge is None:
            break
    if terminal.as_json:
        for row in rows:
            terminal.json(show_job(row))
        return 0
    names = ("id", "kind", "status", "attempt", "created", "due", "error")
    terminal.table(names, (_cells(show_job(row), row) for row in rows))
    return 0


def _cells(job: dict[str, Any], row: JobRow) -> tuple[object, ...]:
    attempt = f"{row.attempt}/{job['max_attempts']}"
    due = clock(row.due_at) if row.status in {Status.QUEUED, Status.PARKED} else ""
    return row.id, row.kind, status_text(row.status), attempt, clock(row.created_at), due, _code(row.error)


def _code(error: str | None) -> str:
    return str(strict_json.loads(error.encode()).get("code", "")) if error else ""


def _show(terminal: Terminal, project_id: UUID, options: Options) -> int:
    job_id = options["id"]
    row = selectors.job(project_id, job_id)
    why = explain(standing.of(project_id, job_id))
    attempts = selectors.attempts(project_id, job_id, after=None, limit=MOST_SHOWN).rows
    events = log.of_subject(project_id, job_id, after=None, limit=MOST_SHOWN).rows
    if terminal.as_json:
        shown = {
            "attempts": [show_attempt(each) for each in attempts],
            "events": [show_event(event) for event in events],
        }
        terminal.json({"job": show_job(row), "explain": why, **shown})
        return 0
    terminal.line(row.kind, job_id, status_text(row.status))
    terminal.line(why["code"], "·", why["detail"])
    texts = ((name, getattr(row, name)) for name in ("payload", "output", "error", "progress", "metadata", "steps"))
    terminal.table(("", ""), ((name, text) for name, text in texts if text not in {None, "{}"}))
    terminal.table(
        ("attempt", "stage", "outcome", "started", "ms", "worker", "error"),
        (
            (
                each.attempt,
                each.stage,
                each.outcome,
                clock(each.started_at),
                show_attempt(each)["duration_ms"],
                each.worker or "",
                _code(each.error),
            )
            for each in attempts
        ),
        title="Attempts",
    )
    rows = ((f"#{event.seq}", clock(event.occurred_at), event.type, event.data) for event in events)
    terminal.table(("", "when", "event", "data"), rows, title="Events")
    return 0


def _submit(terminal: Terminal, project_id: UUID, options: Options) -> int:
    asked = {"kind": options["kind"], "payload": strict_json.loads(_payload(options["payload"]))}
    asked |= {name: options[name] for name in ("lane", "priority", "max_attempts") if options[name] is not None}
    asked |= {"due_at": options["due"]} if options["due"] else {}
    asked |= {"metadata": dict(options["metadata"])} if options["metadata"] else {}
    request = validated(CreateJob, asked).request()
    (submitted,) = services.submit_many(project_id=project_id, requests=[request])
    bell.settle(HEARD_SECONDS)
    if options["wait"]:
        return _watched(following.watch(terminal, project_id, [submitted.id], patience=options["timeout"]))
    _print(terminal, project_id, submitted.id)
    return 0


def _payload(text: str) -> bytes:
    if text == "-":
        return sys.stdin.buffer.read()
    if not text.startswith("@"):
        return text.encode(errors="surrogateescape")
    try:
        return Path(text[1:]).read_bytes()
    except OSError as error:
        message = f"Cannot read {text[1:]}: {error.strerror}."
        raise _usage(message) from error


def _cancel(terminal: Terminal, project_id: UUID, options: Options) -> int:
    services.cancel(project_id=project_id, job_id=options["id"], actor=_actor(), reason=options["reason"])
    _print(terminal, project_id, options["id"])
    return 0


def _retry(terminal: Terminal, project_id: UUID, options: Options) -> int:
    services.retry(project_id=project_id, job_id=options["id"], actor=_actor(), reason=options["reason"])
    bell.settle(HEARD_SECONDS)
    _print(terminal, project_id, options["id"])
    return 0


def _print(terminal: Terminal, project_id: UUID, job_id: UUID) -> None:
    row = selectors.job(project_id, job_id)
    if terminal.as_json:
        terminal.json(show_job(row))
    else:
        asked = "cancel requested" if row.cancel_requested and row.status == Status.PROCESSING else ""
        terminal.line(row.id, row.kind, status_text(row.status), asked)


def _watch(terminal: Terminal, project_id: UUID, options: Options) -> int:
    ids = list(dict.fromkeys(options["id"])) or following.unfinished(project_id)
    return _watched(following.watch(terminal, project_id, ids, patience=options["timeout"]))


def _watched(good: bool | None) -> int:  # noqa: FBT001 - what `watch` says
    return TIMED_OUT if good is None else 0 if good else REFUSED


def _tail(terminal: Terminal, project_id: UUID, options: Options) -> int:
    if options["job"] is not None:
        selectors.exists(project_id, options["job"])
    following.tail(
        terminal,
        project_id,
        job_id=options["job"],
        prefix=options["type"],
        after=options["after"],
        most=options["count"],
    )
    return 0


def _redrive(terminal: Terminal, project_id: UUID, options: Options) -> int:
    return reconciling.redrive(terminal, project_id, options, _actor())


ACTS: dict[str, Callable[[Terminal, UUID, Options], int]] = {
    "list": _list,
    "show": _show,
    "submit": _submit,
    "cancel": _cancel,
    "retry": _retry,
    "watch": _watch,
    "tail": _tail,
    "dead-letters": reconciling.letters,
    "redrive": _redrive,
}


# ------------------------------------------------------------------------------------------------ who, and what
def _project(name: str | None) -> UUID:
    if name:
        found = project_named(name)
        if found is None:
            message = f"No project has the id or slug {name!r}. {_names()}"
            raise _usage(message)
        return found.id
    first_two = list(projects()[:2])
    if len(first_two) == 1:
        return first_two[0].id
    message = f"Name one by --project. {_names()}"
    raise _usage(message)


def _usage(sentence: str) -> CommandError:
    return CommandError(sentence, returncode=USAGE)


def _names() -> str:
    slugs = list(projects().values_list("slug", flat=True)[: MOST_NAMES + 1])
    if not slugs:
        return "There is no project yet."
    more = ", …" if len(slugs) > MOST_NAMES else ""
    return f"There are: {', '.join(slugs[:MOST_NAMES])}{more}."


def _actor() -> str:
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # a user id without an account
        return f"cli:{os.getuid()}"


def _pair(text: str) -> tuple[str, str]:
    key, found, value = text.partition("=")
    if not found or not key:
        message = "write KEY=VALUE"
        raise argparse.ArgumentTypeError(message)
    return key, value


def _place(text: str) -> tuple[int, int]:
    place = place_of(text)
    if place is None:
        message = "write the id of an event, or 0"
        raise argparse.ArgumentTypeError(message)
    return place


def _sentence(problem: Problem) -> str:
    details = "".join(f"\n  {item['field']}: {item['message']}" for item in problem.errors)
    return f"{problem.code}: {problem.detail}{details}"
