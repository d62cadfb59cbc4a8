"""Limits: what runs at once and what starts in a time, per key; who waits, who goes next, and what closes a key."""

import datetime as dt
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from django.db import connection

from events.log import move_clock
from jobs import endings, handlers, limits, registry, services
from jobs.judge import released
from jobs.models import Job, LimitKey, LimitRule
from jobs.services import JobRequest
from jobs.states import Gate, Status
from tests.contracts.deliveries import PROJECT, Worker
from tests.integration.jobs.limited import Call, claim, gates, key, limited, submit

__all__ = ["limited"]

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("limited")]

OTHER = UUID(int=8)


def worker(kind: str) -> Worker:
    return Worker(registry.get(kind), "one")


def test_no_more_run_at_once_than_the_key_allows_and_the_others_wait_in_order() -> None:
    ids = submit("call.two", 5)
    mine = worker("call.two")

    first = claim("call.two", worker=mine)
    assert [job.id for job in first] == ids[:2]
    assert gates(ids[2:]) == [Gate.LIMIT] * 3
    assert claim("call.two") == []

    mine.run(first[:1])
    assert [job.id for job in claim("call.two", worker=mine)] == ids[2:3]
    assert key("call.two").in_use == 2


def test_each_key_counts_for_itself() -> None:
    ours = submit("call.two", 3) + submit("call.two", 3, provider="q")
    theirs = submit("call.two", 3, project_id=OTHER)

    taken = {job.id for job in claim("call.two")}

    assert taken == {*ours[:2], *ours[3:5], *theirs[:2]}


@pytest.mark.parametrize("deed", ["", "busy", "later"], ids=["done", "waits", "retried"])
def test_a_slot_is_free_again_however_the_attempt_ended(deed: str) -> None:
    submit("call.two", 2, deed=deed)
    mine = worker("call.two")
    claimed = claim("call.two", worker=mine)
    assert key("call.two").in_use == 2

    mine.run(claimed)

    assert key("call.two").in_use == 0


def test_a_slot_of_a_dead_worker_is_free_again() -> None:
    ids = submit("call.two", 3)
    mine = worker("call.two")
    mine.dies(claim("call.two", worker=mine))

    assert key("call.two").in_use == 0
    assert gates(ids) == [0, 0, 0]


def test_who_comes_later_does_not_overtake_who_waits() -> None:
    early = submit("call.two", 4)
    mine = worker("call.two")
    first = claim("call.two", worker=mine)
    late = submit("call.two", 2)

    mine.run(first)
    assert [job.id for job in claim("call.two", worker=mine)] == early[2:]
    assert gates(late) == [Gate.LIMIT] * 2


def test_the_highest_priority_of_those_who_wait_goes_first() -> None:
    low = submit("call.two", 4)
    mine = worker("call.two")
    first = claim("call.two", worker=mine)
    high = submit("call.two", 1, priority=50)
    claim("call.two")

    mine.run(first[:1])
    assert [job.id for job in claim("call.two", worker=mine)] == high
    assert gates(low[2:]) == [Gate.LIMIT] * 2


def test_a_heavy_job_counts_as_many() -> None:
    four = submit("call.heavy", 4, tokens=4)

    assert [job.id for job in claim("call.heavy")] == four[:2]
    assert key("call.heavy").in_use == 8
    light = submit("call.heavy", 1, tokens=1)
    assert claim("call.heavy") == []  # it would fit, but it is not its turn
    assert gates(light) == [Gate.LIMIT]


def test_one_that_is_heavier_than_the_limit_runs_alone() -> None:
    ids = submit("call.heavy", 2, tokens=50)
    mine = worker("call.heavy")

    claimed = claim("call.heavy", worker=mine)
    assert [job.id for job in claimed] == ids[:1]
    mine.run(claimed)
    assert [job.id for job in claim("call.heavy")] == ids[1:]


def test_a_limit_across_projects_is_one_for_all() -> None:
    ours, theirs = submit("call.all"), submit("call.all", project_id=OTHER)

    assert len(claim("call.all")) == 1
    assert sorted(gates(ours + theirs)) == [0, Gate.LIMIT]


def test_kinds_share_a_limit_by_its_name() -> None:
    here, there = submit("call.here"), submit("call.there")
    mine = worker("call.here")
    claimed = claim("call.here", worker=mine)
    assert [job.id for job in claimed] == here
    assert claim("call.there") == []

    mine.run(claimed)
    assert [job.id for job in claim("call.there")] == there


