"""The life of a job, from its creation to its end, run by real workers: each outcome does what its name says."""

from uuid import UUID

import pytest

from jobs import services
from tests.processes import PROJECT, Platform

pytestmark = pytest.mark.timeout(120)

OUTCOMES = [
    # kind, payload, status at the end, attempts' outcomes, events
    ("test.done", {"n": 1}, "processed", ["done"], ["job.queued", "job.processed"]),
    ("test.asleep", {"n": 1}, "processed", ["done"], ["job.queued", "job.processed"]),
    ("test.flaky", {"n": 1}, "processed", ["retried", "done"], ["job.queued", "job.retrying", "job.processed"]),
    (
        "test.flaky", {"n": 9}, "failed", ["retried", "retried", "failed"],
        ["job.queued", "job.retrying", "job.retrying", "job.failed"],
    ),
    ("test.retry_in", {}, "processed", ["retried", "done"], ["job.queued", "job.retrying", "job.processed"]),
    ("test.wait", {}, "processed", ["retried", "done"], ["job.queued", "job.retrying", "job.processed"]),
    (
        "test.park_once", {"seconds": 0.1}, "processed", ["parked", "done"],
        ["job.queued", "job.parked", "job.woken", "job.processed"],
    ),
    ("test.block", {}, "blocked", ["blocked"], ["job.queued", "job.blocked"]),
    ("test.reject", {}, "rejected", ["rejected"], ["job.queued", "job.rejected"]),
    ("test.cancel", {}, "cancelled", ["cancelled"], ["job.queued", "job.cancelled"]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "payload", "status", "attempts", "events"), OUTCOMES)
def test_an_outcome_moves_the_job_where_its_name_says(  # noqa: PLR0917 - the columns of the table above
    platform: Platform, kind: str, payload: dict[str, object], status: str, attempts: list[str], events: list[str]
) -> None:
    (job,) = platform.submit(kind, payload=payload or {"n": 0})
    platform.wait_ended([job])

    row = platform.job(job)
    assert row["status"] == status
    assert [attempt["outcome"] for attempt in platform.attempts(job)] == attempts
    assert platform.events(job) == events
    assert row["seq"] == len(events)
    assert (row["finished_at"] is None) == (status == "blocked")
    assert row["claimed_by"] is None


def test_a_wait_and_a_park_cost_no_attempt(platform: Platform) -> None:
    waited, parked = platform.submit("test.wait") + platform.submit("test.park_once", payload={"seconds": 0.1})
    platform.wait_ended([waited, parked])

    assert [platform.job(job)["attempt"] for job in (waited, parked)] == [1, 1]


@pytest.mark.parametrize("kind", ["test.steps", "test.async_steps"])
def test_a_finished_step_is_not_done_again(platform: Platform, kind: str) -> None:
    (job,) = platform.submit(kind)
    platform.wait_ended([job])

    row = platform.job(job)
    assert row["output"], [(a["outcome"], a["error"]) for a in platform.attempts(job)]
    assert row["output"]["first"] == "first of attempt 1"
    assert row["steps"]["first"] == "first of attempt 1"
    assert row["progress"] == {"done": 1, "total": 2, "note": "half of it"}
    assert platform.effects.count("first", [job])[job] == 1
    assert row["attempt"] == 2


def test_what_a_handler_notes_is_kept_with_its_attempt(platform: Platform) -> None:
    (job,) = platform.submit("test.steps")
    platform.wait_ended([job])

    first, second = platform.attempts(job)
    assert [line["message"] for line in first["log"]] == ["first step"]
    assert first["error"]["code"] == "runtime_error"
    assert second["metrics"] == {"steps": 2}
    row = platform.job(job)
    assert row["quality"] == 0.5
    assert row["progress"] == {"done": 1, "total": 2, "note": "half of it"}
    assert row["error"] is None
    assert first["started_at"] <= first["ended_at"] <= second["started_at"] <= second["ended_at"]


def test_a_running_job_hears_that_it_is_to_stop(platform: Platform) -> None:
    (job,) = platform.submit("test.stoppable")
    platform.wait_until(lambda: platform.effects.of("began", [job]), "its start")
    services.cancel(project_id=PROJECT, job_id=job, actor="test")
    platform.wait_ended([job])

    assert platform.job(job)["status"] == "cancelled"
    assert platform.events(job) == ["job.queued", "job.processing", "job.cancelled"]


