"""An outcome as tables for a terminal and as Markdown."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table

from tests.chaos.whole.running import Outcome, middle

SHOWN = 10

Row = tuple[str, ...]


def fault_rows(outcome: Outcome) -> list[Row]:
    """Sort, how many, and how long until the next job ended: median and most, in seconds."""
    counts = Counter(fault.sort for fault in outcome.history.faults)
    rows: list[Row] = []
    for sort, number in counts.most_common():
        times = outcome.recovered.get(sort, [])
        rows.append((sort, str(number), f"{middle(times):.2f}", f"{max(times, default=0):.2f}"))
    return rows


def check_rows(outcome: Outcome) -> list[Row]:
    """Sign, promise, how much was looked at, and what was found."""
    return [("✓" if line.ok else "✗", line.promise, f"{line.looked_at:,}", line.said) for line in outcome.lines]


def summary(outcome: Outcome) -> list[str]:
    """What happened, in sentences."""
    total = sum(outcome.by_status.values())
    statuses = ", ".join(f"{number:,} {status}" for status, number in sorted(outcome.by_status.items()))
    drained = "NOT ALL HAVE ENDED" if outcome.drained_after is None else f"{outcome.drained_after:.1f} s after the last"
    again = outcome.again
    began = f": they began again after {middle(again):.1f} s (median), {max(again):.1f} s (most)" if again else ""
    return [
        f"Seed {outcome.plan.seed}, {outcome.plan.seconds:g} s, {len(outcome.history.faults)} faults.",
        f"{total:,} jobs of {len(outcome.history.requests):,} requests: {statuses}.",
        f"{len(outcome.history.runs):,} runs of handlers; {outcome.lost_answers:,} answers were lost and asked for again.",
        f"All ended or blocked: {drained}.",
        f"{len(again)} jobs were running in a process that was killed{began}.",
    ]


FAULT_TITLES = ("fault", "how often", "next job ended after (median, s)", "most (s)")
CHECK_TITLES = ("", "promise", "looked at", "found")


def show(outcome: Outcome, console: Console, form: str) -> None:
    """Tables, and who broke a promise."""
    for title, titles, rows in (
        ("Faults", FAULT_TITLES, fault_rows(outcome)),
        ("Checker", CHECK_TITLES, check_rows(outcome)),
    ):
        table = Table(title=title, title_justify="left")
        for name in titles:
            table.add_column(name)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for sentence in summary(outcome):
        console.print(sentence, soft_wrap=True)
    for line in outcome.lines:
        for how in line.broken[:SHOWN]:
            console.print(f"✗ {line.promise}: {how}", soft_wrap=True, markup=False)
    console.print(outcome.stories, markup=False, highlight=False, soft_wrap=True)
    again = f"make {form} SEED={outcome.plan.seed} MINUTES={outcome.plan.seconds / 60:g}"
    console.print("All clear." if outcome.ok else f"NOT CLEAR. The same run again: {again}", markup=False)


def markdown(outcome: Outcome) -> str:
    """The same for a document."""
    today = dt.datetime.now(dt.UTC).date()
    parts = [f"### Seed {outcome.plan.seed}, {outcome.plan.seconds / 60:g} minutes, {today}", ""]
    parts += [" ".join(summary(outcome)), ""]
    parts += _table(FAULT_TITLES, fault_rows(outcome))
    parts += _table(CHECK_TITLES, check_rows(outcome))
    parts += [f"**{'All clear.' if outcome.ok else 'Not clear.'}**", ""]
    return "\n".join(parts)


def _table(titles: Sequence[str], rows: Iterable[Row]) -> list[str]:
    lines = [titles, tuple("---" for _ in titles), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]
