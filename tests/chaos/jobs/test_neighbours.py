"""One handler in a batch misbehaves (T05 to T08): its job ends as its policy says, and no neighbour pays for it."""

import time
from uuid import UUID

import pytest

from jobplatform.processes import wait_until
from tests.handlers.bad import ANSWERS
from tests.processes import Platform

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

CRASHES = ["segfault", "hard_exit", "hard_exit_with_error", "killed", "aborted"]
ENDLESS = ["loop", "blocked_read", "silent_server", "sleeping_query"]
DEAF = ["stubborn_loop", "regular_expression"]  # only the end of their process stops them
EXCEPTIONS = {
    "endless_text": "unpicklable",
    "nul_in_text": "value_error",
    "mute": "mute",
    "exits_when_asked": "exits",
    "tricky": "tricky",
    "system_exit": "system_exit",
    "interrupt": "keyboard_interrupt",
    "generator_exit": "generator_exit",
    "memory": "memory_error",
    "recursion": "recursion_error",
}
CONNECTIONS = [
    "open_transaction",
    "broken_transaction",
    "open_atomic",
    "no_autocommit",
    "closed_connection",
    "ended_backend",
]
ACCEPTED = {  # answers that look strange, and still say what they mean
    "quality_nan": "processed",
    "reject_surrogate": "rejected",
}


@pytest.fixture(autouse=True)
def processes(platform: Platform) -> None:
    """One worker for the whole module: what a test breaks, the engine must have repaired for the next."""
    platform.some_relay()
    platform.some_worker()


