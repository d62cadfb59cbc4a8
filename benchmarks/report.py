"""How results are shown: a table in the terminal and a chart as SVG."""

from collections.abc import Sequence
from html import escape

from rich.table import Table

from benchmarks.results import Row

COLOURS = {"aim": "green", "must": "yellow", "missed": "red", "shown": "default"}
WORDS = {"aim": "aim reached", "must": "must reached", "missed": "MISSED", "shown": ""}

WIDTH, BAR_LEFT, BAR_WIDTH, LINE, GAP = 900, 330, 420, 24, 46
OUR_COLOUR, PEER_COLOUR, TEXT_COLOUR = "#1f6feb", "#9aa4b2", "#24292f"


def figure(value: float | None) -> str:
    """A number for people: 12,340 or 2.57."""
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(rows: Sequence[Row]) -> Table:
    """The rows, with their verdicts."""
    shown = Table(title="Measured side by side on this machine (medians)")
    for heading in ("what", "unit", "ours", "peer", "", "ratio", "must", "aim", ""):
        shown.add_column(heading, justify="left" if heading in {"what", "unit", ""} else "right")
    for row in rows:
        sign = "≤" if row.lower_is_better else "≥"
        times = "" if row.peer is None else " x"
        bounds = [f"{sign} {bound:g}{times}" if bound is not None else "" for bound in (row.must, row.aim)]
        colour = COLOURS[row.verdict]
        shown.add_row(
            row.name,
            row.unit,
            figure(row.ours),
            figure(row.peer),
            row.peer_name or "",
            f"[{colour}]{figure(row.ratio)} x[/]" if row.ratio is not None else "",
            *bounds,
            f"[{colour}]{WORDS[row.verdict]}[/]",
        )
    return shown


BEGINS, ENDS = "<!-- measured -->\n", "<!-- /measured -->"


def markdown(rows: Sequence[Row]) -> str:
    """The rows as a table of Markdown: ratios first, because absolute numbers depend on the machine."""
    lines = ["| what | ratio | asked | ours | peer | |", "|---|---|---|---|---|---|"]
    for row in rows:
        sign = "≤" if row.lower_is_better else "≥"
        asked = "" if row.must is None else f"{sign} {row.must:g}{' ×' if row.peer is not None else ''}"
        ratio = "" if row.ratio is None else f"**{figure(row.ratio)} ×**"
        ours, peer = ("" if value is None else f"{figure(value)} {row.unit}" for value in (row.ours, row.peer))
        lines.append(f"| {row.name} | {ratio} | {asked} | {ours} | {peer} | {row.peer_name or ''} |")
    return "\n".join(lines) + "\n"


def into(document: str, rows: Sequence[Row]) -> str:
    """A document with the table between its two marks made anew.

    Raises `ValueError` when it lacks the marks.
    """
    before, found, rest = document.partition(BEGINS)
    _, ended, after = rest.partition(ENDS)
    if not found or not ended:
        message = f"The document has no {BEGINS.strip()} ... {ENDS}."
        raise ValueError(message)
    return before + BEGINS + markdown(rows) + ENDS + after


def chart(rows: Sequence[Row]) -> str:
    """Bars of ours and of each peer as an SVG document, one group per thing that is measured."""
    parts: list[str] = []
    top = 20
    for title, bars in _groups(rows):
        parts.append(_text(20, top + 14, title, weight="bold"))
        top += 26
        longest = max(value for _, value in bars)
        for position, (label, value) in enumerate(bars):
            parts += _bar(top, label, value, longest, OUR_COLOUR if position == 0 else PEER_COLOUR)
            top += LINE
        top += GAP - LINE
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" height="{top}" '
        f'font-family="system-ui, sans-serif" font-size="14" role="img" aria-label="Benchmark results">\n'
        f'<rect width="100%" height="100%" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def _groups(rows: Sequence[Row]) -> list[tuple[str, list[tuple[str, float]]]]:
    """Rows about the same thing ("drain against ...") stand together: ours first, then each peer in the rows' order."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.name.split(" against ")[0], []).append(row)
    found = []
    for subject, members in groups.items():
        better = "less is better" if members[0].lower_is_better else "more is better"
        peers = [(row.peer_name or "", row.peer) for row in members if row.peer is not None]
        found.append((f"{subject} ({members[0].unit}, {better})", [("jobplatform", members[0].ours), *peers]))
    return found


def _bar(top: int, label: str, value: float, longest: float, colour: str) -> list[str]:
    width = max(1.0, BAR_WIDTH * value / longest) if longest else 1.0
    return [
        _text(BAR_LEFT - 10, top + 15, label, anchor="end"),
        f'<rect x="{BAR_LEFT}" y="{top + 3}" width="{width:.1f}" height="16" rx="2" fill="{colour}"/>',
        _text(BAR_LEFT + width + 8, top + 16, figure(value)),
    ]


def _text(x: float, y: float, text: str, *, anchor: str = "start", weight: str = "normal") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}" fill="{TEXT_COLOUR}">'
        f"{escape(text)}</text>"
    )
