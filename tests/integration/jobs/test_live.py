"""The stream of one job: its events, its progress, its end."""

import asyncio
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import pytest
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.test import Client

from events import log
from events.log import NewEvent
from jobplatform import live as live_module
from jobs import live, services
from jobs.models import Job
from tests.integration.jobplatform.streaming import Stream, in_thread, live_process
from tests.integration.jobplatform.test_live import signals
from tests.integration.projects.conftest import Tenant, make_tenant

__all__ = ["signals"]


@pytest.fixture
def tenants(committed_alone: None, kinds: None) -> tuple[Tenant, Tenant]:
    return make_tenant("Ours"), make_tenant("Theirs")


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 110))


def submit(tenant: Tenant) -> UUID:
    return services.submit(project_id=tenant.project.id, kind="parcel.store", payload={"n": 1})


def cancel(tenant: Tenant, job_id: UUID) -> None:
    services.cancel(project_id=tenant.project.id, job_id=job_id, actor="test")


def retry(tenant: Tenant, job_id: UUID) -> None:
    services.retry(project_id=tenant.project.id, job_id=job_id, actor="test")


def change(job_id: UUID, **columns: Any) -> None:
    assert Job.objects.filter(id=job_id).update(**columns) == 1


def path(job_id: UUID) -> str:
    return f"/api/v1/jobs/{job_id}/stream"


