"""`manage.py jobs dead-letters` and `redrive`: why jobs died, and the plan that queues them once more."""

import argparse
import time
from typing import Any
from uuid import UUID

from jobplatform.api import strict_json
from jobplatform.api.validation import validated
from jobplatform.management.terminal import Terminal, clock
from jobs.bell import bell
from reconciliation import selectors
from reconciliation.models import Redrive
from reconciliation.serializers import COUNTS, BeginReconciliation, show_cause, show_foreseen, show_reconciliation
from reconciliation.services import plans
from reconciliation.states import DRIVEN, PlanStatus

LOOK_SECONDS = 0.5
HEARD_SECONDS = 2.0
REFUSED, TIMED_OUT = 1, 124


def letters_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `dead-letters`."""
    parser.add_argument("--limit", type=int, choices=range(1, 201), default=20, metavar="N", help="default 20")


def letters(terminal: Terminal, project_id: UUID, options: dict[str, Any]) -> int:
    """Why jobs of a project stand dead, by cause."""
    found = selectors.causes(project_id, limit=options["limit"])
    if terminal.as_json:
        for row in found:
            terminal.json(show_cause(row))
        return 0
    terminal.table(
        ("fingerprint", "code", "dead", "total", "last", "kinds", "message"),
        (
            (row.fingerprint, row.code, row.dead, row.total, clock(row.last_at), ", ".join(row.kinds), row.message)
            for row in found
        ),
    )
    return 0


def redrive_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `redrive`."""
    parser.add_argument("error", nargs="*", help="codes or fingerprints of errors")
    parser.add_argument("--kind")
    parser.add_argument("--canary", type=int, default=0, metavar="N", help="so many first")
    parser.add_argument("--stop-above", type=float, metavar="PERCENT", help="rest when more have failed again")
    parser.add_argument("--pace", type=float, metavar="N", help="jobs a second")
    parser.add_argument("--patch", metavar="JSON", help="a merge patch for the payloads")
    parser.add_argument("--dry-run", action="store_true", help="only look")
    parser.add_argument("--wait", action="store_true", help="until it rests or has ended; exit code 0 if all recovered")
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="of --wait; exit code 124 when it is over")
    parser.add_argument("--reason", default="", help="kept in the audit record")


def redrive(terminal: Terminal, project_id: UUID, options: dict[str, Any], actor: str) -> int:
    """Plan a redrive, and perhaps wait for its end."""
    asked = {"errors_allowed_to_retry": options["error"], "canary": options["canary"]}
    asked |= {name: options[name] for name in ("kind", "stop_above", "pace") if options[name] is not None}
    if options["patch"]:
        asked["change"] = {"payload": strict_json.loads(options["patch"].encode(errors="surrogateescape"))}
    plan = validated(BeginReconciliation, asked).plan()
    plans.check(plan)
    if options["dry_run"]:
        terminal.json(show_foreseen(selectors.foresee(project_id, plan.filter)))
        return 0
    row = plans.begin(project_id=project_id, plan=plan, actor=actor, reason=options["reason"] or "requested")
    bell.settle(HEARD_SECONDS)
    good = _wait(row, options["timeout"]) if options["wait"] else True
    _print(terminal, row)
    return TIMED_OUT if good is None else 0 if good else REFUSED


def _wait(row: Redrive, patience: float | None) -> bool | None:
    """Whether it ended and all recovered; None: the time was over."""
    until = None if patience is None else time.monotonic() + patience
    while row.status in DRIVEN:
        if until is not None and time.monotonic() > until:
            return None
        time.sleep(LOOK_SECONDS)  # the interval of looking
        row.refresh_from_db()
    return row.status == PlanStatus.DONE and row.recovered == row.frozen


def _print(terminal: Terminal, row: Redrive) -> None:
    if terminal.as_json:
        terminal.json(show_reconciliation(row))
        return
    terminal.line(row.id, row.status, row.status_reason)
    terminal.table(COUNTS, [tuple(getattr(row, name) for name in COUNTS)])
