"""Streams are bounded: clients that take nothing, too many of them, revoked keys, time, cursors that are too old."""

import asyncio
import contextlib
import datetime as dt
from typing import Any

import pytest
from django.db import connection

from events import feed, log
from jobplatform import live as live_module
from projects import services
from tests.integration.jobplatform.streaming import Stream, in_thread, live_process
from tests.integration.jobplatform.test_live import STREAM, append, logged, run, signals, tenants
from tests.integration.projects.conftest import Tenant

__all__ = ["signals", "tenants"]


def test_who_takes_nothing_is_ended_and_loses_nothing(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = tenants
    monkeypatch.setattr(feed, "MOST_FRAMES", 20)

    async def test() -> None:
        async with live_process() as live:
            async with Stream(live, STREAM, ours.text) as slow, Stream(live, STREAM, ours.text) as quick:
                await slow.opened()
                await quick.opened()
                await in_thread(append, ours, 3)
                await slow.until(lambda: len(slow.logged) == 3)
                slow.free.clear()
                for number in range(1, 9):
                    await in_thread(append, ours, 5)
                    await quick.until(lambda: len(quick.logged) == 3 + 5 * number)  # noqa: B023
                expected = await in_thread(logged, ours)
                assert quick.logged == expected
                slow.free.set()
                await slow.until(lambda: slow.ended)
                assert (slow.types[-1], slow.events[-1].data) == ("overflow", {"code": "too_slow"})
                assert slow.logged == expected[: len(slow.logged)]
            async with Stream(live, STREAM, ours.text, last_event_id=slow.last_id) as again:
                await again.until(lambda: len(slow.logged) + len(again.logged) >= len(expected))
                assert slow.logged + again.logged == expected

    run(test())


def test_who_never_takes_anything_again_is_dropped(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = tenants
    monkeypatch.setattr(live_module, "SEND_SECONDS", 0.2)

    async def test() -> None:
        async with live_process() as live, Stream(live, STREAM, ours.text) as stuck:
            await stuck.opened()
            stuck.free.clear()
            await in_thread(append, ours)
            await asyncio.wait_for(asyncio.shield(stuck.task), 60)
            assert live._clients == set()

    run(test())


def test_what_waits_for_all_together_is_bounded(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = tenants
    monkeypatch.setattr(feed, "MOST_BYTES_OF_ALL", 20_000)

    async def test() -> None:
        async with live_process() as live:
            streams = [Stream(live, STREAM, ours.text) for _ in range(10)]
            for stream in streams:
                await stream.__aenter__()
                await stream.opened()
                await stream.until(lambda: stream.last_id)  # noqa: B023
                stream.free.clear()
            await in_thread(append, ours, 1)  # on its way to each
            await in_thread(append, ours, 50)
            async with Stream(live, STREAM, ours.text, last_event_id=streams[0].last_id) as reader:
                await reader.until(lambda: len(reader.logged) == 51)
                held = sum(client.follower.held for client in live._clients)
                assert held <= 20_000 + 10 * len(feed.OVERFLOW)
            for stream in streams:
                stream.free.set()
                await stream.until(lambda: stream.ended or len(stream.logged) == 51)  # noqa: B023
            assert any(stream.types[-1] == "overflow" for stream in streams)
            for stream in streams:
                await stream.leave()

    run(test())


@pytest.mark.parametrize(
    "whose, status, code", [("ours", 429, "too_many_streams_of_project"), ("all", 503, "too_many_streams")]
)
def test_there_is_room_for_so_many(
    tenants: tuple[Tenant, Tenant], settings: Any, whose: str, status: int, code: str
) -> None:
    ours, theirs = tenants
    settings.LIVE_CLIENTS_PER_PROJECT, settings.LIVE_CLIENTS = (1, 9) if whose == "ours" else (9, 1)

    async def test() -> None:
        async with live_process() as live:
            async with Stream(live, STREAM, ours.text) as first:
                await first.opened()
                async with Stream(live, STREAM, ours.text) as second:
                    await second.until(lambda: second.ended)
                assert (second.status, second.headers["content-type"]) == (status, "application/problem+json")
                assert second.headers["retry-after"] == "10"
                assert code.encode() in second.body
                async with Stream(live, STREAM, theirs.text) as another:
                    await another.opened()
                assert another.status == (200 if whose == "ours" else 503)
            async with Stream(live, STREAM, ours.text) as third:
                await third.opened()
            assert third.status == 200

    run(test())


class Stuck(Stream):
    """A client that takes the opening of its stream, and nothing more until it leaves."""

    leaves = False

    async def _send(self, message: Any) -> None:
        await super()._send(message)
        if message["type"] == "http.response.body" and not self.leaves:
            self.free.clear()

    async def leave(self) -> None:
        self.leaves = True
        await super().leave()


def test_clients_of_one_project_that_take_nothing_keep_no_others_from_catching_up(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = tenants
    monkeypatch.setattr(live_module, "PAGES", 2)
    monkeypatch.setattr(live_module, "PAGES_OF_PROJECT", 1)
    monkeypatch.setattr(live_module, "SEND_SECONDS", 1000.0)  # nobody is dropped meanwhile

    async def test() -> None:
        for tenant in tenants:
            await in_thread(append, tenant, 5)
        mine, yours = await in_thread(logged, ours), await in_thread(logged, theirs)
        async with live_process() as live, contextlib.AsyncExitStack() as stack:
            for _ in range(3):
                stuck = await stack.enter_async_context(Stuck(live, STREAM, ours.text, last_event_id=mine[0]))
                await stuck.until(lambda: stuck.body)  # noqa: B023
            other = await stack.enter_async_context(Stream(live, STREAM, theirs.text, last_event_id=yours[0]))
            await other.until(lambda: len(other.logged) == 4)
            assert other.logged == yours[1:]

    run(test())


def test_a_revoked_key_ends_its_streams_and_no_others(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, theirs = tenants
    monkeypatch.setattr(live_module, "RECHECK_SECONDS", 0.1)

    def revoke() -> None:
        services.revoke_key(project_id=ours.project.id, key_id=ours.key_id, actor="test")

    async def test() -> None:
        async with live_process() as live:
            async with Stream(live, STREAM, ours.text) as stream, Stream(live, STREAM, theirs.text) as other:
                await stream.opened()
                await other.opened()
                await in_thread(revoke)
                await stream.until(lambda: stream.ended)
                assert [(e.event, e.data) for e in stream.events] == [("revoked", {"code": "api_key_revoked"})]
                await in_thread(append, theirs)
                await other.until(lambda: other.logged)
                assert not other.ended
            async with Stream(live, STREAM, ours.text) as again:
                await again.until(lambda: again.ended)
            assert (again.status, b"api_key_revoked" in again.body) == (401, True)

    run(test())


def test_a_stream_ends_after_its_time_and_an_id_to_go_on_with_came_with_the_heartbeats(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    ours, theirs = tenants
    monkeypatch.setattr(live_module, "HEARTBEAT_SECONDS", 0.05)
    settings.LIVE_STREAM_SECONDS = 1

    async def test() -> None:
        async with live_process() as live:
            async with Stream(live, STREAM, ours.text) as stream:
                await stream.opened()
                await in_thread(append, theirs, 3)
                last = (await in_thread(logged, theirs))[-1]
                await stream.until(lambda: stream.last_id == last)  # how far the log was looked through
                await stream.until(lambda: stream.ended)
                assert (stream.events, stream.heartbeats > 1) == ([], True)
            await in_thread(append, ours, 2)
            async with Stream(live, STREAM, ours.text, last_event_id=stream.last_id) as again:
                await again.until(lambda: len(again.logged) == 2)

    run(test())


def test_a_cursor_that_the_log_no_longer_has_is_gone(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants

    def age() -> str:
        """One event in a partition of last week, dropped."""
        today = dt.datetime.now(dt.UTC).date()
        week = dt.timedelta(days=7)
        with connection.cursor() as cursor:
            cursor.execute("select events_ensure_partitions(%s, %s)", [today - week, today - week])
        append(ours)
        with connection.cursor() as cursor:
            cursor.execute("update events_event set occurred_at = occurred_at - interval '7 days'")
        (old,) = logged(ours)
        append(ours)
        with connection.cursor() as cursor:
            cursor.execute("update events_consumer set position = 9000000000000000000")
        assert log.drop_partitions(today - week / 2)
        return old

    async def test() -> None:
        old = await in_thread(age)
        (kept,) = await in_thread(logged, ours)
        async with live_process() as live:
            async with Stream(live, STREAM, ours.text, last_event_id=old) as gone:
                await gone.until(lambda: gone.ended)
            assert (gone.status, b'"cursor_too_old"' in gone.body) == (410, True)
            async with Stream(live, STREAM, ours.text, last_event_id=kept) as good:
                await good.opened()
            assert good.status == 200

    run(test())