def test_a_job_is_followed_from_its_first_event_to_its_end(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants

    async def test() -> None:
        job_id, other = await in_thread(submit, ours), await in_thread(submit, ours)
        async with live_process() as live, Stream(live, path(job_id), ours.text) as stream:
            await stream.until(lambda: stream.types == ["job.queued"])
            for done in (1, 2):
                await in_thread(lambda: change(job_id, progress={"done": done, "total": 2, "note": "n"}))  # noqa: B023
                await stream.until(lambda: len(stream.events) == 1 + done)  # noqa: B023
            await in_thread(cancel, ours, other)
            await in_thread(cancel, ours, job_id)
            await stream.until(lambda: stream.ended)

            assert stream.types == ["job.queued", "progress", "progress", "job.cancelled", "end"]
            assert {e.data["subject_id"] for e in stream.events if e.id} == {str(job_id)}
            assert [e.data["done"] for e in stream.events if e.event == "progress"] == [1, 2]
            assert stream.events[-1].data == {"id": str(job_id), "status": "cancelled"}
            await stream.leave()
            assert (live._jobs._watch, live._feed._reader) == (None, None)

    run(test())


def test_a_job_that_has_ended_is_told_to_the_end_at_once(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants

    async def test() -> None:
        job_id = await in_thread(submit, ours)
        await in_thread(cancel, ours, job_id)
        async with live_process() as live:
            async with Stream(live, path(job_id), ours.text) as stream:
                await stream.until(lambda: stream.ended)
            assert stream.types == ["job.queued", "job.cancelled", "end"]
            for last_id, types in ((stream.logged[0], ["job.cancelled", "end"]), (stream.logged[1], ["end"])):
                async with Stream(live, path(job_id), ours.text, last_event_id=last_id) as again:
                    await again.until(lambda: again.ended)
                assert again.types == types

    run(test())


def test_the_end_of_an_attempt_is_not_the_end_of_the_job(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = tenants
    looks = asyncio.Semaphore(0)
    told = live.JobWatch._tell

    def count(self: live.JobWatch, follower: live.JobFollower, row: Any) -> None:
        told(self, follower, row)
        looks.release()

    monkeypatch.setattr(live.JobWatch, "_tell", count)

    def process(job_id: UUID) -> None:
        """The stage `process` is done, and another follows."""
        with transaction.atomic():
            change(job_id, status="confirming", seq=2)
            log.append([NewEvent(ours.project.id, "job.processed", job_id, 2, {"kind": "parcel.store"})])

    async def test() -> None:
        job_id = await in_thread(submit, ours)
        async with live_process() as live_app, Stream(live_app, path(job_id), ours.text) as stream:
            await stream.until(lambda: stream.types == ["job.queued"])
            await in_thread(process, job_id)
            await stream.until(lambda: stream.types[-1] == "job.processed")
            for _ in range(4):
                await looks.acquire()
            assert not stream.ended
            await in_thread(lambda: change(job_id, status="confirmed"))
            await stream.until(lambda: stream.ended)
            assert stream.types == ["job.queued", "job.processed", "end"]

    run(test())


def test_the_end_is_not_told_before_the_event_that_says_so(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = tenants
    ended = asyncio.Semaphore(0)
    told = live.JobWatch._tell

    def count(self: live.JobWatch, follower: live.JobFollower, row: Any) -> None:
        told(self, follower, row)
        if row.status == "cancelled":
            ended.release()

    monkeypatch.setattr(live.JobWatch, "_tell", count)

    async def test() -> None:
        early, done = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()

        def hold() -> None:
            """A transaction that stays open holds back the log."""
            with transaction.atomic():
                with log.cursor() as cur:
                    cur.execute("select pg_current_xact_id()")
                loop.call_soon_threadsafe(early.set)
                asyncio.run_coroutine_threadsafe(done.wait(), loop).result(60)

        job_id = await in_thread(submit, ours)
        async with live_process() as live_app, Stream(live_app, path(job_id), ours.text) as stream:
            await stream.until(lambda: stream.types == ["job.queued"])
            holding = asyncio.create_task(in_thread(hold))
            await early.wait()
            await in_thread(cancel, ours, job_id)
            for _ in range(2):
                await ended.acquire()  # its row says so
            assert stream.types == ["job.queued"]
            done.set()
            await holding
            await stream.until(lambda: stream.ended)
            assert stream.types == ["job.queued", "job.cancelled", "end"]

    run(test())


def test_a_job_that_was_queued_once_more_is_followed_on(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants

    async def test() -> None:
        job_id = await in_thread(submit, ours)
        await in_thread(cancel, ours, job_id)
        await in_thread(retry, ours, job_id)
        async with live_process() as live, Stream(live, path(job_id), ours.text) as stream:
            await stream.until(lambda: stream.types == ["job.queued", "job.cancelled", "job.redriven"])
            await in_thread(cancel, ours, job_id)
            await stream.until(lambda: stream.ended)
            assert stream.types[-2:] == ["job.cancelled", "end"]

    run(test())


def test_events_that_were_dropped_do_not_keep_the_stream_of_an_ended_job_open(tenants: tuple[Tenant, Tenant]) -> None:
    ours, _ = tenants

    def forget(job_id: UUID) -> None:
        with log.cursor() as cur:
            cur.execute("delete from events_event where subject_id = %s", (job_id,))

    async def test() -> None:
        job_id = await in_thread(submit, ours)
        await in_thread(cancel, ours, job_id)
        await in_thread(submit, ours)
        await in_thread(forget, job_id)
        async with live_process() as live, Stream(live, path(job_id), ours.text) as stream:
            await stream.until(lambda: stream.ended)
            assert stream.types == ["end"]

    run(test())


def test_a_job_of_another_tenant_is_not_there(tenants: tuple[Tenant, Tenant]) -> None:
    ours, theirs = tenants

    async def test() -> None:
        job_id = await in_thread(submit, theirs)
        async with live_process() as live, Stream(live, path(job_id), ours.text) as stream:
            await stream.until(lambda: stream.ended)
            assert (stream.status, b'"job_not_found"' in stream.body) == (404, True)

    run(test())


def test_a_person_with_a_session_follows_for_a_while(
    tenants: tuple[Tenant, Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, _ = tenants
    monkeypatch.setattr(live_module, "PERSON_SECONDS", 0.5)

    def sign_in(name: str, *permissions: str) -> str:
        user = User.objects.create_user(name, is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return f"sessionid={client.cookies['sessionid'].value}"

    async def test() -> None:
        job_id = await in_thread(submit, ours)
        address = f"{path(job_id)}?project={ours.project.id}"
        async with live_process() as live:
            for cookie, status in (
                (await in_thread(sign_in, "vera", "view_project"), 200),
                (await in_thread(sign_in, "stan"), 403),
                ("sessionid=nothing", 401),
            ):
                stream = Stream(live, address, "", cookie=cookie)
                stream.scope["headers"] = [h for h in stream.scope["headers"] if h[0] != b"authorization"]
                async with stream:
                    await stream.until(lambda: stream.ended)  # noqa: B023
                assert (stream.status, stream.types) == (status, ["job.queued"] if status == 200 else [])

    run(test())


def test_a_process_that_does_not_stream_says_where_the_streams_are(
    tenants: tuple[Tenant, Tenant], settings: Any
) -> None:
    ours, theirs = tenants
    settings.LIVE_URL = "https://live.example"
    job_id = submit(ours)

    answer = Client().get(path(job_id), headers=ours.headers | {"Accept": "text/event-stream"})

    assert (answer.status_code, answer.json()["code"]) == (421, "live_elsewhere")
    assert answer.headers["Link"] == f'<https://live.example{path(job_id)}>; rel="alternate"; type="text/event-stream"'
    assert Client().get(path(job_id), headers=theirs.headers).status_code == 404
    shown = Client().get(f"/api/v1/jobs/{job_id}", headers=ours.headers).json()
    assert shown["links"]["stream"] == f"https://live.example{path(job_id)}"
    settings.LIVE_URL = ""
    shown = Client().get(f"/api/v1/jobs/{job_id}", headers=ours.headers).json()
    assert shown["links"]["stream"] == path(job_id)
