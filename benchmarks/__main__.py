"""Run the benchmark.

python -m benchmarks              all rows, five alternating runs: results.json, runs.json and chart.svg
python -m benchmarks drain        the rows whose name contains "drain"; the others keep their old figures
python -m benchmarks --quick      one short run of each, to see that it works; its figures are not kept
"""

import argparse
import json
import os
import platform
import signal
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console

from benchmarks import figures, peer_venv, report, results
from benchmarks.stage import SideFailed, Stage
from jobplatform.embedded import EmbeddedError

HERE = Path(__file__).resolve().parent
README = HERE.parent / "README.md"
ROUNDS = 5
BUSY = 0.5  # load average above which somebody else uses the machine


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write. Returns 2 when a side failed; a row that misses its must is a result, not an error."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # through every `finally`
    options = _options(arguments)
    machine = _machine()
    console = Console(width=None if sys.stdout.isatty() else 170, highlight=False)
    try:
        claims = figures.chosen(" ".join([*options.part, *options.only]))
        peer_venv.ensure()
        console.print(machine)
        if os.getloadavg()[0] > BUSY:
            console.print("Something else runs on this machine: these figures will not be worth much.")
        runs, sides = _measure(claims, options, console)
    except (LookupError, peer_venv.InstallFailed, EmbeddedError, SideFailed) as error:
        console.print(str(error), markup=False)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    rows = [claim.row(runs) for claim in claims if all(runs[name] for name in claim.figures)]
    console.print(report.table(rows))
    if not options.quick:
        _keep(options.out, rows, {"machine": machine, "sides": sides, "runs": runs})
    return 0


def _measure(
    claims: list[figures.Claim], options: argparse.Namespace, console: Console
) -> tuple[figures.Runs, Mapping[str, object]]:
    """What every run found, and the versions and settings of every side."""
    names = list(dict.fromkeys(name for claim in claims for name in claim.figures))
    with Stage(options.data) as stage:
        for side in dict.fromkeys(figures.FIGURES[name].side for name in names):
            prepared = stage.prepare(side)
            versions = ", ".join(f"{name} {version}" for name, version in prepared["versions"].items())
            console.print(f"{side} ({versions}): {prepared['settings']}")
        runs = figures.alternate(
            stage,
            names,
            rounds=1 if options.quick else options.rounds,
            length=figures.QUICK if options.quick else figures.FULL,
            tell=console.print,
        )
        sides = {side: {key: found[key] for key in ("versions", "settings")} for side, found in stage.prepared.items()}
    return runs, sides


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the engine beside its peers.")
    parser.add_argument("part", nargs="*", help="only rows whose name contains this")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="the same")
    parser.add_argument("--quick", action="store_true", help="one short run of each; nothing is written")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"alternating runs (default {ROUNDS})")
    parser.add_argument("--out", type=Path, default=HERE, help="directory of results.json, runs.json and chart.svg")
    parser.add_argument("--data", type=Path, default=HERE.parent / ".data" / "bench", help="scratch directory")
    return parser.parse_args(arguments)


def _keep(out: Path, rows: list[results.Row], found: Mapping[str, Any]) -> None:
    """Write the rows, the chart of all rows, and what every single run found."""
    merged = results.write(out / "results.json", rows)
    (out / "chart.svg").write_text(report.chart(merged))
    if out == HERE:
        README.write_text(report.into(README.read_text(), merged))
    runs = out / "runs.json"
    before = json.loads(runs.read_text()) if runs.exists() else {}
    parts = {name: {**before.get(name, {}), **found[name]} for name in ("sides", "runs")}
    measured_at = datetime.now(UTC).isoformat("T", "seconds")
    runs.write_text(json.dumps({"measured_at": measured_at, **found, **parts}, indent=1) + "\n")


def _machine() -> str:
    model = "unknown CPU"
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else platform.machine()
    memory = psutil.virtual_memory().total / 1024**3
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Python {platform.python_version()}, load at start {load:.1f}"


if __name__ == "__main__":
    sys.exit(main())
