"""Run the benchmark.

python -m benchmarks              all rows, five alternating runs: results.json, runs.json and chart.svg
python -m benchmarks drain        the rows whose name contains "drain"; the others keep their old figures
python -m benchmarks --quick      one short run of each, to see that it works; its figures are not kept
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console

from benchmarks import figures, peer_venv, report, results
from benchmarks.stage import SideFailed, Stage

HERE = Path(__file__).resolve().parent
ROUNDS = 5


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write. Returns 1 when a row misses its must, 2 when a side failed."""
    options = _options(arguments)
    console = Console(width=None if sys.stdout.isatty() else 170)
    try:
        claims = figures.chosen(options.part or options.only)
    except LookupError as error:
        console.print(str(error))
        return 2
    names = list(dict.fromkeys(name for claim in claims for name in claim.figures))
    peer_venv.ensure()
    try:
        with Stage(options.data) as stage:
            console.print(_machine(), highlight=False)
            for side in dict.fromkeys(figures.FIGURES[name].side for name in names):
                prepared = stage.prepare(side)
                console.print(f"{side} {_versions(prepared['versions'])}: {prepared['settings']}", highlight=False)
            runs = figures.alternate(
                stage,
                names,
                rounds=1 if options.quick else options.rounds,
                length=figures.QUICK if options.quick else figures.FULL,
                tell=lambda line: console.print(line, highlight=False),
            )
            settings = {
                side: {key: found[key] for key in ("versions", "settings")} for side, found in stage.prepared.items()
            }
    except SideFailed as error:
        console.print(str(error), highlight=False, markup=False)
        return 2
    rows = [claim.row(runs) for claim in claims]
    console.print(report.table(rows))
    if not options.quick:
        _keep(options.out, rows, runs, settings)
    return 1 if any(row.verdict == "missed" for row in rows) and not options.quick else 0


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the engine beside its peers.")
    parser.add_argument("part", nargs="?", default="", help="only rows whose name contains this")
    parser.add_argument("--only", default="", help="the same")
    parser.add_argument("--quick", action="store_true", help="one short run of each; nothing is written")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"alternating runs (default {ROUNDS})")
    parser.add_argument("--out", type=Path, default=HERE, help="directory of results.json, runs.json and chart.svg")
    parser.add_argument("--data", type=Path, default=HERE.parent / ".data" / "bench", help="scratch directory")
    return parser.parse_args(arguments)


def _keep(out: Path, rows: list[results.Row], runs: figures.Runs, settings: Mapping[str, object]) -> None:
    """Write the rows, the chart of all rows, and what every single run found."""
    merged = results.write(out / "results.json", rows)
    (out / "chart.svg").write_text(report.chart(merged))
    found = {"machine": _machine(), "measured_at": datetime.now(UTC).isoformat("T", "seconds")}
    (out / "runs.json").write_text(json.dumps({**found, "sides": settings, "runs": runs}, indent=1) + "\n")


def _machine() -> str:
    model = "unknown CPU"
    if (cpuinfo := Path("/proc/cpuinfo")).exists():
        names = [line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line]
        model = names[0] if names else platform.machine()
    memory = psutil.virtual_memory().total / 1024**3
    load = os.getloadavg()[0]
    return f"{os.cpu_count()} x {model}, {memory:.0f} GiB, Python {platform.python_version()}, load at start {load:.1f}"


def _versions(versions: dict[str, str]) -> str:
    return "(" + ", ".join(f"{name} {version}" for name, version in versions.items()) + ")"


if __name__ == "__main__":
    sys.exit(main())
