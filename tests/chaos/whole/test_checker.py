"""The checker of chaos runs can fail: it is shown a world where all is well, then with one thing wrong at a time."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

import psycopg
import pytest
from psycopg.rows import dict_row
from pytest_django import DjangoDbBlocker

from jobs import services
from tests.chaos.whole import checker
from tests.chaos.whole.checker import CHECKS, check, illegal
from tests.chaos.whole.fleet import HANDLERS
from tests.chaos.whole.history import Act, Fault, History, Request, Run, runs
from tests.processes import PROJECT, Platform, Servers

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

Link = psycopg.Connection[dict[str, Any]]
AHEAD = 3600.0
PIECES: dict[str, tuple[str, dict[str, Any]]] = {
    "quick": ("chaos.quick", {}),
    "within": ("chaos.within", {}),
    "flaky": ("chaos.flaky", {"fails": 1}),
    "failing": ("chaos.failing", {}),
    "asking": ("chaos.asking", {}),
    "once": ("chaos.once", {}),
    "first": ("chaos.ordered", {"account": "a"}),
    "second": ("chaos.ordered", {"account": "a"}),
    "limited": ("chaos.limited", {"account": "a"}),
}


@dataclass
class World:
    """What a run has left: a database, and what was seen from outside. `ids` by the name of the piece."""

    link: Link
    history: History
    ids: dict[str, str]

    def ask(self, query: str, *parameters: Any) -> list[dict[str, Any]]:
        return self.link.execute(query.encode(), parameters).fetchall()

    def change(self, statement: str, *names: str) -> None:
        """One statement with the ids of these pieces. It must change something."""
        assert self.link.execute(statement.encode(), [self.ids[name] for name in names]).rowcount > 0

    def runs(self, name: str) -> list[Run]:
        return [run for run in self.history.runs if run.job == self.ids[name]]

    def broken(self) -> set[str]:
        """Names of the checks that find something."""
        lines = check(self.ask, self.history)
        return {look.__name__ for look, line in zip(CHECKS, lines, strict=True) if not line.ok}


@pytest.fixture(scope="module")
def finished(servers: Servers, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """A small run of the real platform in which nothing goes wrong."""
    with django_db_blocker.unblock(), Platform(servers.cluster, servers.broker_url, handlers=HANDLERS) as platform:
        platform.execute("alter table effect add number bigserial")
        platform.execute(
            "create table seen (number bigserial, position bigint, event_id bigint, subject_id uuid, seq int)"
        )
        platform.relay()
        platform.wait_until(
            lambda: platform.rows("select 1 from events_consumer where name = 'chaos_reader'"), "its row"
        )
        history, ids = History(), {}
        for name, (kind, payload) in PIECES.items():
            ids[name] = asked(platform, history, name, kind, payload)
        ids["late"] = asked(platform, history, "late", "chaos.quick", {}, due_in=0.3)
        ids["far"] = asked(platform, history, "far", "chaos.quick", {}, due_in=AHEAD)
        services.cancel(project_id=PROJECT, job_id=UUID(ids["far"]), actor="tests")
        history.acts.append(Act("cancel", ids["far"], 200, 0))
        platform.worker()
        platform.wait_ended([UUID(job) for job in ids.values()])
        all_read = "select (select count(*) from events_event) = (select count(*) from seen)"
        platform.wait_until(lambda: platform.value(all_read), "the consumer")
        history.runs = runs(platform.effects.all())
        with psycopg.connect(platform.database_url, row_factory=dict_row) as link:
            yield World(link, history, ids)


def asked(
    platform: Platform, history: History, name: str, kind: str, payload: dict[str, Any], *, due_in: float = 0.0
) -> str:
    wall = time.time()
    due = platform.value("select clock_timestamp() + %s * interval '1 second'", due_in) if due_in else None
    (job,) = platform.submit(kind, payload=payload, metadata={"key": name, "index": 0}, due_at=due)
    history.requests[name] = Request(name, [kind], time.monotonic(), due_in, wall, [str(job)], 202, 1)
    return str(job)


@pytest.fixture
def world(finished: World) -> Iterator[World]:
    """The same, to be changed: it is as before when the test has ended."""
    finished.link.rollback()
    world = World(finished.link, copy.deepcopy(finished.history), finished.ids)
    world.change("update events_consumer set position = 0 where name = 'dead_letters'")  # wherever it was by then
    yield world
    finished.link.rollback()


# ------------------------------------------------------------------------------------------------ plants
def an_accepted_job_is_lost(world: World) -> None:
    world.history.requests["lost"] = Request("lost", ["chaos.quick"], 0, 0, 0, [str(UUID(int=1))], 202, 1)


def a_job_that_nobody_asked_for(world: World) -> None:
    world.change('update jobs_job set metadata = \'{"key": "strange"}\' where id::text = %s', "quick")


def a_request_is_refused(world: World) -> None:
    world.history.requests["bad"] = Request("bad", ["chaos.quick"], 0, 0, 0, None, 422, 1)


def an_accepted_job_cannot_be_read(world: World) -> None:
    world.history.acts.append(Act("read", world.ids["quick"], 404, 0))


def one_key_two_jobs(world: World) -> None:
    world.change('update jobs_job set metadata = \'{"key": "quick"}\' where id::text = %s', "within")


def half_of_a_request(world: World) -> None:
    request = world.history.requests["quick"]
    request.kinds.append("chaos.quick")
    request.ids, request.status = None, 0


def a_job_has_not_ended(world: World) -> None:
    world.change("update jobs_job set status = 'processing', finished_at = null where id::text = %s", "quick")


def nobody_is_asked(world: World) -> None:
    world.change("delete from jobs_intervention where subject_id = %s", "asking")


def no_reason_is_given(world: World) -> None:
    world.change("update jobs_intervention set reason = '' where subject_id = %s", "asking")


def somebody_is_asked_in_vain(world: World) -> None:
    world.change("update jobs_intervention set subject_id = %s", "quick")


def an_end_that_no_kind_promised(world: World) -> None:
    world.change("update jobs_job set status = 'processed' where id::text = %s", "failing")


def cancelled_by_nobody(world: World) -> None:
    world.history.acts.clear()


def a_cancelled_job_has_run(world: World) -> None:
    world.history.runs.append(replace(world.runs("quick")[0], job=world.ids["far"]))


def an_event_is_lost(world: World) -> None:
    world.change("delete from events_event where subject_id::text = %s and seq = 2", "flaky")


def an_event_is_doubled(world: World) -> None:
    world.change(
        "insert into events_event (position, project_id, type, subject_id, seq, data) select position, project_id, type,"
        " subject_id, seq, data from events_event where subject_id::text = %s and seq = 2",
        "flaky",
    )


def a_step_that_no_table_allows(world: World) -> None:
    world.change("update events_event set type = 'job.woken' where subject_id::text = %s and seq = 2", "flaky")


def a_status_that_no_event_tells(world: World) -> None:
    world.change("update jobs_job set status = 'failed' where id::text = %s", "quick")


def an_effect_is_lost(world: World) -> None:
    world.change("delete from effect where job_id::text = %s", "within")


def an_effect_is_doubled(world: World) -> None:
    world.change("insert into effect (job_id, attempt, what) values (%s, 2, 'again')", "within")


def an_effect_of_a_job_that_is_not_done(world: World) -> None:
    world.change("delete from jobs_attempt where job_id::text = %s", "within")


def done_twice(world: World) -> None:
    world.change(
        "insert into jobs_attempt (job_id, project_id, started_at, ended_at, claim_no, attempt, stage, outcome)"
        " select job_id, project_id, started_at, ended_at, 2, 2, stage, outcome from jobs_attempt where job_id::text = %s",
        "quick",
    )


def done_without_a_run(world: World) -> None:
    world.history.runs = [run for run in world.history.runs if run.job != world.ids["quick"]]


def a_run_that_nothing_caused(world: World) -> None:
    (run,) = world.runs("quick")
    world.history.runs.append(replace(run, pid=1, began=run.began + 10, ended=run.began + 11))


def two_owners(world: World) -> None:
    first, second = world.runs("flaky")
    first.ended = second.began + 1


def a_second_run_of_what_runs_once(world: World) -> None:
    (run,) = world.runs("once")
    world.history.runs.append(replace(run, began=run.began + 10, ended=run.began + 11))


def too_early(world: World) -> None:
    (run,) = world.runs("late")
    run.wall = world.history.requests["late"].wall


def lane_effects_turned(world: World) -> None:
    world.change("update effect set number = -1 where job_id::text = %s", "second")


def lane_runs_turned(world: World) -> None:
    (first,), (second,) = world.runs("first"), world.runs("second")
    first.began, first.ended = second.began + 10, second.began + 11


def lane_runs_beside_one_another(world: World) -> None:
    (first,), (second,) = world.runs("first"), world.runs("second")
    first.ended = second.began + 1


def lane_numbered_otherwise(world: World) -> None:
    world.change("update jobs_job set lane_no = 99 where id::text = %s", "first")


def a_limit_exceeded(world: World) -> None:
    (run,) = world.runs("limited")
    world.history.runs += [replace(run, pid=pid) for pid in (1, 2)]


def a_place_never_given_back(world: World) -> None:
    world.change("update jobs_limitkey set in_use = 1")


def a_claim_is_left(world: World) -> None:
    world.change("update jobs_job set claimed_by = 1 where id::text = %s", "quick")


def a_doorbell_of_a_dead_worker(world: World) -> None:
    world.change("update jobs_worker set stopped_at = clock_timestamp()")
    world.change(
        "insert into jobs_doorbell (id, kind, queue, expires_at, answered_by) select gen_random_uuid(), 'chaos.quick',"
        " 'default', clock_timestamp() + interval '1 hour', min(id) from jobs_worker"
    )


def a_silent_worker(world: World) -> None:
    world.change("update jobs_worker set heartbeat_at = clock_timestamp() - interval '1 hour', stopped_at = null")


def a_gate_that_nobody_opens(world: World) -> None:
    world.change("update jobs_job set gate = 1, status = 'queued' where id::text = %s", "second")


def an_event_not_seen(world: World) -> None:
    world.change("delete from seen where subject_id::text = %s and seq = 2", "quick")


def an_event_seen_twice(world: World) -> None:
    world.change("insert into seen (position, event_id, subject_id, seq) select position, event_id, subject_id, seq"
                 " from seen where subject_id::text = %s and seq = 2", "quick")  # fmt: skip


def events_seen_out_of_order(world: World) -> None:
    world.change("update seen set number = -seq where subject_id::text = %s", "quick")


def a_consumer_that_fails(world: World) -> None:
    world.change("update events_consumer set failures = 1, error = 'no'")


def a_dead_letter_is_counted_that_is_none(world: World) -> None:
    world.change("update events_consumer set position = 9223372036854775807 where name = 'dead_letters'")
    world.change(
        "insert into reconciliation_deadletter (job_id, project_id, died_at, seq, deaths, dead, kind, stage, status, code,"
        " fingerprint) select id, project_id, now(), 1, 1, true, kind, stage, 'failed', 'x', 'x' from jobs_job"
        " where id::text = %s", "quick",
    )  # fmt: skip


PLANTS: Mapping[Callable[[World], None], str] = {
    an_accepted_job_is_lost: "accepted_exist one_for_a_key",
    a_job_that_nobody_asked_for: "accepted_exist one_for_a_key",
    a_request_is_refused: "accepted_exist",
    an_accepted_job_cannot_be_read: "accepted_exist",
    one_key_two_jobs: "one_for_a_key",
    half_of_a_request: "one_for_a_key",
    a_job_has_not_ended: "ended_or_blocked ended_as_promised events_a_legal_path nothing_left",
    nobody_is_asked: "ended_or_blocked nothing_between_two_states",
    no_reason_is_given: "ended_or_blocked",
    somebody_is_asked_in_vain: "ended_or_blocked nothing_between_two_states",
    an_end_that_no_kind_promised: "ended_as_promised events_a_legal_path done_have_run",
    cancelled_by_nobody: "ended_as_promised",
    a_cancelled_job_has_run: "cancelled_stay",
    an_event_is_lost: "events_without_gaps no_run_without_cause",
    an_event_is_doubled: "events_without_gaps",
    a_step_that_no_table_allows: "events_a_legal_path",
    a_status_that_no_event_tells: "ended_as_promised events_a_legal_path",
    an_effect_is_lost: "effects_within_once",
    an_effect_is_doubled: "effects_within_once",
    an_effect_of_a_job_that_is_not_done: "effects_within_once done_have_run",
    done_twice: "done_have_run",
    done_without_a_run: "done_have_run",
    a_run_that_nothing_caused: "no_run_without_cause",
    two_owners: "one_owner",
    a_second_run_of_what_runs_once: "once_at_most no_run_without_cause",
    too_early: "never_early",
    lane_effects_turned: "lanes_in_order",
    lane_runs_turned: "lanes_in_order",
    lane_runs_beside_one_another: "lanes_in_order",
    lane_numbered_otherwise: "lanes_in_order",
    a_limit_exceeded: "limits_kept no_run_without_cause one_owner",
    a_place_never_given_back: "limits_kept",
    a_claim_is_left: "nothing_left",
    a_doorbell_of_a_dead_worker: "nothing_left",
    a_silent_worker: "nothing_left",
    a_gate_that_nobody_opens: "nothing_left ended_or_blocked ended_as_promised events_a_legal_path",
    an_event_not_seen: "log_read_once",
    an_event_seen_twice: "log_read_once",
    events_seen_out_of_order: "log_read_once",
    a_consumer_that_fails: "log_read_once",
    a_dead_letter_is_counted_that_is_none: "nothing_between_two_states",
}


def test_a_good_world_is_clear(world: World) -> None:
    assert {line.promise: line.broken for line in check(world.ask, world.history) if not line.ok} == {}


@pytest.mark.parametrize("plant", PLANTS, ids=lambda plant: cast("Any", plant).__name__)
def test_what_is_planted_is_found_and_nothing_else(world: World, plant: Callable[[World], None]) -> None:
    plant(world)

    assert world.broken() == set(PLANTS[plant].split())


def test_each_check_is_seen_to_fail() -> None:
    assert {name for names in PLANTS.values() for name in names.split()} == {look.__name__ for look in CHECKS}


# ------------------------------------------------------------------------------------------------ excuses
@pytest.mark.parametrize(
    ("sort", "mine", "after", "excused"),
    [
        ("frozen", True, 0.0, True),
        ("frozen", False, 0.0, False),
        ("child killed", True, 0.0, False),
        ("postgres killed", False, 0.0, True),
        ("postgres killed", False, 500.0, False),
        ("redis killed", False, 0.0, False),
    ],
)
def test_two_owners_are_excused_by_what_takes_a_claim_away_unseen(
    world: World, sort: str, mine: bool, after: float, excused: bool
) -> None:
    two_owners(world)
    first, second = world.runs("flaky")
    at = (first.began + second.began) / 2 + after
    world.history.faults.append(Fault(sort, "worker", [first.pid] if mine else [1], at, 0.0, at + 1))

    assert world.broken() == (set() if excused else {"one_owner"})


# ------------------------------------------------------------------------------------------------ paths
@pytest.mark.parametrize(
    ("types", "status"),
    [
        ("job.queued", "queued"),
        ("job.queued", "processing"),
        ("job.queued job.processing", "processing"),
        ("job.queued job.processed", "processed"),
        ("job.queued job.processing job.retrying job.processing job.processed", "processed"),
        ("job.queued job.parked job.woken job.processed", "processed"),
        ("job.queued job.blocked job.resumed job.blocked job.cancelled", "cancelled"),
        ("job.queued job.released job.failed job.redriven job.rejected", "rejected"),
    ],
)
def test_legal_paths(types: str, status: str) -> None:
    assert illegal(types.split(), status) == ""


@pytest.mark.parametrize(
    ("types", "status"),
    [
        ("", "queued"),
        ("job.processed", "processed"),
        ("job.queued job.queued", "queued"),
        ("job.queued job.processed job.processed", "processed"),
        ("job.queued job.processed job.cancelled", "cancelled"),
        ("job.queued job.processing job.processing", "processing"),
        ("job.queued job.woken", "queued"),
        ("job.queued job.processed", "failed"),
        ("job.queued job.blocked job.processing", "processing"),
        ("job.queued no.event", "queued"),
    ],
)
def test_illegal_paths(types: str, status: str) -> None:
    assert illegal(types.split(), status) != ""


def test_no_two_checks_have_the_same_promise(world: World) -> None:
    promises = [line.promise for line in check(world.ask, world.history)]
    assert len(set(promises)) == len(promises) == len(checker.CHECKS)