@pytest.mark.parametrize("kind", ["test.gated", "test.gated_async"])
def test_a_running_job_that_does_not_hear_it_is_ended_alone(platform: Platform, kind: str) -> None:
    deaf, neighbour = platform.submit(kind, 2, {"gate": f"never {kind}"})
    platform.wait_until(lambda: len(platform.effects.of("began", [deaf, neighbour])) == 2, "their start")
    services.cancel(project_id=PROJECT, job_id=deaf, actor="test")
    platform.wait_ended([deaf])

    assert platform.job(deaf)["status"] == "cancelled"
    assert platform.events(deaf)[-1] == "job.cancelled"
    assert platform.job(neighbour)["status"] == "processing"
    services.cancel(project_id=PROJECT, job_id=neighbour, actor="test")
    platform.wait_ended([neighbour])


def test_a_job_that_runs_longer_than_a_moment_is_announced_and_holds_nobody_up(platform: Platform) -> None:
    slow, *others = platform.submit("test.gated", payload={"gate": "slow"}) + platform.submit(
        "test.gated", 20, {"gate": "x"}
    )
    platform.effects.open("x")
    platform.wait_ended(others)
    # Two children may have shared them: then the others have ended before a moment was over.
    platform.wait_until(lambda: platform.events(slow) == ["job.queued", "job.processing"], "the announcement")
    platform.effects.open("slow")
    platform.wait_ended([slow])

    assert {platform.job(job)["attempt"] for job in [slow, *others]} == {1}


def test_a_failed_job_is_tried_again_with_its_attempts_counted_anew(platform: Platform) -> None:
    (job,) = platform.submit("test.flaky", payload={"n": 9})
    platform.wait_ended([job])
    services.retry(project_id=PROJECT, job_id=job, actor="test", payload={"n": 1})
    platform.wait_until(lambda: platform.job(job)["status"] == "processed", "its end")

    row = platform.job(job)
    assert (row["attempt"], row["claim_no"]) == (2, 5)
    assert platform.events(job)[-3:] == ["job.redriven", "job.retrying", "job.processed"]


def test_a_job_due_later_waits_until_then(platform: Platform) -> None:
    due = platform.value("select platform_now() + interval '1.5 seconds'")
    (later,) = platform.submit("test.done", due_at=due)
    (now,) = platform.submit("test.done")
    platform.wait_ended([now])
    assert platform.by_status([later]) == {"queued": 1}
    platform.wait_ended([later])

    assert platform.job(later)["started_at"] >= due


def test_jobs_of_a_higher_priority_run_first(platform: Platform) -> None:
    platform.worker(concurrency=1)  # of two, one may take the last of them while the other is at the first
    holders = platform.submit("test.gated", 1, {"gate": "busy"})
    platform.wait_until(lambda: len(platform.effects.of("began", holders)) == 1, "the child to be busy")
    low = platform.submit("test.within", 5, priority=-10)
    high = platform.submit("test.within", 5, priority=10)
    platform.effects.open("busy")
    platform.wait_ended([*low, *high, *holders])

    order = [UUID(effect["job"]) for effect in platform.effects.of("ran", [*low, *high])]
    assert set(order[:5]) == set(high)


def test_a_thousand_jobs_of_many_kinds_all_end(platform: Platform) -> None:
    ids = [
        job
        for kind in ("test.done", "test.asleep", "test.silent", "test.within", "test.flaky")
        for job in platform.submit(kind, 200, {"n": 0})
    ]
    platform.wait_ended(ids)

    assert platform.by_status(ids) == {"processed": 1000}
    gaps = "select subject_id from events_event where subject_id = any(%s) group by 1 having count(*) <> max(seq)"
    assert platform.rows(gaps, ids) == []


def test_a_collection_does_not_copy_what_a_child_shares_with_its_parent(platform: Platform) -> None:
    platform.worker()  # children that have not collected anything yet
    ids = platform.submit("test.collects", 1)
    platform.wait_ended(ids)

    memory = platform.job(ids[0])["output"]
    assert memory["own"] < 0.4 * memory["all"]  # more than half, where a collection writes to what is shared
