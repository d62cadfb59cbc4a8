"""When a rule fires and when it is over."""

from hypothesis import given
from hypothesis import strategies as st

from reconciliation.alarming import Bounds, Course, replay, step
from reconciliation.states import AlarmState

HIGH = Bounds(above=True, threshold=100, clears_at=50, lasts=60, calm=120)
LOW = Bounds(above=False, threshold=1, clears_at=2, lasts=0, calm=0)


def course(bounds: Bounds, values: list[float | None], *, every: float = 30) -> list[str]:
    """How it stands after each value; "" where there is no alarm. What was over is forgotten."""
    stands, now = [], None
    for number, value in enumerate(values):
        now = step(bounds, now, value, number * every)
        stands.append(now.state.value if now else "")
        now = None if now and now.state == AlarmState.RESOLVED else now
    return stands


def test_what_stays_beyond_the_threshold_fires_and_what_comes_back_before_does_not() -> None:
    assert course(HIGH, [100, 101, 101, 100]) == ["", "pending", "pending", ""]
    assert course(HIGH, [101, 101, 101, 101]) == ["pending", "pending", "firing", "firing"]


def test_what_wavers_between_the_thresholds_fires_once_until_it_is_calm_for_long_enough() -> None:
    wavering: list[float | None] = [150, 150, 150, 60, 150, 60, 50, 50, 51, 50, 50, 50, 50, 50]
    assert course(HIGH, wavering) == ["pending", "pending"] + ["firing"] * 11 + ["resolved"]


def test_low_values_are_bad_where_the_measure_says_so_and_without_a_delay_it_fires_at_once() -> None:
    assert course(LOW, [1, 0.5, 1.5, 2]) == ["", "firing", "firing", "resolved"]


def test_what_is_not_there_any_more_is_calm() -> None:
    assert course(HIGH, [101, None]) == ["pending", ""]
    assert course(HIGH, [101] * 3 + [None] * 5) == ["pending", "pending"] + ["firing"] * 5 + ["resolved"]


def test_the_worst_value_is_kept() -> None:
    now: Course | None = None
    for at, value in enumerate([101, 400, 120]):
        now = step(HIGH, now, value, at)
    assert now is not None
    assert (now.value, now.worst) == (120, 400)


def test_a_rule_is_tried_on_several_subjects_at_once() -> None:
    points = [(30.0 * n, {"a": 101.0, "b": 101.0 if n % 2 else 0.0} | ({"c": 0.0} if n else {})) for n in range(10)]
    points += [(30.0 * n, {"b": 0.0}) for n in range(10, 20)]
    trial = replay(HIGH, points)

    (episode,) = trial.episodes
    assert (episode.subject, episode.fired_at, episode.worst) == ("a", 60, 101)
    assert episode.resolved_at == 30 * 10 + HIGH.calm
    assert (trial.pending, trial.points) == (5, 20)


@given(
    st.lists(st.tuples(st.integers(1, 300), st.one_of(st.none(), st.floats(0, 200))), max_size=60),
    st.integers(0, 300), st.integers(0, 300), st.floats(0, 100), st.floats(0, 100), st.booleans(),
)  # fmt: skip
def test_whatever_is_measured_it_fires_only_after_long_enough_and_ends_only_after_calm(  # noqa: PLR0917 - what varies
    steps: list[tuple[int, float | None]], lasts: int, calm: int, one: float, other: float, above: bool
) -> None:
    low, high = sorted((one, other))
    bounds = Bounds(above, *((high, low) if above else (low, high)), lasts, calm)
    at, points = 0, []
    for delay, value in steps:
        at += delay
        points.append((at, {} if value is None else {"": value}))

    for episode in replay(bounds, points).episodes:
        before = [values.get("") for when, values in points if episode.fired_at - lasts <= when <= episode.fired_at]
        assert all(value is not None and bounds.is_bad(value) for value in before)
        if episode.resolved_at is not None:
            since = episode.resolved_at - calm
            during = [values.get("") for when, values in points if since <= when <= episode.resolved_at]
            assert all(value is None or bounds.is_calm(value) for value in during)
            assert since >= episode.fired_at