def among(platform: Platform, kind: str, deed: str, number: int) -> tuple[UUID, list[UUID]]:
    """Create `number` jobs of which the one in the middle does a deed; returns it and its neighbours."""
    ids = platform.submit(kind, number, lambda n: {"n": n, "deed": deed if n == number // 2 else ""})
    culprit = ids.pop(number // 2)
    return culprit, ids


def unharmed(platform: Platform, neighbours: list[UUID], *, runs: int = 1) -> None:
    """Every neighbour is done at its first attempt, and ran at most `runs` times."""
    platform.wait_ended(neighbours)
    attempts = platform.rows(
        "select attempt, outcome, count(*) from jobs_attempt where job_id = any(%s) group by 1, 2", neighbours
    )
    assert attempts == [{"attempt": 1, "outcome": "done", "count": len(neighbours)}]
    assert platform.by_status(neighbours) == {"processed": len(neighbours)}
    ran = platform.effects.count("ran", neighbours)
    assert {n: ran[n] for n in neighbours if not 1 <= ran[n] <= runs} == {}


def failed_as(platform: Platform, culprit: UUID, code: str) -> None:
    """The culprit used up its two attempts, each written down with the reason."""
    platform.wait_ended([culprit])
    assert platform.job(culprit)["status"] == "failed"
    found = [(a["attempt"], a["outcome"], a["error"]["code"]) for a in platform.attempts(culprit)]
    assert found == [(1, "retried", code), (2, "failed", code)]
    assert platform.effects.count("ran", [culprit])[culprit] == 2


@pytest.mark.parametrize("deed", CRASHES)
def test_the_end_of_the_process_is_charged_to_the_job_that_ran(platform: Platform, deed: str) -> None:
    culprit, neighbours = among(platform, "test.bad", deed, 100)

    failed_as(platform, culprit, "worker_died")
    unharmed(platform, neighbours, runs=2)


@pytest.mark.parametrize("deed", ["segfault", "hard_exit"])
def test_the_end_of_the_process_finds_its_async_culprit_by_halves(platform: Platform, deed: str) -> None:
    culprit, neighbours = among(platform, "test.bad_async", deed, 100)

    platform.wait_ended([culprit])
    assert platform.job(culprit)["status"] == "failed"
    assert {a["error"]["code"] for a in platform.attempts(culprit)} == {"worker_died"}
    unharmed(platform, neighbours, runs=20)


@pytest.mark.parametrize("deed", ENDLESS)
def test_a_handler_that_does_not_return_is_stopped_at_its_timeout(platform: Platform, deed: str) -> None:
    culprit, neighbours = among(platform, "test.bad", deed, 40)

    failed_as(platform, culprit, "timeout")
    unharmed(platform, neighbours)


@pytest.mark.parametrize("deed", DEAF)
def test_a_handler_that_hears_no_signal_is_ended_with_its_process(platform: Platform, deed: str) -> None:
    culprit, neighbours = among(platform, "test.bad", deed, 40)

    unharmed(platform, neighbours, runs=2)
    failed_as(platform, culprit, "timeout")


def test_a_blocking_async_handler_is_ended_with_its_process(platform: Platform) -> None:
    culprit, neighbours = among(platform, "test.bad_async", "loop", 8)

    platform.wait_ended([culprit])
    assert {a["error"]["code"] for a in platform.attempts(culprit)} == {"timeout"}
    unharmed(platform, neighbours, runs=20)


def test_who_holds_up_the_loop_costs_the_others_no_time(platform: Platform) -> None:
    """It comes back before its process is ended, but later than the others' timeout."""
    culprit, neighbours = among(platform, "test.window", "holds_the_loop", 40)

    unharmed(platform, neighbours)
    platform.wait_ended([culprit])
    assert platform.job(culprit)["status"] == "processed"


@pytest.mark.parametrize("deed", ["waits_too_long", "holds_it_again_and_again", "deaf"])
def test_an_async_handler_is_stopped_at_its_own_timeout(platform: Platform, deed: str) -> None:
    culprit, neighbours = among(platform, "test.window", deed, 8)

    unharmed(platform, neighbours, runs=20)
    platform.wait_ended([culprit])
    assert platform.job(culprit)["status"] == "failed"
    assert [a["error"]["code"] for a in platform.attempts(culprit)] == ["timeout", "timeout"]


def test_a_culprit_is_found_while_new_jobs_keep_coming(platform: Platform) -> None:
    """Those that come back in halves are not mixed with new ones, or the one that kills would never be alone."""
    culprit, neighbours = among(platform, "test.window", "ends_the_process", 40)
    wait_until(lambda: _coming(platform, culprit, neighbours), seconds=90)

    assert platform.job(culprit)["status"] == "failed"
    assert {a["error"]["code"] for a in platform.attempts(culprit)} == {"worker_died"}
    unharmed(platform, neighbours, runs=40)


def _coming(platform: Platform, culprit: UUID, neighbours: list[UUID]) -> bool:
    """Keep jobs due until the culprit has ended."""
    waiting = "select count(*) from jobs_job where kind = 'test.window' and status = 'queued'"
    if platform.value(waiting) < 20:
        neighbours += platform.submit("test.window", 20, lambda n: {"n": n})
    return bool(platform.job(culprit)["status"] == "failed")


def test_a_window_goes_on_beside_a_job_that_takes_long(platform: Platform) -> None:
    """One job of a kind may run for an hour: the others of its window do not wait for it."""
    long: list[UUID] = []

    def in_processes() -> int:
        began = platform.effects.of("began", long)
        return len({effect["pid"] for effect in began}) if len(began) == len(long) else 0

    while in_processes() < 2:
        long += platform.submit("test.gated_async", payload={"gate": "an hour"})
        platform.wait_until(in_processes, "a process that has begun with it")
    platform.effects.open("at once")
    ends = time.monotonic() + 7
    while time.monotonic() < ends:
        platform.wait_ended(platform.submit("test.gated_async", payload={"gate": "at once"}), seconds=10)
    assert platform.by_status(long) == {"processing": len(long)}

    platform.effects.open("an hour")
    platform.wait_ended(long)


@pytest.mark.parametrize("kind", ["test.bad", "test.bad_async"])
@pytest.mark.parametrize(("deed", "code"), EXCEPTIONS.items(), ids=EXCEPTIONS)
def test_whatever_a_handler_raises_is_a_failed_attempt(platform: Platform, kind: str, deed: str, code: str) -> None:
    culprit, neighbours = among(platform, kind, deed, 20)

    failed_as(platform, culprit, code)
    unharmed(platform, neighbours)
    assert len(platform.job(culprit)["error"]["message"].encode()) <= 8 * 1024


@pytest.mark.parametrize("kind", ["test.bad", "test.bad_async"])
@pytest.mark.parametrize(
    ("deed", "kept"),
    [("endless_text", "x" * 8 * 1024), ("nul_in_text", r"a\u0000b \ud800 c")],
    ids=["fifty megabytes", "NUL and half a surrogate pair"],
)
def test_of_an_error_is_kept_what_can_be_kept_and_the_process_lives(
    platform: Platform, kind: str, deed: str, kept: str
) -> None:
    worker = platform.some_worker()
    before = platform.live_children(worker)
    (culprit,) = platform.submit(kind, payload={"deed": deed})
    platform.wait_ended([culprit])

    assert [attempt["error"]["message"] for attempt in platform.attempts(culprit)] == [kept, kept]
    assert platform.job(culprit)["error"]["message"] == kept
    assert platform.live_children(worker) == before


@pytest.mark.parametrize("deed", CONNECTIONS)
def test_what_a_handler_does_to_the_connection_stays_its_own_affair(platform: Platform, deed: str) -> None:
    culprit, neighbours = among(platform, "test.bad", deed, 20)

    platform.wait_ended([culprit])
    unharmed(platform, neighbours, runs=2)
    # Others are in a transaction for a moment, too; one that a handler left open would stay.
    left_open = "select count(*) from pg_stat_activity where state like 'idle in transaction%%' and datname = %s"
    database = platform.value("select current_database()")
    platform.wait_until(lambda: platform.value(left_open, database) == 0, "every transaction to end")


@pytest.fixture(scope="module", params=["test.nonsense", "test.nonsense_async"])
def answered(platform: Platform, request: pytest.FixtureRequest) -> dict[str, tuple[UUID, list[UUID]]]:
    """All of them at once, each among neighbours: their second attempts come a second later."""
    platform.some_relay()
    platform.some_worker()
    return {answer: among(platform, request.param, answer, 10) for answer in ANSWERS}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_that_makes_no_sense_is_a_failed_attempt(
    platform: Platform, answered: dict[str, tuple[UUID, list[UUID]]], answer: str
) -> None:
    culprit, neighbours = answered[answer]

    expected = ACCEPTED.get(answer, "failed")
    platform.wait_until(lambda: platform.job(culprit)["status"] == expected, f"{expected}, not {platform.job(culprit)}")
    if expected == "failed":
        assert {a["error"]["code"] for a in platform.attempts(culprit)} <= {"bad_outcome", "bad_output", "type_error"}
    unharmed(platform, neighbours)


@pytest.mark.parametrize(
    "deed", ["log_surrogate", "log_strange", "log_endless", "log_large", "progress_strange", "step_strange", "step_nul"]
)
def test_notes_that_cannot_be_stored_harm_nobody(platform: Platform, deed: str) -> None:
    culprit, neighbours = among(platform, "test.bad_notes", deed, 10)

    platform.wait_ended([culprit])
    unharmed(platform, neighbours)
    assert platform.value("select max(pg_column_size(log)) from jobs_attempt where job_id = %s", culprit) in {
        None
    } | set(range(2 * 1024 * 1024))


@pytest.mark.parametrize(
    ("deed", "code"),
    {
        "slow": "operational_error",
        "wrong": "data_error",
        "swallowed": "transaction_broken",
        "committing": "",
        "crash": "worker_died",
        "leave": "worker_died",
        "exit": "system_exit",
        "ended_backend": "",
    }.items(),
)
def test_what_fails_inside_the_commit_is_that_jobs_own_error(platform: Platform, deed: str, code: str) -> None:
    culprit, neighbours = among(platform, "test.bad_within", deed, 10)

    platform.wait_ended([culprit])
    unharmed(platform, neighbours, runs=2)
    if code:
        assert platform.job(culprit)["status"] == "failed"
        assert code in {a["error"]["code"] for a in platform.attempts(culprit)}


def test_a_handler_that_switches_the_alarm_off_leaves_the_next_one_its_timeout(platform: Platform) -> None:
    careless, neighbours = among(platform, "test.bad", "no_alarm", 20)
    platform.wait_ended([careless])
    unharmed(platform, neighbours, runs=2)
    culprit, neighbours = among(platform, "test.bad", "loop", 10)

    failed_as(platform, culprit, "timeout")
    unharmed(platform, neighbours, runs=2)
