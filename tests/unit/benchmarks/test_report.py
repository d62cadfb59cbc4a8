"""How results are shown."""

import io
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from rich.console import Console

from benchmarks import report, results
from benchmarks.results import compare

ROOT = Path(__file__).resolve().parents[3]
SVG = "{http://www.w3.org/2000/svg}"
ROWS = [
    compare("drain against Celery prefork", "jobs/s", [20_000], [800], peer_name="Celery prefork", must=15, aim=35),
    compare("drain against pgqueuer", "jobs/s", [20_000], [15_000], peer_name="pgqueuer & <co>", must=1, aim=2.5),
    compare("p50", "ms", [4.0], [3.0], peer_name="Celery prefork", must=1, aim=0.7, lower_is_better=True),
    compare("confirmations", "tx/s", [70.0], None, must=50, aim=60),
]


def test_the_chart_is_valid_svg_with_one_bar_per_side() -> None:
    root = ET.fromstring(report.chart(ROWS))  # noqa: S314 - our own text
    bars = [bar for bar in root.iter(f"{SVG}rect") if bar.get("rx")]
    # Our drain stands once beside both of its peers, then two bars of the pick-up, then ours alone.
    assert len(bars) == 3 + 2 + 1


def test_two_things_with_the_same_figure_are_two_groups() -> None:
    rows = [compare(name, "jobs/s", [9_000], [800], peer_name="peer") for name in ("life cycle against x", "batch")]
    root = ET.fromstring(report.chart(rows))  # noqa: S314 - our own text
    assert sum(text.text == "jobplatform" for text in root.iter(f"{SVG}text")) == 2


def test_bars_are_as_long_as_their_values_within_a_group() -> None:
    root = ET.fromstring(report.chart(ROWS))  # noqa: S314 - our own text
    widths = [float(bar.get("width", "")) for bar in root.iter(f"{SVG}rect") if bar.get("rx")]
    assert widths[0] == report.BAR_WIDTH
    assert abs(widths[2] / widths[0] - 15 / 20) < 0.01


def test_names_are_escaped_in_the_chart() -> None:
    root = ET.fromstring(report.chart(ROWS))  # noqa: S314 - our own text
    assert "pgqueuer & <co>" in [text.text for text in root.iter(f"{SVG}text")]


def test_the_table_says_what_was_reached_and_what_was_missed() -> None:
    out = io.StringIO()
    Console(width=200, file=out).print(report.table(ROWS))
    lines = {line.split("│")[1].strip(): line for line in out.getvalue().splitlines() if "│" in line}
    assert "must reached" in lines["drain against Celery prefork"]
    assert "MISSED" in lines["p50"]
    assert "aim reached" in lines["confirmations"]


def test_numbers_are_written_for_people() -> None:
    assert [report.figure(value) for value in (12_345.6, 99.94, 2.567, None)] == ["12,346", "99.9", "2.57", ""]


def test_the_table_is_put_between_its_marks_and_nothing_else_changes() -> None:
    document = f"before\n{report.BEGINS}old\n{report.ENDS}\nafter\n"
    renewed = report.into(document, ROWS)
    assert renewed == f"before\n{report.BEGINS}{report.markdown(ROWS)}{report.ENDS}\nafter\n"
    assert report.into(renewed, ROWS) == renewed
    with pytest.raises(ValueError, match="measured"):
        report.into("without marks", ROWS)


def test_a_row_without_a_peer_has_no_ratio() -> None:
    assert report.markdown(ROWS[3:]).splitlines()[2] == "| confirmations |  | ≥ 50 | 70 tx/s |  |  |"


def test_the_readme_shows_what_was_measured() -> None:
    readme = (ROOT / "README.md").read_text()
    assert report.into(readme, results.read(ROOT / "benchmarks" / "results.json")) == readme
