"""The process `live` as it ships, over HTTP: streams that are cut, resumed, refused and stopped."""

import contextlib
import http.client
import os
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psutil
import pytest
from django.conf import settings
from pytest_django import DjangoDbBlocker

from jobs import services
from projects import services as projects
from tests.acceptance.jobplatform.sse_client import Listener
from tests.databases import Cluster
from tests.integration.projects.conftest import Tenant, make_tenant
from tests.processes import Platform, Program, send

pytestmark = pytest.mark.timeout(300)

STREAM = "/api/v1/stream"


class Site:
    """The process, and what happens in its database."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.ours, self.theirs = make_tenant("Ours"), make_tenant("Theirs")
        self.program = self.start()

    def start(self, **env: str) -> Program:
        self.program = self.platform.live(self.port, env=env)
        self.platform.wait_until(self._answers, "the process of the streams")
        return self.program

    def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return self.status("/healthz") == 200
        return False

    def status(self, path: str, key: str = "") -> int:
        link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(link):
            link.request("GET", path, headers={"Authorization": f"Bearer {key}"} if key else {})
            return link.getresponse().status

    def listen(self, path: str = STREAM, *, key: str = "", **options: Any) -> Listener:
        """A stream that is open."""
        listener = Listener(self.port, path, key or self.ours.text, **options)
        while not listener.last_id and listener.read():
            pass
        if listener.status != 200:
            listener.link.close()
        assert listener.status == 200
        return listener

    def submit(self, number: int = 1, tenant: Tenant | None = None, kind: str = "test.done") -> list[UUID]:
        request = services.JobRequest(kind=kind, payload={"n": 1})
        project_id = (tenant or self.ours).project.id
        return [job.id for job in services.submit_many(project_id=project_id, requests=[request] * number)]

    def logged(self, tenant: Tenant | None = None) -> list[str]:
        query = "select position || '-' || id as name from events_event where project_id = %s order by position, id"
        return [row["name"] for row in self.platform.rows(query, (tenant or self.ours).project.id)]


@pytest.fixture(scope="module")
def site(cluster: Cluster, django_db_blocker: DjangoDbBlocker) -> Iterator[Site]:
    env = {"ALLOWED_HOSTS": "127.0.0.1", "API_KEY_PEPPER": settings.API_KEY_PEPPER}
    with django_db_blocker.unblock(), Platform(cluster, os.environ["BROKER_URL"], env=env) as platform:
        yield Site(platform)


@pytest.fixture
def working(site: Site) -> Iterator[None]:
    """A relay and a worker, for this test alone."""
    programs = [site.platform.relay(), site.platform.worker()]
    yield
    for program in programs:
        program.kill()


def test_a_job_is_followed_from_its_creation_to_its_end(site: Site, working: None) -> None:
    (job_id,) = site.submit(kind="test.steps")

    with site.listen(f"/api/v1/jobs/{job_id}/stream") as listener:
        listener.to_the_end()

    happened = [event.event for event in listener.events if event.id]
    assert happened == site.platform.events(job_id)
    assert (happened[0], happened[-1], listener.types[-1]) == ("job.queued", "job.processed", "end")
    assert listener.events[-1].data == {"id": str(job_id), "status": "processed"}
    assert {"done": 1, "total": 2, "note": "half of it"} in [e.data for e in listener.events if e.event == "progress"]


def test_a_stream_that_is_cut_and_a_process_that_is_killed_lose_nothing(site: Site) -> None:
    seen = len(site.logged())
    with site.listen() as listener:
        got = []
        last_id = listener.last_id
    for cut in range(4):
        site.submit(15)
        site.submit(3, site.theirs)
        with site.listen(last_event_id=last_id) as listener:
            listener.until(4)
            if cut == 2:
                site.program.kill()  # with all its workers
                site.submit(5)
                listener.to_the_end()
                site.start()
        got += listener.logged
        last_id = listener.last_id
    expected = site.logged()[seen:]

    with site.listen(last_event_id=last_id) as listener:
        got += listener.until(len(expected) - len(got))

    assert got == expected


def test_a_revoked_key_is_cut_off_within_seconds(site: Site) -> None:
    issued = projects.issue_key(
        project_id=site.ours.project.id, name="short", scopes_asked=["events:read"], actor="test"
    )
    with site.listen(key=issued.text) as listener:
        projects.revoke_key(project_id=site.ours.project.id, key_id=issued.key.key_id, actor="test")
        began = time.monotonic()
        listener.to_the_end()

    assert (listener.types, time.monotonic() - began < 25) == (["revoked"], True)
    assert site.status(STREAM, issued.text) == 401


def test_what_may_not_be_followed_is_refused(site: Site) -> None:
    (job_id,) = site.submit(1, site.theirs)
    narrow = projects.issue_key(
        project_id=site.ours.project.id, name="narrow", scopes_asked=["messages:read"], actor="test"
    )

    assert site.status(f"/api/v1/jobs/{job_id}/stream", site.ours.text) == 404
    assert site.status(STREAM, narrow.text) == 403
    assert site.status(STREAM) == 401
    assert site.status(f"{STREAM}?last_event_id=1-1", site.ours.text) == 410
    assert site.status("/api/v1/jobs", site.ours.text) == 404
    assert site.status("/admin/", site.ours.text) == 404


def test_many_clients_share_few_connections_and_bounded_memory(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(site.listen()) for _ in range(500)]
        assert site.status(STREAM, site.ours.text) == 429
        theirs = stack.enter_context(site.listen(key=site.theirs.text))
        before = len(site.logged())
        site.submit(50)
        for listener in listeners:
            listener.until(50)
        expected = site.logged()[before:]
        assert all(listener.logged == expected for listener in listeners)
        site.submit(1, site.theirs)
        assert theirs.until(1) == site.logged(site.theirs)[-1:]
        connections = (
            "select count(*) from pg_stat_activity where application_name = 'live' and datname = current_database()"
        )
        assert site.platform.value(connections) <= 5
        assert max(psutil.Process(pid).memory_info().rss for pid in site.program.children()) < 400 * 1024 * 1024


def test_who_reads_nothing_is_ended_and_goes_on_where_he_was(site: Site) -> None:
    payload = {"n": 1}
    with site.listen(buffer=4096) as slow, site.listen() as quick:
        before = len(site.logged())
        for _ in range(30):
            request = services.JobRequest(kind="test.done", payload=payload, metadata={})
            services.submit_many(project_id=site.ours.project.id, requests=[request] * 500)
        expected = site.logged()[before:]
        assert quick.until(len(expected)) == expected  # nobody waits for the slow one
        slow.to_the_end()
        got, last_id = slow.logged, slow.last_id
    with site.listen(last_event_id=last_id) as again:
        assert got + again.until(len(expected) - len(got)) == expected
    assert slow.types[-1] == "overflow"


def test_a_client_that_never_says_what_it_wants_is_hung_up_on(site: Site) -> None:
    with socket.create_connection(("127.0.0.1", site.port), timeout=30) as link:
        link.sendall(b"GET /api/v1/stream HTTP/1.1\r\nHost: ")
        while link.recv(100):
            pass

    assert site.status("/healthz") == 200


def test_the_process_ends_within_two_seconds_whoever_listens(site: Site) -> None:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(site.listen()) for _ in range(20)]
        stuck = stack.enter_context(site.listen(buffer=4096))
        site.submit(500)
        began = time.monotonic()
        send(site.program.pid, signal.SIGTERM)
        assert site.program.process.wait(30) == 0
        took = time.monotonic() - began
        for listener in listeners:
            listener.to_the_end()
        assert not stuck.ended
    site.start()

    assert took < 2
