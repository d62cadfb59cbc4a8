"""A run of the whole platform from the command line: own directory, own servers, load, faults, and the checker.

    python -m tests.chaos [chaos|soak|upgrade] --seed 7 --minutes 10 [--report FILE]

`chaos` kills anything; `soak` breaks connections only, and measures memory and open files; `upgrade` goes from the version
before to this one. Exits 0 with the checker's all-clear, else 1: then it tells the story of each job that broke a
promise and keeps the directory.
"""

import argparse
import json
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

from rich.console import Console

from tests.chaos.whole import report
from tests.chaos.whole.faults import LONGEST_FREEZE
from tests.chaos.whole.fleet import Fleet
from tests.chaos.whole.forms import FORMS
from tests.chaos.whole.running import Outcome, Plan, as_json


def options_of(arguments: list[str] | None) -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "form", nargs="?", choices=list(FORMS), default="chaos", help="what sort of run (default chaos)"
    )
    parser.add_argument("--seed", default="1", help="what happens, and in which order")
    parser.add_argument("--minutes", type=float, default=10.0, help="of load and faults (default 10)")
    parser.add_argument("--pace", type=float, default=6.0, help="requests a second (default 6)")
    parser.add_argument("--least", type=float, default=4.0, help="seconds from one fault to the next (default 4 ...")
    parser.add_argument("--most", type=float, default=14.0, help="... to 14)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write FILE.json and FILE.md as well")
    parser.add_argument("--keep", action="store_true", help="keep the directory of the run")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Make a run."""
    options = options_of(arguments)
    plan = Plan(
        seed=options.seed, seconds=options.minutes * 60, pace=options.pace, between=(options.least, options.most),
        longest=min(LONGEST_FREEZE, options.minutes * 15),
    )  # fmt: skip
    console = Console() if sys.stdout.isatty() else Console(width=160)

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, on_signal)
    directory = Path(tempfile.mkdtemp(prefix="jp-chaos-"))
    directory.chmod(0o711)  # as root the servers run as a user of their own
    fleet = Fleet(directory)
    keep = True
    console.print(f"{options.form}, seed {plan.seed}, {options.minutes:g} minutes. Data and logs: {directory}")
    try:
        outcome = FORMS[options.form](fleet, plan, lambda text: console.print(text, markup=False, highlight=False))
        report.show(outcome, console, options.form)
        if options.report:
            write(outcome, options.report)
        keep = options.keep or not outcome.ok
    except KeyboardInterrupt:
        keep = options.keep
        return 130
    finally:
        if keep:
            console.print(f"Kept: {directory}")
        else:
            fleet.destroy()
    return 0 if outcome.ok else 1


def write(outcome: Outcome, path: Path) -> None:
    """Write a report as JSON and as Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(as_json(outcome), indent=2, default=str) + "\n")
    path.with_suffix(".md").write_text(report.markdown(outcome))


if __name__ == "__main__":
    sys.exit(main())
