"""Rows of the result: what was measured on both sides, their ratio, and whether it is enough."""

import json
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal


@dataclass(frozen=True)
class Row:
    """One line of `results.json`.

    `ratio` is ours / peer. `must` and `aim` bound the ratio; without a peer they bound `ours` itself. With
    `lower_is_better` they are upper bounds, else lower ones.
    """

    name: str
    unit: str
    ours: float
    peer: float | None
    peer_name: str | None
    ratio: float | None
    must: float | None
    aim: float | None
    lower_is_better: bool

    @property
    def verdict(self) -> Literal["aim", "must", "missed", "shown"]:
        """What was reached: the aim, the must, neither, or nothing was asked."""
        found = self.ours if self.peer is None else self.ratio
        if self.must is None or found is None:
            return "shown"
        if self.aim is not None and self._reaches(found, self.aim):
            return "aim"
        return "must" if self._reaches(found, self.must) else "missed"

    def _reaches(self, found: float, bound: float) -> bool:
        return found <= bound if self.lower_is_better else found >= bound


def compare(
    name: str,
    unit: str,
    ours: Sequence[float],
    peer: Sequence[float] | None,
    *,
    peer_name: str | None = None,
    must: float | None = None,
    aim: float | None = None,
    lower_is_better: bool = False,
) -> Row:
    """Make a row from the medians of both sides' runs.

    Raises `ValueError` when a side has no runs, or the peer's median is not above zero.
    """
    if not ours or (peer is not None and not peer):
        message = f"{name}: a side has no runs"
        raise ValueError(message)
    our_median = statistics.median(ours)
    peer_median = None if peer is None else statistics.median(peer)
    if peer_median is not None and peer_median <= 0:
        message = f"{name}: the peer's median is {peer_median}"
        raise ValueError(message)
    return Row(
        name=name,
        unit=unit,
        ours=rounded(our_median),
        peer=None if peer_median is None else rounded(peer_median),
        peer_name=peer_name,
        ratio=None if peer_median is None else rounded(our_median / peer_median),
        must=must,
        aim=aim,
        lower_is_better=lower_is_better,
    )


def rounded(value: float) -> float:
    """Four significant digits: more would pretend a precision that five runs do not have."""
    return float(f"{value:.4g}")


def percentile(samples: Sequence[float], percent: float) -> float:
    """The smallest sample that at least `percent` % of all samples do not exceed. Raises on no samples."""
    if not samples:
        message = "no samples"
        raise ValueError(message)
    ordered = sorted(samples)
    rank = -(-len(ordered) * percent // 100)  # rounded up
    return ordered[max(0, min(len(ordered), int(rank)) - 1)]


def write(path: Path, rows: Iterable[Row]) -> list[Row]:
    """Write the rows as JSON; rows of other names that the file already has are kept, in their places.

    Returns all rows of the file.
    """
    new = {row.name: row for row in rows}
    merged = {row.name: row for row in read(path)} | new
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([asdict(row) for row in merged.values()], indent=1, ensure_ascii=False) + "\n")
    return list(merged.values())


def read(path: Path) -> list[Row]:
    """The rows of a file, or none when there is no file."""
    if not path.exists():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text())
    return [Row(**item) for item in found]
