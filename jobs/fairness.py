"""Fair shares: which project's turn it is, in one worker process. Plain arithmetic, no clock and no database.

Start-time fair queueing: each project has a virtual time at which its next job may start, and every job taken for it
moves that on, the less the more the project weighs. The clock of the whole stands at the start of what was taken last;
whoever stands behind it, or is new, starts now. A batch that is large enough is shared by weight at once (claim.sql);
this is what makes small ones fair, down to a batch of one.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from uuid import UUID

MOST = 256
"""So many projects are remembered; those whose turn comes first are forgotten first, which makes them new."""


class Turns:
    """The turns of the projects that share one kind's workers."""

    def __init__(self) -> None:
        self._now = 0.0
        self._starts: dict[UUID, float] = {}

    def served(self) -> Mapping[UUID, float]:
        """How far ahead of the others each project is; one that is not named is not."""
        return {project: start - self._now for project, start in self._starts.items()}

    def take(self, taken: Sequence[tuple[UUID, int]]) -> None:
        """Jobs were taken: project and weight of each."""
        if not taken:
            return
        numbers = Counter(taken)
        starts = {project: max(self._now, self._starts.get(project, 0.0)) for project, _ in numbers}
        self._now = min(starts.values())
        for (project, weight), number in numbers.items():
            self._starts[project] = starts[project] + number / weight
        ahead = sorted((start, project) for project, start in self._starts.items() if start > self._now)
        self._starts = {project: start for start, project in ahead[-MOST:]}
