"""When a rule over a measure fires and when it is over: no clock and no database, so that it can be tried on the past.

A value beyond the threshold makes an alarm pending; when it has stayed there for long enough, the alarm fires. It is
over when values have stayed at or behind a second, milder threshold for long enough: one that wavers between the two
fires once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from reconciliation.states import AlarmState


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a rule says. `above`: values above `threshold` are bad, else those below. Times in seconds."""

    above: bool
    threshold: float
    clears_at: float
    lasts: float
    calm: float

    def is_bad(self, value: float) -> bool:
        """Whether a value is beyond the threshold."""
        return value > self.threshold if self.above else value < self.threshold

    def is_calm(self, value: float) -> bool:
        """Whether a value is one with which an alarm may end."""
        return value <= self.clears_at if self.above else value >= self.clears_at

    def worse(self, one: float, other: float) -> float:
        """The worse of two values."""
        return max(one, other) if self.above else min(one, other)


@dataclass(frozen=True, slots=True)
class Course:
    """How an alarm stands. `since`: when it became pending; `calm_since`: since when a firing one is calm."""

    state: AlarmState
    since: float
    value: float
    worst: float
    calm_since: float | None = None


def step(bounds: Bounds, course: Course | None, value: float | None, at: float) -> Course | None:
    """How it stands after one more value at a moment (seconds). None: there is no alarm.

    `value` None: there is nothing to be measured any more, which is calm.
    """
    bad = value is not None and bounds.is_bad(value)
    if course is None:
        if value is None or not bad:
            return None
        course = Course(AlarmState.PENDING, at, value, value)
    if value is not None:
        course = replace(course, value=value, worst=bounds.worse(course.worst, value))
    if course.state == AlarmState.PENDING:
        if not bad:
            return None
        return replace(course, state=AlarmState.FIRING) if at - course.since >= bounds.lasts else course
    if value is not None and not bounds.is_calm(value):
        return replace(course, calm_since=None)
    calm_since = at if course.calm_since is None else course.calm_since
    over = at - calm_since >= bounds.calm
    return replace(course, calm_since=calm_since, state=AlarmState.RESOLVED if over else course.state)


@dataclass(slots=True)
class Episode:
    """An alarm as it would have been. `resolved_at` None: it would still fire."""

    subject: str
    fired_at: float
    resolved_at: float | None
    worst: float


@dataclass(slots=True)
class Trial:
    """What a rule would have done. `pending`: how often it was pending only; `points`: how many moments are known."""

    episodes: list[Episode] = field(default_factory=list)
    pending: int = 0
    points: int = 0


def replay(bounds: Bounds, points: Iterable[tuple[float, Mapping[str, float]]]) -> Trial:
    """What a rule would have done with the values by subject that were measured at these moments, in their order."""
    trial = Trial()
    courses: dict[str, Course] = {}
    firing: dict[str, Episode] = {}
    for at, values in points:
        trial.points += 1
        for subject in courses.keys() | values.keys():
            before = courses.pop(subject, None)
            after = step(bounds, before, values.get(subject), at)
            if after is None:
                trial.pending += before is not None
                continue
            if after.state == AlarmState.RESOLVED:
                episode = firing.pop(subject)
                episode.resolved_at, episode.worst = at, after.worst
                continue
            courses[subject] = after
            if after.state == AlarmState.FIRING:
                if subject not in firing:
                    firing[subject] = Episode(subject, at, None, after.worst)
                    trial.episodes.append(firing[subject])
                firing[subject].worst = after.worst
    return trial
