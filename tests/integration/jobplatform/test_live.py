"""Streams: order, resuming, tenants, bounds. Real transactions on a database of the test's own."""

import asyncio
import datetime as dt
import random
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from events import feed, log, sse
from events.log import NewEvent
from events.serializers import place_of
from jobplatform import live as live_module
from tests.integration.jobplatform.streaming import Reader, Stream, in_thread, live_process
from tests.integration.projects.conftest import Tenant, make_tenant

STREAM = "/api/v1/stream"
TYPES = ("job.queued", "job.processing", "job.processed", "job.failed")


@pytest.fixture
def tenants(committed_alone: None) -> tuple[Tenant, Tenant]:
    return make_tenant("Ours"), make_tenant("Theirs")


@pytest.fixture(autouse=True)
def signals(monkeypatch: pytest.MonkeyPatch) -> None:
    """The signals of this process stay pytest's."""
    monkeypatch.setattr(live_module.Live, "_hear_signals", lambda self: None)


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 110))


def append(tenant: Tenant, number: int = 1, type_: str = "job.queued", data: dict[str, Any] | None = None) -> None:
    with transaction.atomic():
        log.append([NewEvent(tenant.project.id, type_, uuid4(), 1, data or {"kind": "a.b"}) for _ in range(number)])


def logged(tenant: Tenant, prefix: str = "") -> list[str]:
    """The ids of all events of a tenant, in the order of the log."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select position || '-' || id from events_event where project_id = %s and type like %s order by position, id",
            [tenant.project.id, f"{prefix}%"],
        )
        return [row[0] for row in cursor.fetchall()]


def test_events_come_in_the_order_of_the_log_whoever_commits_first(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants

    def write(seed: int) -> None:
        """Transactions that overlap: each takes its place in the log early and commits late."""
        dice = random.Random(seed)
        for _ in range(25):
            with transaction.atomic():
                append(dice.choice([ours, ours, theirs]), dice.randint(1, 3), dice.choice(TYPES))
                with connection.cursor() as cursor:
                    cursor.execute("select pg_sleep(%s)", [dice.random() * 0.02])
                append(ours, 1, dice.choice(TYPES))

    async def test() -> None:
        async with live_process() as live, Stream(live, STREAM, ours.text) as stream:
            await stream.opened()
            await asyncio.gather(*(in_thread(write, seed) for seed in range(6)))
            expected = await in_thread(logged, ours)
            await stream.until(lambda: len(stream.logged) >= len(expected))
            assert stream.logged == expected
            assert {event.data["project_id"] for event in stream.events} == {str(ours.project.id)}

    run(test())


def test_an_event_is_not_shown_before_one_that_may_still_come_before_it(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants

    async def test() -> None:
        early, done = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow() -> None:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("select pg_current_xact_id()")
                loop.call_soon_threadsafe(early.set)
                asyncio.run_coroutine_threadsafe(done.wait(), loop).result(60)
                append(ours, 1, "job.failed")

        async with live_process() as live, Stream(live, STREAM, ours.text) as stream:
            await stream.opened()
            writing = asyncio.create_task(in_thread(slow))
            await early.wait()
            await in_thread(append, ours, 1, "job.queued")
            before = live._feed._turn
            for _ in range(3):  # the reader looks again and again, and shows nothing
                async with before:
                    assert stream.logged == []
                await asyncio.sleep(feed.EVERY_SECONDS)
            done.set()
            await writing
            await stream.until(lambda: len(stream.logged) == 2)
            assert stream.types == ["job.failed", "job.queued"]

    run(test())


@settings(max_examples=12, suppress_health_check=list(HealthCheck), database=None)
@given(
    seed=st.integers(0, 10_000), cuts=st.lists(st.integers(1, 40), max_size=6), prefix=st.sampled_from(["", "job.p"])
)
def test_whatever_the_cuts_nothing_is_lost_and_nothing_comes_twice(
    tenants: tuple[Tenant, Tenant], seed: int, cuts: list[int], prefix: str
) -> None:
    ours, theirs = tenants
    dice = random.Random(seed)

    def write() -> None:
        for _ in range(30):
            append(dice.choice([ours, theirs]), dice.randint(1, 4), dice.choice(TYPES))

    async def test() -> None:
        got: list[str] = []
        async with live_process() as live:
            async with Stream(live, f"{STREAM}?type={prefix}", ours.text) as stream:
                await stream.opened()
                await stream.until(lambda: stream.last_id)
                last_id = stream.last_id
            before = await in_thread(logged, ours, prefix)
            writing = asyncio.create_task(in_thread(write))
            for cut in cuts:
                async with Stream(live, f"{STREAM}?type={prefix}", ours.text, last_event_id=last_id) as stream:
                    some = asyncio.create_task(stream.until(lambda: len(stream.logged) >= cut))  # noqa: B023
                    await asyncio.wait({some, writing}, return_when=asyncio.FIRST_COMPLETED)
                    some.cancel()
                got += stream.logged
                last_id = stream.last_id
            await writing
            expected = (await in_thread(logged, ours, prefix))[len(before) :]
            async with Stream(live, f"{STREAM}?type={prefix}", ours.text, last_event_id=last_id) as stream:
                await stream.until(lambda: len(got) + len(stream.logged) >= len(expected))
                got += stream.logged
        assert got == expected

    run(test())


def test_who_joins_while_a_part_is_read_misses_nothing_of_it(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants

    async def test() -> None:
        asked, free = asyncio.Event(), asyncio.Event()
        free.set()

        async def ask(fn: Callable[[], Any]) -> Any:
            asked.set()
            await free.wait()
            return await in_thread(fn)

        reader = feed.Feed(ask)
        first, second = feed.Follower(theirs.project.id), feed.Follower(ours.project.id)
        await reader.join(first)
        free.clear()
        asked.clear()
        await asked.wait()  # a part is about to be read, for the first one alone
        await in_thread(append, ours)
        joining = asyncio.create_task(reader.join(second))
        await asyncio.sleep(0)
        free.set()
        joined = await joining
        (event,) = await in_thread(logged, ours)
        while reader.place < (place_of(event) or (0, 0)):
            asked.clear()
            await asked.wait()

        assert joined >= (place_of(event) or (0, 0)) or event.encode() in second.take()
        reader.leave(first)
        reader.leave(second)

    run(test())


def test_who_comes_back_ahead_of_the_reader_gets_nothing_twice(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = tenants
    monkeypatch.setattr(feed, "EVERY_SECONDS", 1.0)

    async def test() -> None:
        async with live_process() as live, Stream(live, STREAM, ours.text) as other:
            await other.until(lambda: other.last_id)
            await in_thread(append, ours, 3)
            async with Stream(live, STREAM, ours.text, last_event_id=other.last_id) as back:
                await back.until(lambda: len(back.logged) >= 3)
                await other.until(lambda: len(other.logged) == 3)
                await in_thread(append, ours)
                await back.until(lambda: len(back.logged) >= 4)
                assert back.logged == await in_thread(logged, ours)

    run(test())


def test_from_the_start_of_a_long_log_all_of_it_comes_once(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = tenants
    monkeypatch.setattr(live_module, "PAGE_ROWS", 7)
    monkeypatch.setattr(log, "FOLLOW_ROWS", 5)
    monkeypatch.setattr(log, "FOLLOW_SCAN_ROWS", 9)

    def write() -> None:
        for number in range(40):
            append(theirs if number % 3 == 0 else ours, number % 5 + 1)

    async def test() -> None:
        await in_thread(write)
        async with live_process() as live, Stream(live, f"{STREAM}?last_event_id=0", ours.text) as stream:
            await in_thread(write)
            expected = await in_thread(logged, ours)
            await stream.until(lambda: len(stream.logged) >= len(expected))
            assert stream.logged == expected

    run(test())


def test_five_hundred_clients_of_many_tenants_share_one_reader(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants

    async def test() -> None:
        async with live_process() as live:
            streams = [Stream(live, STREAM, (ours if n % 2 else theirs).text) for n in range(500)]
            for stream in streams:
                await stream.__aenter__()
            for stream in streams:
                await stream.opened()
            await in_thread(append, ours, 300)
            await in_thread(append, theirs, 20)
            expected = {t.project.id: await in_thread(logged, t) for t in tenants}
            for number, stream in enumerate(streams):
                wanted = expected[(ours if number % 2 else theirs).project.id]
                await stream.until(lambda: len(stream.logged) >= len(wanted))  # noqa: B023
                assert stream.logged == wanted
            assert await in_thread(connections) <= live_module.KNOCKERS + 1 + 2
            for stream in streams:
                await stream.leave()
            assert (live._feed._reader, live._guard, live._clients) == (None, None, set())

    run(test())


def connections() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_stat_activity where datname = current_database()")
        return int(cursor.fetchone()[0])


def test_nobody_is_asked_anything_while_nobody_follows(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants

    def statements() -> set[tuple[int, dt.datetime]]:
        with connection.cursor() as cursor:
            cursor.execute(
                "select pid, query_start from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid()"
            )
            return set(cursor.fetchall())

    async def test() -> None:
        async with live_process() as live:
            async with Stream(live, STREAM, ours.text) as stream:
                await stream.opened()
            before = await in_thread(statements)
            await asyncio.sleep(4 * feed.EVERY_SECONDS)  # the time in which it would have asked
            assert await in_thread(statements) == before

    run(test())


def test_a_log_that_lost_its_end_ends_the_streams(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants

    async def test() -> None:
        async with live_process() as live, Stream(live, STREAM, ours.text) as stream:
            await stream.opened()
            await in_thread(append, ours)
            await stream.until(lambda: stream.logged)
            async with live._feed._turn:  # as after a fail-over to a server that lacked the last rows
                live._feed.place = (live._feed.place[0], live._feed.place[1] + 1)
                live._feed._doubtful = True
            await stream.until(lambda: stream.ended)
            assert stream.events[-1].data == {"code": "log_went_back"}

    run(test())


@pytest.mark.parametrize(
    "path, headers, status, code",
    [
        (f"{STREAM}?last_event_id=no", {}, 400, "invalid_last_event_id"),
        (STREAM, {"last_event_id": "1-2-3"}, 400, "invalid_last_event_id"),
        (f"{STREAM}?type=job.such", {}, 400, "unknown_event_type"),
        (f"{STREAM}?limit2=1", {}, 400, "unknown_parameter"),
        (STREAM, {"authorization": "Bearer nothing"}, 401, "invalid_api_key"),
        ("/api/v1/jobs", {}, 404, "not_found"),
        ("/admin/stream", {}, 404, "not_found"),
        (f"/api/v1/jobs/{UUID(int=5)}/stream", {}, 404, "job_not_found"),
        ("/api/v1/jobs/no/stream", {}, 404, "not_found"),
    ],
)
def test_what_does_not_fit_is_a_problem(
    tenants: tuple[Tenant, Tenant], path: str, headers: dict[str, str], status: int, code: str
) -> None:
    ours, _ = tenants

    async def test() -> None:
        async with live_process() as live, Stream(live, path, ours.text, **headers) as stream:
            await stream.until(lambda: stream.ended)
            assert (stream.status, stream.headers["content-type"]) == (status, "application/problem+json")
            assert f'"{code}"'.encode() in stream.body

    run(test())


def test_another_origin_is_told_nothing_that_lets_it_read(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants

    async def test() -> None:
        async with live_process() as live:
            async with Stream(live, STREAM, ours.text, origin="https://elsewhere.example") as stream:
                await stream.opened()
            assert not [name for name in stream.headers if name.startswith("access-control")]
            preflight = Stream(live, STREAM, ours.text, origin="https://elsewhere.example")
            preflight.scope["method"] = "OPTIONS"
            async with preflight:
                await preflight.until(lambda: preflight.ended)
            assert preflight.status == 405
            assert not [name for name in preflight.headers if name.startswith("access-control")]

    run(test())


def test_the_reader_of_these_tests_reads_what_is_written() -> None:
    reader = Reader()
    for part in (sse.opening((1, 2)), sse.frame("end", {"id": 1})[:9], sse.frame("end", {"id": 1})[9:]):
        reader.feed(part)

    assert (reader.last_id, reader.types, reader.events[0].data) == ("1-2", ["end"], {"id": 1})