def test_so_many_start_at_once_and_then_at_their_pace() -> None:
    ids = submit("call.paced", 8)
    begun = [job.id for job in claim("call.paced")]
    assert begun == ids[:3]
    assert claim("call.paced") == []

    seconds = limits.sweep()
    assert seconds is not None
    assert 0 < seconds <= 0.1

    move_clock(dt.timedelta(seconds=0.21))
    limits.sweep()
    begun += [job.id for job in claim("call.paced")]
    assert begun == ids[:5]

    move_clock(dt.timedelta(hours=1))  # a rest gives no more than the burst
    limits.sweep()
    assert [job.id for job in claim("call.paced")] == ids[5:]


def test_a_slow_rate_lets_one_start_after_the_other() -> None:
    ids = submit("call.minute", 3)
    assert [job.id for job in claim("call.minute")] == ids[:1]
    move_clock(dt.timedelta(seconds=9))
    limits.sweep()
    assert claim("call.minute") == []
    move_clock(dt.timedelta(seconds=10.5))
    limits.sweep()
    assert [job.id for job in claim("call.minute")] == ids[1:2]


def test_what_was_claimed_and_not_started_gives_its_start_back() -> None:
    ids = submit("call.paced", 6)
    mine = worker("call.paced")
    claimed = claim("call.paced", worker=mine)
    endings.commit([released(job, "slow_neighbour") for job in claimed], worker=mine.id)

    again = claim("call.paced", worker=mine)
    assert {job.id for job in again} == set(ids[3:])  # those behind the gate go first: it is their turn
    assert len(again) == 3


@pytest.mark.parametrize(("told", "seconds"), [(None, 60), (7.5, 7.5)], ids=["by the policy", "by the server"])
def test_who_is_told_to_wait_closes_the_key_for_all_and_pays_nothing(told: float | None, seconds: float) -> None:
    submit("call.two", 1, deed="busy", wait=told)
    mine = worker("call.two")
    mine.run(claim("call.two", worker=mine))
    others = submit("call.two", 3)

    assert claim("call.two") == []
    closed = key("call.two")
    assert closed.closed_until is not None
    assert (closed.closed_until - dt.datetime.now(dt.UTC)).total_seconds() == pytest.approx(seconds, abs=3)
    told_job = Job.objects.exclude(id__in=others).get()
    assert (told_job.status, told_job.attempt) == (Status.QUEUED, 0)
    assert len(claim("call.free")) == 0


def test_a_closed_key_begins_anew_one_by_one() -> None:
    ids = submit("call.two", 1, deed="busy") + submit("call.two", 6)
    Job.objects.filter(id=ids[0]).update(priority=0)
    LimitRule.objects.create(name="call.two", concurrency=4)
    limits.align()
    mine = worker("call.two")
    mine.run(claim("call.two", batch=1, worker=mine))
    services.cancel(project_id=PROJECT, job_id=ids[0], actor="tests")
    assert claim("call.two") == []

    move_clock(dt.timedelta(seconds=61))
    at_once = []
    for _ in range(3):
        limits.sweep()
        claimed = claim("call.two", worker=mine)
        at_once.append(len(claimed))
        mine.run(claimed)

    assert at_once == [1, 2, 3]
    assert Job.objects.filter(status=Status.PROCESSED).count() == 6


def test_the_rest_of_a_batch_goes_back_when_its_key_is_closed() -> None:
    first = submit("call.two", 1, deed="busy")
    others = submit("call.two", 1) + submit("call.two", 1, provider="q")
    mine = worker("call.two")
    claimed = claim("call.two", worker=mine)
    assert len(claimed) == 3

    counts = mine.run(claimed)

    assert counts == {"retried": 1, "released": 1, "done": 1}
    assert claim("call.two") == []
    assert gates(others) == [Gate.LIMIT, 0]
    assert Job.objects.get(id=first[0]).attempt == 0


def test_a_rule_rules_instead_of_the_code_at_once_and_the_projects_own_before_all() -> None:
    submit("call.two", 10)
    submit("call.two", 10, project_id=OTHER)
    assert len(claim("call.two")) == 4

    LimitRule.objects.create(name="call.two", concurrency=3)
    LimitRule.objects.create(name="call.two", project_id=OTHER, concurrency=5)
    limits.align("call.two")
    taken = claim("call.two")
    assert sorted(job.project_id for job in taken) == [PROJECT] + [OTHER] * 3

    LimitRule.objects.all().delete()
    limits.align()
    assert {row.concurrency for row in LimitKey.objects.all()} == {2}
    assert claim("call.two") == []  # three and five run


def test_jobs_from_before_the_kind_had_a_limit_obey_it() -> None:
    ids = submit("call.two", 4)
    Job.objects.filter(id__in=ids).update(limit_id=None, cost=None)

    assert len(claim("call.two")) == 2
    assert key("call.two").in_use == 2


def test_a_payload_that_does_not_fit_any_more_does_not_stand_in_the_way() -> None:
    ids = submit("call.two", 1)
    Job.objects.filter(id__in=ids).update(limit_id=None, payload={"tokens": "many"})

    assert [job.id for job in claim("call.two")] == ids


