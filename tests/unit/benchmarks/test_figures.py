"""Which rows there are, and that each can be made from what is measured."""

from typing import Any

import pytest

from benchmarks import figures
from benchmarks.stage import SideFailed

BOUNDS = {
    "drain against Celery prefork": (15, 35, False),
    "drain against pgqueuer": (1, 2.5, False),
    "whole life cycle against Celery prefork's drain": (8, 15, False),
    "idle pick-up p50": (1, 0.7, True),
    "idle pick-up p99": (1, 0.7, True),
    "POST /jobs, one job a request": (0.6, 0.9, False),
    "POST /jobs/batch, 1,000 jobs a request": (6, 10, False),
    "POST /jobs beside 200 requests that wait for a job, p99": (1.5, None, True),
    "slowest list of the API with 5 million jobs, p50": (50, None, True),
    "drain with the index of lists against without it": (0.95, None, False),
    "drain where every job has a lane, a limit and one of 200 projects, against none": (0.5, 0.8, False),
    "redrive of 100,000 dead letters, against draining them": (0.5, None, False),
    "drain with 5 million finished jobs, against an empty table": (0.85, 0.95, False),
    "drain after a snapshot and a transaction id were held for 10 minutes, and still are, against none": (
        0.8,
        0.9,
        False,
    ),
    "a minute of create and process: last 10 s against first 10 s": (0.9, None, False),
    "drain by the workers of two machines, against one": (1, None, False),
    "idle platform, SQL statements a second": (10, 4, True),
    "idle platform, share of one core": (3, None, True),
    "memory that a process of the worker gains over 1 million jobs": (5, None, True),
    "gas of a job, one job a transaction": (24_500, 23_240, True),
    "gas of a job, 100 jobs a transaction": (3300, 2310, True),
    "gas of a job, 1,000 jobs under one anchor": (30, 22.9, True),
    "jobs from queue to confirmed, batches, one signer": (10, 20, False),
    "jobs from queue to confirmed, one a transaction": (2, 3, False),
    "replay of 100,000 logs into PostgreSQL, against fetching and decoding them": (10, 25, False),
    "signing a transaction": (3, None, False),
    "proof of a job among 10,000 of an anchor, processor time of the request": (5, None, True),
}


def test_the_bounded_rows_are_the_promised_ones() -> None:
    bounded = {claim.name: (claim.must, claim.aim, claim.lower_is_better) for claim in figures.CLAIMS if claim.must}
    assert bounded == BOUNDS


def test_names_of_rows_are_unique() -> None:
    names = [claim.name for claim in figures.CLAIMS]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("claim", figures.CLAIMS, ids=lambda claim: claim.name)
def test_each_row_rests_on_figures_that_are_measured(claim: figures.Claim) -> None:
    assert set(claim.figures) <= set(figures.FIGURES)


def test_every_figure_is_used_by_a_row() -> None:
    assert {name for claim in figures.CLAIMS for name in claim.figures} == set(figures.FIGURES)


def test_part_of_a_name_chooses_rows_whatever_its_case() -> None:
    assert [claim.name for claim in figures.chosen("PGQUEUER")] == ["drain against pgqueuer"]
    assert figures.chosen("") == list(figures.CLAIMS)


def test_a_part_that_no_row_has_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(LookupError, match="drain against pgqueuer"):
        figures.chosen("nothing like this")


def test_a_row_is_made_from_the_medians_of_its_figures() -> None:
    runs = {"our drain": {"rate": [90.0, 100.0, 110.0]}, "pgqueuer drain": {"rate": [40.0, 50.0, 60.0]}}
    [claim] = figures.chosen("pgqueuer")
    row = claim.row(runs)
    assert (row.ours, row.peer, row.ratio, row.peer_name, row.verdict) == (100.0, 50.0, 2.0, "pgqueuer", "must")


class Failing:
    """A figure whose side fails, or not."""

    side = "nobody"

    def __init__(self, *, fails: bool) -> None:
        self.fails = fails

    def measure(self, on: Any, length: figures.Length, jobs: int | None) -> tuple[figures.Values, int | None]:
        if self.fails:
            message = "498 of 500 jobs ran"
            raise SideFailed(message)
        return {"rate": 1.0}, jobs


def alternated(monkeypatch: pytest.MonkeyPatch, failing: str) -> tuple[Any, list[str]]:
    names = ["our drain", "DBOS drain", "prefork drain"]
    monkeypatch.setattr(figures, "FIGURES", {name: Failing(fails=name == failing) for name in names})
    told: list[str] = []
    stage: Any = None
    return figures.alternate(stage, names, rounds=2, length=figures.QUICK, tell=told.append), told


def test_a_peer_that_fails_where_nothing_is_asked_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, told = alternated(monkeypatch, "DBOS drain")

    assert runs == {"our drain": {"rate": [1.0, 1.0]}, "DBOS drain": {}, "prefork drain": {"rate": [1.0, 1.0]}}
    assert [line for line in told if "left out" in line] == ["round 1/2: DBOS drain is left out: 498 of 500 jobs ran"]


def test_a_side_that_fails_where_something_is_asked_ends_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SideFailed):
        alternated(monkeypatch, "prefork drain")
