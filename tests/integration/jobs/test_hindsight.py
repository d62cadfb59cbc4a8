"""What other settings would have done: the numbers of the statement are those of a plain program over all attempts."""

import datetime as dt
import json
import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.utils import timezone

from benchmarks.explain import nodes, sketch
from jobs import hindsight, registry, tuning
from jobs.hindsight import Hindsight
from jobs.models import Attempt, Job
from jobs.registry import Kind
from jobs.tuning import Settings
from tests.integration.jobs.tuned import tunable

__all__ = ["tunable"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tunable")]

PROJECT = UUID(int=11)
CODES = ["value_error", "timeout", "worker_died", "busy", "torn", "odd", "retry_requested"]
OWN = {"busy", "torn"}


@dataclass
class Tried:
    """One ended attempt."""

    job: UUID
    claim_no: int
    number: int
    outcome: str
    seconds: float
    code: str | None = None
    retryable: bool = True


@dataclass
class Made:
    """A job and its attempts."""

    id: UUID
    kind: str
    max_attempts: int | None
    timeout: float | None
    tried: list[Tried]


def id_at(moment: dt.datetime, number: int) -> UUID:
    return UUID(int=(int(moment.timestamp() * 1000) << 80) | (7 << 76) | (2 << 62) | number)


def life(rng: random.Random, number: int, age: dt.timedelta) -> Made:
    """A job as the engine could have run it, under whatever settings ruled then; some are redriven."""
    kind = rng.choices(["deed.do", "deed.other"], [4, 1])[0]
    own = rng.choice([None, None, None, 2, 5])
    job = Made(id_at(timezone.now() - age, number), kind, own, rng.choice([None, None, None, 20.0]), [])
    claim_no = 0
    for _ in range(rng.choice([1, 1, 1, 2])):  # lives: redriven, the attempts are counted anew
        most = own or rng.choice([2, 3, 4, 6])
        attempt = 1
        while True:
            claim_no += 1
            tried = Tried(job.id, claim_no, attempt, "done", rng.choice([0.5, 3.0, 8.0, 12.0, 40.0]))
            job.tried.append(tried)
            ends = rng.random()
            if ends < 0.3:
                break
            if ends < 0.35:
                tried.outcome = "parked"  # costs no attempt
                continue
            tried.code = rng.choice(CODES)
            if ends < 0.42:
                tried.outcome, tried.code, tried.retryable = "rejected", "not_wanted", False
                break
            if ends < 0.47:
                tried.outcome, tried.code = "blocked", rng.choice(["blocked", "value_error"])
                break
            if ends < 0.5:
                tried.outcome, tried.code, tried.retryable = "failed", "bad_output", False
                break
            if attempt >= most:
                tried.outcome = "failed"
                break
            tried.outcome = "retried"
            if tried.code != "busy":
                attempt += 1
    return job


def store_all(jobs: Iterable[Made]) -> None:
    now = timezone.now()
    rows, attempts = [], []
    for job in jobs:
        rows.append(
            Job(
                id=job.id, project_id=PROJECT, created_at=now, due_at=now, position=1, shelf_id=1, kind=job.kind,
                max_attempts=job.max_attempts, timeout=job.timeout, status="processed", payload={},
            )
        )  # fmt: skip
        for one in job.tried:
            error = one.code and {"code": one.code, "message": "x", "retryable": one.retryable, "fingerprint": "f"}
            attempts.append(
                Attempt(
                    job_id=job.id, project_id=PROJECT, claim_no=one.claim_no, attempt=one.number, stage="process",
                    outcome=one.outcome, error=error, started_at=now - dt.timedelta(seconds=one.seconds), ended_at=now,
                )
            )  # fmt: skip
    Job.objects.bulk_create(rows)
    Attempt.objects.bulk_create(attempts)


def by_hand(jobs: Iterable[Made], kind: Kind[Any], days: int) -> dict[str, int]:
    """The same numbers, life by life, by running each job's history against the policy."""
    floor = id_at(timezone.now() - dt.timedelta(days=days), 0)
    found = dict.fromkeys(("attempts", "jobs", "retried", "failed", "ended", "longer", "late"), 0)
    for job in jobs:
        if job.kind != kind.name or job.id < floor:
            continue
        most = job.max_attempts or kind.retry.max_attempts
        found["attempts"] += len(job.tried)
        found["jobs"] += 1
        found["retried"] += any(
            one.outcome in {"failed", "blocked"} and one.code != "blocked" and one.retryable and one.number < most
            and one.code not in OWN
            for one in job.tried
        )  # fmt: skip
        spent: dict[int, Tried] = {}
        failed = False
        for one in job.tried:
            if one.number == 1 and 2 in spent:
                spent = {}  # a new life
            if one.outcome == "done" and one.number > most:
                failed |= any(
                    past.outcome == "retried" and past.code not in OWN
                    for number, past in spent.items()
                    if most <= number < one.number
                )
            spent[one.number] = one
        found["failed"] += failed
        for one in job.tried:
            by_kind = job.timeout is None
            found["ended"] += (
                by_kind and one.seconds > kind.timeout and one.code not in {"timeout", "worker_died", "broken_off"}
            )
            found["longer"] += by_kind and one.code == "timeout" and one.seconds < kind.timeout
            found["late"] += kind.expect is not None and one.seconds > kind.expect
    return found


def numbers(seen: Hindsight) -> dict[str, int]:
    return {name: getattr(seen, name) for name in ("attempts", "jobs", "retried", "failed", "ended", "longer", "late")}


@pytest.mark.parametrize("seed", range(4))
def test_the_numbers_are_those_of_a_plain_program(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    ages = [dt.timedelta(hours=rng.choice([1, 20, 30, 160, 170, 500])) for _ in range(300)]
    jobs = [life(rng, number, age) for number, age in enumerate(ages)]
    store_all(jobs)
    monkeypatch.setattr(hindsight, "SLICE", rng.choice([7, 50, 5000]))

    seen_any: dict[str, int] = {}
    for settings in (
        Settings(),
        Settings(max_attempts=1, timeout=5.0),
        Settings(max_attempts=5, timeout=10.0, expect=1.0),
        Settings(max_attempts=2, timeout=0.1, expect=30.0),
        Settings(max_attempts=50, timeout=3600.0),
    ):
        for days in hindsight.DAYS:
            kind = tuning.tuned(registry.declared("deed.do"), settings)
            seen = hindsight.look_back(kind, days)
            assert numbers(seen) == by_hand(jobs, kind, days), (settings, days)
            assert seen.back_to is None
            seen_any = {name: max(value, seen_any.get(name, 0)) for name, value in numbers(seen).items()}
    assert all(seen_any.values()), seen_any


def test_it_stops_at_its_bound_and_says_how_far_it_went(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(1)
    store_all([life(rng, number, dt.timedelta(hours=number % 100)) for number in range(200)])
    monkeypatch.setattr(hindsight, "SLICE", 20)

    seen = hindsight.look_back(registry.get("deed.do"), 7, most=60)

    assert 60 <= seen.looked_at < 120
    assert seen.back_to is not None
    assert timezone.now() - dt.timedelta(hours=100) < seen.back_to < timezone.now()


def test_it_stops_when_its_time_is_over() -> None:
    rng = random.Random(1)
    store_all([life(rng, number, dt.timedelta(hours=1)) for number in range(50)])

    assert hindsight.look_back(registry.get("deed.do"), 7, seconds=-1).back_to is None  # it was one slice
    assert hindsight.look_back(registry.get("deed.do"), 7).attempts > 0


def test_it_changes_nothing() -> None:
    rng = random.Random(2)
    store_all([life(rng, number, dt.timedelta(hours=1)) for number in range(20)])
    before = (list(Job.objects.order_by("id").values()), list(Attempt.objects.order_by("job_id", "claim_no").values()))

    hindsight.look_back(tuning.tuned(registry.get("deed.do"), Settings(max_attempts=1)), 7)

    after = (list(Job.objects.order_by("id").values()), list(Attempt.objects.order_by("job_id", "claim_no").values()))
    assert after == before
    assert registry.get("deed.do").retry.max_attempts == 3


def test_the_delays_are_those_of_the_policy() -> None:
    kind = registry.get("deed.do")

    assert hindsight.delays(kind) == [2, 4]
    assert hindsight.delays(tuning.tuned(kind, Settings(max_attempts=9))) == [2, 4, 8, 16, 32, 60, 60, 60]
    assert hindsight.delays(tuning.tuned(kind, Settings(max_attempts=1))) == []
    assert hindsight.delays(registry.get("deed.once")) == []


def test_errors_that_the_kind_answers_itself_are_left_to_it() -> None:
    assert hindsight.other_policies(registry.get("deed.do")) == OWN


def test_it_reads_both_tables_by_their_keys() -> None:
    rng = random.Random(3)
    store_all([life(rng, number, dt.timedelta(hours=number % 100)) for number in range(3000)])
    with connection.cursor() as cursor:
        cursor.execute("analyze jobs_job, jobs_attempt")
    kind = registry.get("deed.do")
    values = hindsight.values_of(kind, id_at(timezone.now() - dt.timedelta(days=1), 0), UUID(int=2**128 - 1))
    with connection.cursor() as cursor:
        cursor.execute(hindsight.BOUNDS)
        cursor.execute(f"explain (format json) {hindsight.STATEMENT}", values)
        (found,) = cursor.fetchone()

    tree = (found if isinstance(found, list) else json.loads(found))[0]["Plan"]
    assert {node["Relation Name"] for node in nodes(tree) if "Relation Name" in node} == {"jobs_job", "jobs_attempt"}
    read = {(node["Node Type"], node["Index Name"]) for node in nodes(tree) if "Relation Name" in node}
    assert read == {("Index Scan", "jobs_job_pkey"), ("Index Scan", "jobs_attempt_pkey")}, sketch(tree)
