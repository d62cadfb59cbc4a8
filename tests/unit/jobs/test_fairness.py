"""Whose turn it is, when batches are too small for all."""

from collections import Counter
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st

from jobs.fairness import MOST, Turns

A, B, C = (UUID(int=number) for number in (1, 2, 3))


def serve(turns: Turns, waiting: dict[UUID, int], claims: int) -> list[UUID]:
    """Take one job at a time, as the claim's statement chooses. `waiting`: weights of the projects that have some."""
    served = []
    for _ in range(claims):
        times = turns.served()
        project = min(waiting, key=lambda one: (times.get(one, 0.0), one))
        turns.take([(project, waiting[project])])
        served.append(project)
    return served


def test_equal_projects_take_turns() -> None:
    assert serve(Turns(), {A: 1, B: 1, C: 1}, 6) == [A, B, C, A, B, C]


def test_weights_are_shares() -> None:
    assert Counter(serve(Turns(), {A: 3, B: 1}, 400)) == {A: 300, B: 100}


def test_who_comes_anew_goes_first_and_then_takes_turns() -> None:
    turns = Turns()
    serve(turns, {A: 1}, 1000)

    assert serve(turns, {A: 1, B: 1}, 4) == [B, A, B, A]


def test_who_was_away_has_no_claim_on_what_others_had_meanwhile() -> None:
    turns = Turns()
    serve(turns, {A: 1, B: 1}, 4)
    serve(turns, {A: 1}, 1000)

    found = serve(turns, {A: 1, B: 1}, 20)

    assert abs(found.count(A) - found.count(B)) <= 1


def test_of_many_projects_those_are_forgotten_whose_turn_it_is_anyway() -> None:
    turns = Turns()
    for _ in range(2):
        turns.take([(uuid4(), 1) for _ in range(MOST)])

    assert len(turns.served()) <= MOST


@given(st.dictionaries(st.sampled_from([A, B, C]), st.integers(1, 10), min_size=1), st.integers(1, 300))
def test_nobody_waits_longer_than_the_weights_say(waiting: dict[UUID, int], claims: int) -> None:
    served = serve(Turns(), waiting, claims)

    total = sum(waiting.values())
    for project, weight in waiting.items():
        fair = claims * weight / total
        assert served.count(project) >= fair - total
