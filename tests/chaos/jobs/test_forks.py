"""Worker processes are forked: no two processes may share a connection to the database or to the broker (T11)."""

import signal
from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit, urlunsplit

import pytest
from pytest_django import DjangoDbBlocker

from tests.acceptance.jobs.web import JOBS, Web
from tests.processes import Platform, Servers, send
from tests.tunnel import Tunnel
from tests.wire import SOCKET_NAME

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(180)]

CHILDREN = 3


@pytest.fixture
def database_tunnel(own_servers: Servers) -> Iterator[Tunnel]:
    with Tunnel(f"{own_servers.postgres.place.sockets}/{SOCKET_NAME}") as tunnel:
        yield tunnel


@pytest.fixture
def broker_tunnel(own_servers: Servers) -> Iterator[Tunnel]:
    with Tunnel(str(own_servers.redis.socket_path)) as tunnel:
        yield tunnel


@pytest.fixture
def platform(
    own_servers: Servers, database_tunnel: Tunnel, broker_tunnel: Tunnel, django_db_blocker: DjangoDbBlocker
) -> Iterator[Platform]:
    """Its processes reach both servers over TCP, where a connection has a name that can be seen from outside."""
    platform = Platform(own_servers.cluster, f"redis://127.0.0.1:{broker_tunnel.port}/0")
    with django_db_blocker.unblock(), platform:
        where = urlencode({"host": "127.0.0.1", "port": database_tunnel.port})
        url = urlunsplit(urlsplit(platform.database_url)._replace(query=where))
        platform._env |= {"DATABASE_URL": url, "ALLOWED_HOSTS": "127.0.0.1"}
        yield platform


def test_no_two_processes_share_a_backend_or_a_socket_of_the_broker(
    platform: Platform, database_tunnel: Tunnel, broker_tunnel: Tunnel
) -> None:
    """Also when children were forked long after the parent had connections of its own: it rescued somebody's jobs."""
    relay, web = platform.relay(), Web(platform)
    worker = platform.worker(concurrency=CHILDREN)
    first = worker.children()
    for gate in ("before", "after"):
        ids = platform.submit("test.gated", CHILDREN, {"gate": gate})
        began = lambda ids=ids: len(platform.effects.of("began", ids)) >= CHILDREN  # noqa: E731
        platform.wait_until(began, "every child to be at work")
        if gate == "before":
            for child in first:
                send(child, signal.SIGKILL)
            platform.wait_until(lambda: len(platform.live_children(worker)) == CHILDREN, "new children")
        platform.effects.open(gate)
        platform.wait_ended(ids)
    assert web.call("POST", JOBS, {"kind": "test.open", "payload": {"n": 1}}).status == 202
    children = worker.children()
    assert not {*children} & {*first}

    def both_have_run() -> bool:
        platform.wait_ended(platform.submit("test.backend", 60))
        rows = platform.rows("select distinct output ->> 'child' from jobs_job where kind = 'test.backend'")
        return len(rows) > 1

    platform.wait_until(both_have_run, "jobs on more than one child")

    everybody = [relay.pid, web.program.pid, *web.program.children(), worker.pid, *children]
    for tunnel in (database_tunnel, broker_tunnel):
        held = tunnel.peers(everybody)
        shared = [
            port for port, number in Counter(port for ports in held.values() for port in ports).items() if number > 1
        ]
        assert shared == [], held
    assert all(database_tunnel.peers(children).values())
    assert broker_tunnel.peers([worker.pid])[worker.pid]
    assert not any(broker_tunnel.peers(children).values())  # a child has no business with the broker
    found = platform.rows("select output from jobs_job where kind = 'test.backend'")
    backends = {(row["output"]["child"], row["output"]["backend"]) for row in found}
    assert len(backends) == len({backend for _, backend in backends}) == len({child for child, _ in backends})