def test_an_edited_payload_has_its_own_key() -> None:
    (job_id,) = submit("call.two", 1)
    services.cancel(project_id=PROJECT, job_id=job_id, actor="tests")
    services.retry(project_id=PROJECT, job_id=job_id, actor="tests", payload={"provider": "q"})

    claim("call.two")

    assert key("call.two", "q").in_use == 1
    assert not LimitKey.objects.filter(key="p").exists()


def test_a_wrong_count_is_put_right() -> None:
    submit("call.two", 3)
    claim("call.two")
    assert limits.recount() == 0
    for wrong in (0, 7):
        LimitKey.objects.update(in_use=wrong)
        assert limits.recount() == 1
        assert key("call.two").in_use == 2


def test_a_kind_that_lost_its_limit_lets_everybody_run() -> None:
    submit("call.two", 4)
    mine = worker("call.two")
    claimed = claim("call.two", worker=mine)
    registry._kinds["call.two"] = replace(registry.get("call.two"), limit=None)
    mine.run(claimed)
    limits.sweep()

    assert len(claim("call.two")) == 2
    assert limits.recount() == 0


@pytest.mark.parametrize("weight", [float("nan"), -3, 1e9])
def test_a_weight_that_is_none_does_no_harm(weight: float) -> None:
    found = limits.key_of(registry.get("call.heavy"), PROJECT, Call.model_construct(tokens=weight))
    assert found is not None
    assert 1 <= found.cost <= 10_000


# ---------------------------------------------------------------------------------------------- what must not stop it
@pytest.mark.parametrize("payload", [None, {"provider": "q"}])
def test_who_waited_and_was_cancelled_waits_anew_when_retried(payload: dict[str, Any] | None) -> None:
    ids = submit("call.two", 3)
    mine = Worker(registry.get("call.two"), "one")
    running = claim("call.two", worker=mine)
    assert gates(ids[2:]) == [2]
    services.cancel(project_id=PROJECT, job_id=ids[2], actor="user:olga")
    mine.run(running)

    services.retry(project_id=PROJECT, job_id=ids[2], actor="user:olga", payload=payload)

    assert [job.id for job in claim("call.two", worker=mine)] == [ids[2]]


@pytest.mark.parametrize("tokens", ["inf", "-inf", "nan", "1e400"])
def test_a_weight_without_bounds_counts_as_the_heaviest_or_the_lightest(tokens: str) -> None:
    """Pydantic reads these texts as numbers that no integer is equal to."""
    requests = [JobRequest("call.heavy", {"tokens": tokens}), JobRequest("call.heavy", {"tokens": 2})]
    services.submit_many(project_id=PROJECT, requests=requests)
    Job.objects.update(limit_id=None)  # as after a retry with another payload: the claim asks for the key

    mine = Worker(registry.get("call.heavy"), "one")
    for _ in range(2):
        mine.run(claim("call.heavy", worker=mine))

    assert set(Job.objects.values_list("status", flat=True)) == {"processed"}


def test_a_payload_that_its_own_model_cannot_read_keeps_no_other_from_running(
    monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    ids = submit("call.two", 2)
    Job.objects.filter(id=ids[0]).update(limit_id=None, payload={"provider": "poison"})
    real = Call.model_dump

    def dump(self: Call, **how: Any) -> Any:
        if self.provider == "poison":
            raise RecursionError
        return real(self, **how)

    monkeypatch.setattr(Call, "model_dump", dump)

    assert ids[1] in {job.id for job in claim("call.two")}


def test_a_key_that_closed_opens_by_what_ends_well_only() -> None:
    submit("call.two", 1, deed="busy")
    mine = Worker(registry.get("call.two"), "one")
    mine.run(claim("call.two", worker=mine))
    assert key("call.two").ramp == 1
    LimitKey.objects.update(closed_until=None)

    Job.objects.update(due_at=dt.datetime(2999, 1, 1, tzinfo=dt.UTC))
    submit("call.two", 1, deed="later")
    mine.run(claim("call.two", worker=mine))

    assert key("call.two").ramp == 1


def test_keys_that_nobody_has_used_for_long_are_removed_and_made_again() -> None:
    submit("call.two", 1)
    mine = Worker(registry.get("call.two"), "one")
    mine.run(claim("call.two", worker=mine))
    LimitKey.objects.update(touched_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
    (waiting,) = submit("call.two", 1)

    with connection.cursor() as cursor:
        cursor.execute(handlers._TIDY["limit_keys"], {"slice": 10})

    assert not LimitKey.objects.exists()
    assert [job.id for job in claim("call.two", worker=mine)] == [waiting]
    assert key("call.two").in_use == 1
